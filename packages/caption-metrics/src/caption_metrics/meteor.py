"""METEOR 1.5 for English, as tuned to rank translations (Denkowski & Lavie 2014), without Java.

It reads the word lists that come with pycocoevalcap and gives what that package's `Meteor` prints: the
options `-l en -norm`, every matcher, the best reference of each caption, and for a corpus the score of
the summed statistics.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caption_metrics import lexicon
from caption_metrics.alignment import Match, align
from caption_metrics.lexicon import Lexicon, Phrase
from caption_metrics.meteor_tokens import normalize
from caption_metrics.porter2 import stem
from caption_metrics.tokens import Tokens

# Denkowski & Lavie 2014, English, task `rank`.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.20, 0.60, 0.75
WEIGHTS = (1.0, 0.6, 0.8, 0.6)
EXACT, STEM, SYNONYM, PARAPHRASE = range(4)
MAX_WORDS = 200
"""Words of a caption that are aligned. The rest count as unmatched, so that no caption takes minutes."""


@dataclass(frozen=True, slots=True)
class Meteor:
    """The matchers, with the word lists that they need for one set of captions."""

    lexicon: Lexicon
    paraphrases: Mapping[Phrase, Sequence[Phrase]]

    def statistics(self, hypothesis: Tokens, references: Sequence[Tokens]) -> NDArray[np.float64]:
        """Statistics of one caption, (21,), against the reference with which it scores best.

        Columns: words of hypothesis and reference, function words of each (4); matched content words of
        the hypothesis by matcher (4), its matched function words (4), those of the reference (4, 4);
        chunks. As in the released program a caption matched from end to end has no chunk, in sums too.
        """
        ours = self.normalize(hypothesis)
        rows = np.stack([self._against(ours, self.normalize(one)) for one in references])
        return rows[int(np.argmax(scores(rows)))]

    def normalize(self, caption: Tokens) -> Tokens:
        """The words METEOR makes of the tokens of a caption."""
        return normalize(" ".join(caption), self.lexicon.prefixes)

    def _against(self, hypothesis: Tokens, reference: Tokens) -> NDArray[np.float64]:
        cut = None if hypothesis == reference else MAX_WORDS
        matches = list(self.matches(hypothesis[:cut], reference[:cut]))
        path = align(matches, len(reference[:cut]))
        functions = self.lexicon.function_words
        row = np.zeros(21)
        row[:2] = len(hypothesis), len(reference)
        row[2] = sum(word in functions for word in hypothesis)
        row[3] = sum(word in functions for word in reference)
        for match in path.matches():
            start = match.hypothesis_start
            for word in hypothesis[start : start + match.hypothesis_length]:
                row[4 + 4 * (word in functions) + match.matcher] += 1
            for word in reference[match.start : match.start + match.length]:
                row[12 + 4 * (word in functions) + match.matcher] += 1
        whole = row[4:12].sum() == len(hypothesis) and row[12:20].sum() == len(reference)
        row[20] = 0 if whole and path.chunks == 1 else path.chunks
        return row

    def matches(self, hypothesis: Tokens, reference: Tokens) -> Iterator[Match]:
        """Every match of every matcher; between equal captions each word with itself."""
        if hypothesis == reference:
            yield from (Match(EXACT, at, 1, at, 1) for at in range(len(reference)))
            return
        ours, theirs = _positions(hypothesis), _positions(reference)
        for start, word in enumerate(reference):
            yield from (Match(EXACT, start, 1, own, 1) for own in ours.get(word, ()))
        yield from self._similar(ours, reference, STEM)
        yield from self._similar(ours, reference, SYNONYM)
        for start, length, other in self._phrases(reference):
            for own in _occurrences(other, hypothesis, ours):
                yield Match(PARAPHRASE, start, length, own, len(other))
        for own, length, other in self._phrases(hypothesis):
            for start in _occurrences(other, reference, theirs):
                yield Match(PARAPHRASE, start, len(other), own, length)

    def _similar(
        self, ours: Mapping[str, Sequence[int]], reference: Tokens, matcher: int
    ) -> Iterator[Match]:
        similar = _same_stem if matcher == STEM else self._are_synonyms
        for start, word in enumerate(reference):
            words = (own for own in ours if own != word and similar(own, word))
            for index in sorted(index for own in words for index in ours[own]):
                yield Match(matcher, start, 1, index, 1)

    def _are_synonyms(self, left: str, right: str) -> bool:
        return not _synsets(self.lexicon, left).isdisjoint(_synsets(self.lexicon, right))

    def _phrases(self, caption: Tokens) -> Iterator[tuple[int, int, Phrase]]:
        """Where a phrase of the table starts, its length, and each paraphrase of it."""
        for start in range(len(caption)):
            for length in range(1, min(lexicon.MAX_PHRASE, len(caption) - start) + 1):
                for other in self.paraphrases.get(caption[start : start + length], ()):
                    yield start, length, other


def _positions(caption: Tokens) -> dict[str, list[int]]:
    """Where each word occurs."""
    found: dict[str, list[int]] = {}
    for index, word in enumerate(caption):
        found.setdefault(word, []).append(index)
    return found


def _occurrences(
    phrase: Phrase, caption: Tokens, positions: Mapping[str, Sequence[int]]
) -> Iterator[int]:
    for start in positions.get(phrase[0], ()):
        if caption[start : start + len(phrase)] == phrase:
            yield start


def _same_stem(left: str, right: str) -> bool:
    return stem(left) == stem(right)


@lru_cache(maxsize=100_000)
def _synsets(words: Lexicon, word: str) -> frozenset[str]:
    return words.synsets_of(word)


def scores(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """METEOR of statistics or sums of them, in [0, 1]: (..., 21) -> (...)."""
    hypothesis = _weighted_length(statistics[..., 0], statistics[..., 2])
    reference = _weighted_length(statistics[..., 1], statistics[..., 3])
    precision = _weighted_matches(statistics[..., 4:12]) / _positive(hypothesis)
    recall = _weighted_matches(statistics[..., 12:20]) / _positive(reference)
    mean = precision * recall / _positive((1 - ALPHA) * recall + ALPHA * precision)
    fragmentation = statistics[..., 20] / _positive(statistics[..., 4:20].sum(-1) / 2)
    return mean * (1 - GAMMA * fragmentation**BETA)


def _weighted_matches(matched: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.array(WEIGHTS)
    return matched @ np.concatenate([DELTA * weights, (1 - DELTA) * weights])


def _weighted_length(
    words: NDArray[np.float64], functions: NDArray[np.float64]
) -> NDArray[np.float64]:
    return DELTA * (words - functions) + (1 - DELTA) * functions


def _positive(divisor: NDArray[np.float64]) -> NDArray[np.float64]:
    """The divisor, or 1 where it is 0: the dividend is 0 there, too."""
    return np.where(divisor > 0, divisor, 1.0)


def load(captions: Collection[Tokens], folder: Path | None = None) -> Meteor | None:
    """The matchers for a set of captions, or None where pycocoevalcap's files are not installed.

    Args:
        captions: The tokens of every caption, hypotheses and references together.
        folder: The folder with METEOR's files; None looks for the one of pycocoevalcap.
    """
    folder = folder or lexicon.find_folder()
    if folder is None:
        return None
    words = lexicon.load(folder)
    plain = Meteor(words, {})
    normalized = {plain.normalize(caption)[:MAX_WORDS] for caption in captions}
    return Meteor(words, lexicon.load_paraphrases(folder, normalized))
