"""Tokenizers of text towers: refused where they cannot be the tower's own, and told apart by a digest."""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from trichord.types import UserError

LEAST = 256
"""Tokens; one a byte is the least of any tokenizer that reads any text."""
PROBES = (
    "A photo of a cat, e.g. in 3.5 seconds!",
    "  two   blanks\tand\na line's end ",
    "it's CamelCase snake_case half-done",
    "Grüße aus Ökland: naïve café, ﬁne ½",
    "猫が鳴く собака лает 😀 <|endoftext|> </s>",
)
"""Texts that differ in what tokenizers treat differently: case, blanks, digits, punctuation, accents,
compatibility forms, other scripts, and special tokens that are spelt out."""


def require_fit(tokenizer: Any, name: str, rows: int) -> None:
    """Refuse a tokenizer that is not the tower's.

    Args:
        tokenizer: As `transformers` loads it.
        name: Of the model, for the message.
        rows: Of the tower's table of token embeddings; 0 where nobody knows it.

    Raises:
        UserError: It is empty, as `transformers` makes one up where a folder has no files of one; or
            it has tokens that the tower has no embedding for.
    """
    count = len(tokenizer)
    if count < LEAST:
        raise UserError(
            f"The model '{name}' has no tokenizer of its own (tokenizer.json, or vocab.json with "
            "merges.txt): fetch the whole model again."
        )
    if rows and count > rows:
        raise UserError(
            f"The tokenizer of the model '{name}' has {count} tokens, its text tower {rows}: it is of "
            "another model; put the tower's own beside its weights."
        )


@lru_cache(maxsize=4)
def tokenizer_digest(tokenizer: Any) -> str:
    """Of all that turns a text into token ids: the vocabulary, the merges, and what rules make of texts.

    Tokenizers that lie in different files, or were written by different versions, have one digest
    where they give the same ids.
    """
    digest = hashlib.blake2b(digest_size=12)
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    digest.update(json.dumps(sorted(vocabulary.items())).encode())
    digest.update(json.dumps(_merges(tokenizer)).encode())
    digest.update(json.dumps([tokenizer(text)["input_ids"] for text in PROBES]).encode())
    return digest.hexdigest()


def _merges(tokenizer: Any) -> list[list[str]]:
    """Pairs in the order in which they are joined; none where the tokenizer has another scheme."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return []
    merges: list[Any] = json.loads(backend.to_str())["model"].get("merges") or []
    # Older versions of `tokenizers` wrote a pair as one text.
    return [pair.split(" ") if isinstance(pair, str) else list(pair) for pair in merges]
