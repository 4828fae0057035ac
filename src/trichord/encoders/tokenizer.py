"""Checks and digests of text encoders' tokenizers."""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from trichord.types import UserError

LEAST = 256
"""Least number of tokens: one per byte, for any text."""
PROBES = (
    "A photo of a cat, e.g. in 3.5 seconds!",
    "  two   blanks\tand\na line's end ",
    "it's CamelCase snake_case half-done",
    "Grüße aus Ökland: naïve café, ﬁne ½",
    "猫が鳴く собака лает 😀 <|endoftext|> </s>",
)
"""Texts that tokenizers treat differently: case, spaces, digits, punctuation, accents, compatibility forms,
other scripts, and special tokens in plain text."""


def require_fit(tokenizer: Any, name: str, rows: int) -> None:
    """Refuse a tokenizer of another model.

    Args:
        tokenizer: As `transformers` loads it.
        name: Of the model, for the message.
        rows: Number of the model's token embeddings; 0 if unknown.

    Raises:
        UserError: It is empty, as `transformers` makes one for a folder without tokenizer files; or the
            model has fewer embeddings than it has tokens, or far more.
    """
    count = len(tokenizer)
    if count < LEAST:
        raise UserError(
            f"The model '{name}' has no tokenizer of its own (tokenizer.json, or vocab.json with "
            "merges.txt): fetch the whole model again."
        )
    # Tables have some rows more than tokens, for round sizes; not twice as many.
    if rows and not rows / 2 < count <= rows:
        raise UserError(
            f"The tokenizer of the model '{name}' has {count} tokens, its text tower {rows}: it is of "
            "another model; put the tower's own beside its weights."
        )


@lru_cache(maxsize=4)
def tokenizer_digest(tokenizer: Any) -> str:
    """Hash of a tokenizer: vocabulary, merges, and the ids of some texts.

    Tokenizers in different files, or written by different versions, have the same digest if they give
    the same ids.
    """
    digest = hashlib.blake2b(digest_size=12)
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    digest.update(json.dumps(sorted(vocabulary.items())).encode())
    digest.update(json.dumps(_merges(tokenizer)).encode())
    digest.update(
        json.dumps([tokenizer(text, verbose=False)["input_ids"] for text in PROBES]).encode()
    )
    return digest.hexdigest()


def _merges(tokenizer: Any) -> list[list[str]]:
    """Pairs in the order of merging; none for tokenizers of another kind."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return []
    merges: list[Any] = json.loads(backend.to_str())["model"].get("merges") or []
    # Older versions of `tokenizers` wrote a pair as one text.
    return [pair.split(" ") if isinstance(pair, str) else list(pair) for pair in merges]
