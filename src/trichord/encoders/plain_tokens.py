"""Byte-pair tokens of a text by a tokenizer's file, without the package that writes such files.

That package brings fourteen others, which a search by words needs for nothing else. Known here are the
two ways in which CLIP and RoBERTa take texts apart, and what is neither is refused. Characters that
are newer than this Python's tables of them (`unicodedata`) may be parted otherwise.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any

BLANKS = "".join(
    sign for sign in map(chr, range(0x3001)) if sign.isspace() and sign not in "\x1c\x1d\x1e\x1f"
)
"""What Unicode calls white space; Python counts four separators in."""
_BLANK = re.compile(f"[{BLANKS}]+")
_WORDS = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII
)
"""How GPT-2 parts words, and RoBERTa; over signs that stand for characters of their kind."""
_CLIP_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[A-Za-z]+|[0-9]|[^\sA-Za-z0-9]+", re.ASCII)
_CLIP_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""As files have it, behind special tokens, which are no part of words here."""
_SPECIAL = re.compile(r"(<\\\|\w+\\\|>\|)*")
_UNLIKE = ("dropout", "continuing_subword_prefix", "byte_fallback", "ignore_merges", "fuse_unk")
"""What neither tower's byte pairs have."""
WORDS_KEPT = 4096


class BytePairs:
    """A tokenizer: its tokens of a text, between one that begins and one that ends it."""

    def __init__(self, described: str) -> None:
        """Read a tokenizer.

        Args:
            described: As the package `tokenizers` writes it.

        Raises:
            ValueError: It is damaged or of another kind.
        """
        try:
            told = json.loads(described)
            self._merging = _Merging.of(told["model"])
            self._normalisers = list(_normalisers(told["normalizer"]))
            self._partings = list(_partings(told["pre_tokenizer"]))
            ends = told["post_processor"]
            _require(ends["type"] == "RobertaProcessing", f"ends of type {ends['type']}")
            self._begin, self._end = int(ends["cls"][1]), int(ends["sep"][1])
            added = [_Added.of(one) for one in told["added_tokens"]]
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"This is no tokenizer ({error}).") from error
        self._raw = _Whole([one for one in added if not one.normalised])
        self._normal = _Whole(
            [one.read_as(self._normalised(one.text)) for one in added if one.normalised]
        )
        self._word_ids = lru_cache(WORDS_KEPT)(self._merging.ids)

    def ids(self, text: str, longest: int) -> list[int]:
        """Token ids of a text, at most `longest`, its beginning and end included."""
        found: list[int] = []
        for piece, token in self._raw.parted(text):
            if token is not None:
                found.append(token)
                continue
            for part, token in self._normal.parted(self._normalised(piece)):
                found += self._ids_of(part) if token is None else [token]
        return [self._begin, *found[: longest - 2], self._end]

    def _normalised(self, text: str) -> str:
        for normalise in self._normalisers:
            text = normalise(text)
        return text

    def _ids_of(self, text: str) -> Iterator[int]:
        words: Iterable[str] = [text]
        for part in self._partings:
            words = [one for word in words for one in part(word)]
        for word in words:
            yield from self._word_ids(word)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Added:
    """A token that is no part of words."""

    text: str
    id: int
    before: bool
    behind: bool
    normalised: bool

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "_Added":
        _require(not told["single_word"], "tokens that must stand alone")
        return cls(
            text=told["content"],
            id=int(told["id"]),
            before=bool(told["lstrip"]),
            behind=bool(told["rstrip"]),
            normalised=bool(told["normalized"]),
        )

    def read_as(self, text: str) -> "_Added":
        """The same, spelt otherwise."""
        return _Added(
            text=text, id=self.id, before=self.before, behind=self.behind, normalised=True
        )


class _Whole:
    """Finds tokens that are no part of words; the longest, where one begins another."""

    def __init__(self, tokens: Iterable[_Added]) -> None:
        self._tokens = {one.text: one for one in tokens if one.text}
        longest_first = sorted(self._tokens, key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def parted(self, text: str) -> Iterator[tuple[str, int | None]]:
        """The text between them, with None, and they themselves, with their ids."""
        start = 0
        for match in self._any.finditer(text):
            token = self._tokens[match[0]]
            before = text[start : match.start()]
            if token.before:  # it takes the blanks before it along
                before = before.rstrip(BLANKS)
            if before:
                yield before, None
            yield token.text, token.id
            start = match.end()
            if token.behind and (blank := _BLANK.match(text, start)):
                start = blank.end()
        if start < len(text):
            yield text[start:], None


@dataclass(frozen=True, slots=True)
class _Merging:
    """Bytes of a word to tokens: neighbours are merged, those first that were learnt first."""

    vocabulary: Mapping[str, int]
    ranks: Mapping[tuple[str, str], int]
    suffix: str
    unknown: int | None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "_Merging":
        _require(told["type"] == "BPE", f"a model of type {told['type']}")
        _require(not any(map(told.get, _UNLIKE)), "another kind of byte pairs")
        vocabulary: dict[str, int] = told["vocab"]
        unknown = told.get("unk_token")
        ranks = {(left, right): rank for rank, (left, right) in enumerate(told["merges"])}
        return cls(
            vocabulary,
            ranks,
            told.get("end_of_word_suffix") or "",
            None if unknown is None else vocabulary[unknown],
        )

    def ids(self, word: str) -> list[int]:
        """Token ids of a word, byte by byte; where a byte is none, the unknown one or nothing."""
        signs = [_SIGNS[byte] for byte in word.encode("utf-8", "replace")]
        signs[-1:] = [sign + self.suffix for sign in signs[-1:]]
        known = [sign for sign in signs if self.unknown is not None or sign in self.vocabulary]
        found = (self.vocabulary.get(token, self.unknown) for token in self._merged(known))
        return [one for one in found if one is not None]

    def _merged(self, tokens: list[str]) -> list[str]:
        behind = [*range(1, len(tokens)), -1]
        before = [*range(-1, len(tokens) - 1)]
        waiting = [
            (rank, place, pair)
            for place, pair in enumerate(pairwise(tokens))
            if (rank := self.ranks.get(pair)) is not None
        ]
        heapify(waiting)
        while waiting:
            _, left, pair = heappop(waiting)
            right = behind[left]
            if right < 0 or (tokens[left], tokens[right]) != pair:
                continue  # one of the two has been merged meanwhile
            tokens[left], tokens[right] = "".join(pair), ""
            behind[left] = behind[right]
            if behind[left] >= 0:
                before[behind[left]] = left
            for place in (before[left], left):
                if place >= 0 and behind[place] >= 0:
                    beside = tokens[place], tokens[behind[place]]
                    if (rank := self.ranks.get(beside)) is not None:
                        heappush(waiting, (rank, place, beside))
        return [token for token in tokens if token]


def _normalisers(told: Mapping[str, Any] | None) -> Iterator[Callable[[str], str]]:
    if told is None:
        return
    match told:
        case {"type": "Sequence", "normalizers": several}:
            for one in several:
                yield from _normalisers(one)
        case {"type": "NFC"}:
            yield lambda text: unicodedata.normalize("NFC", text)
        case {"type": "Lowercase"}:  # each for itself, whatever stands beside it
            yield lambda text: "".join(map(str.lower, text))
        case {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}:
            yield lambda text: _BLANK.sub(" ", text)
        case _:
            raise ValueError(f"No such normaliser here: {told}.")


def _partings(told: Mapping[str, Any]) -> Iterator[Callable[[str], list[str]]]:
    match told:
        case {"type": "Sequence", "pretokenizers": several}:
            for one in several:
                yield from _partings(one)
        case {"type": "Split", "pattern": {"Regex": str(pattern)}, "invert": True}:
            _require(told["behavior"] == "Removed", f"words that are {told['behavior']}")
            tail = pattern[_special_end(pattern) :]
            _require(tail == _CLIP_PATTERN, f"words by {pattern}")
            yield lambda text: _parted(_CLIP_WORDS, text)
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            yield lambda text: _parted(_WORDS, text)
        case _:
            raise ValueError(f"No such way to part words here: {told}.")


def _special_end(pattern: str) -> int:
    found = _SPECIAL.match(pattern)
    return 0 if found is None else found.end()


def _parted(pattern: re.Pattern[str], text: str) -> list[str]:
    spans = (match.span() for match in pattern.finditer("".join(map(_kind, text))))
    return [text[start:end] for start, end in spans]


@lru_cache(WORDS_KEPT)
def _kind(sign: str) -> str:
    """What patterns see of a character: of others than ASCII one of its kind alone."""
    if sign.isascii():
        return sign
    if sign in BLANKS:
        return "\t"  # no space, which may stand before a word
    return {"L": "a", "N": "0"}.get(unicodedata.category(sign)[0], "!")


def _require(held: bool, what: str) -> None:
    if not held:
        raise ValueError(f"A tokenizer with {what} cannot be read here.")


def _signs() -> list[str]:
    """A character that can be shown for each byte, as GPT-2 chose them."""
    shown = [byte for byte in range(256) if 33 <= byte <= 126 or (byte > 160 and byte != 173)]
    hidden = [byte for byte in range(256) if byte not in shown]
    signs = {byte: chr(byte) for byte in shown}
    signs |= {byte: chr(256 + place) for place, byte in enumerate(hidden)}
    return [signs[byte] for byte in range(256)]


_SIGNS = _signs()
