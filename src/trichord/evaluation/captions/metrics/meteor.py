"""METEOR 1.5, English, as tuned to rank translations (Denkowski & Lavie 2014), without Java.

It reads the word lists that pycocoevalcap ships and gives what that package's `Meteor` prints: called as
`-l en -norm`, every matcher, the best reference of each caption, and for a corpus the value of its
summed statistics.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy import ndarray

from trichord.evaluation.captions.metrics import lexicon, meteor_words
from trichord.evaluation.captions.metrics.alignment import Link, align
from trichord.evaluation.captions.metrics.lexicon import Lexicon, Phrase
from trichord.evaluation.captions.metrics.stems import stem
from trichord.evaluation.captions.metrics.tokens import Tokens
from trichord.types.arrays import Float

# Denkowski & Lavie 2014, English, task `rank`.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.20, 0.60, 0.75
WEIGHTS = (1.0, 0.6, 0.8, 0.6)
EXACT, STEM, SYNONYM, PARAPHRASE = range(4)
LONGEST = 200
"""Words of a caption that are aligned; the rest count as unmatched, so that no caption takes minutes."""


@dataclass(frozen=True, slots=True)
class Meteor:
    """The matchers with the word lists they need for one set of captions."""

    words: Lexicon
    paraphrases: Mapping[Phrase, Sequence[Phrase]]

    def statistics(self, candidate: Tokens, references: Sequence[Tokens]) -> Float[ndarray, " 21"]:
        """What a caption contributes, against the reference with which its value is best.

        Columns: words and function words of candidate and reference (4), matched content words of
        the candidate by matcher (4), its function words (4), the reference's (4, 4), chunks. As in
        the released program a caption matched from end to end has no chunk, in sums as well.
        """
        own = self.normalised(candidate)
        rows = np.stack([self._against(own, self.normalised(one)) for one in references])
        return rows[int(np.argmax(values(rows)))]

    def normalised(self, caption: Tokens) -> Tokens:
        """The words METEOR makes of a caption's tokens."""
        return meteor_words.words(" ".join(caption), self.words.prefixes)

    def _against(self, candidate: Tokens, reference: Tokens) -> Float[ndarray, " 21"]:
        cut = None if candidate == reference else LONGEST
        path = align(list(self.links(candidate[:cut], reference[:cut])), len(reference[:cut]))
        functions = self.words.function_words
        row = np.zeros(21)
        row[:2] = len(candidate), len(reference)
        row[2] = sum(word in functions for word in candidate)
        row[3] = sum(word in functions for word in reference)
        for link in path.links():
            for word in candidate[link.start : link.start + link.span]:
                row[4 + 4 * (word in functions) + link.matcher] += 1
            for word in reference[link.at : link.at + link.length]:
                row[12 + 4 * (word in functions) + link.matcher] += 1
        whole = row[4:12].sum() == len(candidate) and row[12:20].sum() == len(reference)
        row[20] = 0 if whole and path.chunks == 1 else path.chunks
        return row

    def links(self, candidate: Tokens, reference: Tokens) -> Iterator[Link]:
        """Every link of every matcher; between equal captions each word with itself."""
        if candidate == reference:
            yield from (Link(EXACT, at, 1, at, 1) for at in range(len(reference)))
            return
        places, there = _places(candidate), _places(reference)
        for at, word in enumerate(reference):
            yield from (Link(EXACT, at, 1, index, 1) for index in places.get(word, ()))
        yield from self._similar(places, reference, STEM)
        yield from self._similar(places, reference, SYNONYM)
        for at, length, other in self._phrases(reference):
            for start in _occurrences(other, candidate, places):
                yield Link(PARAPHRASE, at, length, start, len(other))
        for start, span, other in self._phrases(candidate):
            for at in _occurrences(other, reference, there):
                yield Link(PARAPHRASE, at, len(other), start, span)

    def _similar(
        self, places: Mapping[str, Sequence[int]], reference: Tokens, matcher: int
    ) -> Iterator[Link]:
        alike = _same_stem if matcher == STEM else self._same_meaning
        for at, word in enumerate(reference):
            found = (own for own in places if own != word and alike(own, word))
            for index in sorted(index for own in found for index in places[own]):
                yield Link(matcher, at, 1, index, 1)

    def _same_meaning(self, left: str, right: str) -> bool:
        return not _meanings(self.words, left).isdisjoint(_meanings(self.words, right))

    def _phrases(self, caption: Tokens) -> Iterator[tuple[int, int, Phrase]]:
        """Where a phrase of the table begins, its length, and each paraphrase of it."""
        for start in range(len(caption)):
            for length in range(1, min(lexicon.LONGEST_PHRASE, len(caption) - start) + 1):
                for other in self.paraphrases.get(caption[start : start + length], ()):
                    yield start, length, other


def _places(caption: Tokens) -> dict[str, list[int]]:
    """Where each word stands."""
    found: dict[str, list[int]] = {}
    for index, word in enumerate(caption):
        found.setdefault(word, []).append(index)
    return found


def _occurrences(
    phrase: Phrase, caption: Tokens, places: Mapping[str, Sequence[int]]
) -> Iterator[int]:
    for start in places.get(phrase[0], ()):
        if caption[start : start + len(phrase)] == phrase:
            yield start


def _same_stem(left: str, right: str) -> bool:
    return stem(left) == stem(right)


@lru_cache(maxsize=100_000)
def _meanings(words: Lexicon, word: str) -> frozenset[str]:
    return words.meanings(word)


def values(rows: Float[ndarray, "*rows 21"]) -> Float[ndarray, "*rows"]:
    """METEOR of each row of statistics or of sums of them, in [0, 1]."""
    precision = _weighted(rows[..., 4:12]) / _positive(_length(rows[..., 0], rows[..., 2]))
    recall = _weighted(rows[..., 12:20]) / _positive(_length(rows[..., 1], rows[..., 3]))
    mean = precision * recall / _positive((1 - ALPHA) * recall + ALPHA * precision)
    fragments = rows[..., 20] / _positive(rows[..., 4:20].sum(-1) / 2)
    return mean * (1 - GAMMA * fragments**BETA)


def _weighted(matched: Float[ndarray, "*rows 8"]) -> Float[ndarray, "*rows"]:
    weights = np.array(WEIGHTS)
    return matched @ np.concatenate([DELTA * weights, (1 - DELTA) * weights])


def _length(
    words: Float[ndarray, "*rows"], functions: Float[ndarray, "*rows"]
) -> Float[ndarray, "*rows"]:
    return DELTA * (words - functions) + (1 - DELTA) * functions


def _positive(values: Float[ndarray, "*rows"]) -> Float[ndarray, "*rows"]:
    """The divisor, or 1 where it is 0: what stands above it is 0 there, too."""
    return np.where(values > 0, values, 1.0)


def read(captions: Collection[Tokens], place: Path | None = None) -> Meteor | None:
    """The matchers for a set of captions, or None where pycocoevalcap's files are not installed.

    Args:
        captions: The tokens of every caption, candidates and references together.
        place: The folder with METEOR's files; None looks for pycocoevalcap's.
    """
    place = place or lexicon.folder()
    if place is None:
        return None
    words = lexicon.read(place)
    plain = Meteor(words, {})
    seen = {plain.normalised(caption)[:LONGEST] for caption in captions}
    return Meteor(words, lexicon.paraphrases(place, seen))
