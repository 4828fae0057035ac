"""CLIP's tokenizer, from OpenAI's byte-pair file, a folder or a hub name."""

import gzip
import zlib
from itertools import islice
from pathlib import Path
from typing import Any, cast

from transformers import CLIPTokenizer

from trichord.encoders.pretrained import load
from trichord.encoders.tokenizer import require_fit
from trichord.types import UserError, first_line

BYTES = 256
"""Byte values: the least number of tokens of a tokenizer for any text."""
MERGES = 49_152 - 256 - 2
"""Number of merges that the models use, the first ones of OpenAI's byte-pair file."""
ADDED_TOKENS = ("<|maskoftext|>", "<|unkoftext|>", "<|padoftext|>")
"""Tokens that CLIP4VLA adds to CLIP's vocabulary; the last one is for padding."""


def read_tokenizer(source: str, rows: int) -> CLIPTokenizer:
    """A CLIP tokenizer that fits a table of token embeddings.

    Args:
        source: OpenAI's `bpe_simple_vocab_16e6.txt`, packed or not, or a folder or hub name.
        rows: Of the table: the number of tokens of the tokenizer, or three more for CLIP4VLA's.

    Raises:
        UserError: No such tokenizer, or one of another size.
    """
    try:
        file = Path(source)
        tokenizer = _from_byte_pairs(file) if file.is_file() else load_tokenizer(source)
    except UserError as error:
        raise UserError(f"--tokenizer: {error}") from error
    if rows == len(tokenizer) + len(ADDED_TOKENS):
        tokenizer.add_tokens(list(ADDED_TOKENS), special_tokens=True)
        tokenizer.pad_token = ADDED_TOKENS[-1]
    if rows != len(tokenizer):
        raise UserError(
            f"--tokenizer: {source} has {len(tokenizer)} tokens, the model {rows}: give the "
            "tokenizer of the same model."
        )
    return tokenizer


def load_tokenizer(name: str) -> CLIPTokenizer:
    """A tokenizer by folder or hub name.

    Raises:
        UserError: It has no vocabulary, or cannot be loaded.
    """
    tokenizer = load(CLIPTokenizer, name, weights=False)
    require_fit(tokenizer, name, rows=0)
    return tokenizer


def _from_byte_pairs(file: Path) -> CLIPTokenizer:
    printable = [chr(byte) for byte in range(33, BYTES) if chr(byte).isprintable()]
    characters = printable + [chr(BYTES + n) for n in range(BYTES - len(printable))]
    pairs = _pairs(file)
    words = [
        *characters,
        *(f"{character}</w>" for character in characters),
        *("".join(pair) for pair in pairs),
    ]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=cast(Any, pairs))


def _pairs(file: Path) -> list[tuple[str, ...]]:
    """The merges of a byte-pair file, whose first line is a title."""
    try:
        with file.open("rb") as raw:
            packed = raw.peek(2).startswith(b"\x1f\x8b")
            lines = gzip.GzipFile(fileobj=raw) if packed else raw
            pairs = [tuple(line.decode().split()) for line in islice(lines, 1, MERGES + 1)]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{file} cannot be read as byte pairs ({first_line(error)}).") from error
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise UserError(f"{file} is no byte-pair file: each line but the first has two parts.")
    return pairs
