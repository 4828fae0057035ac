"""Where each query's right answer stands in its gallery.

Wrong items that score above each right one are counted, and the queries for which that item scores
higher. Scores are float64 and read block by block, so that their matrix is never held. A score within
`TOLERANCE` of the right answer's counts as tied with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy import ndarray

from trichord.evaluation.scores import Scores, some
from trichord.types.arrays import Float, Int

TOLERANCE = 1e-6
"""Scores closer than this are tied: encoders that run in float32 do not tell them apart."""

CHUNK = 1024
"""Queries, and items, scored at once: 8 MiB of scores, and as much again to sort them."""

Index = Int[ndarray, " _"]
Ties = Literal["pessimistic", "expected", "optimistic"]
"""What a tie means: every tied item stands before ours, the mean over all orders, or none does."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """One right answer a query: how many other items score better, and how many the same."""

    better: Int[ndarray, " query"]
    tied: Int[ndarray, " query"]

    def rank(self, ties: Ties = "pessimistic") -> Float[ndarray, " query"]:
        """The right answer's place, 1 being the best."""
        share = {"pessimistic": 1.0, "expected": 0.5, "optimistic": 0.0}[ties]
        return 1.0 + self.better + share * self.tied

    def hit(self, k: int, ties: Ties = "pessimistic") -> Float[ndarray, " query"]:
        """Whether the right answer is among the first `k`; under expected ties, its probability."""
        if ties == "expected":
            return _within(k, self.better, self.tied)
        return (self.rank(ties) <= k).astype(np.float64)

    def reciprocal(self, ties: Ties = "pessimistic") -> Float[ndarray, " query"]:
        """1 / rank; under expected ties, its mean over all orders of the tied items."""
        if ties != "expected":
            return 1.0 / self.rank(ties)
        last = self.better + self.tied + 1
        steps = np.arange(1, int(last.max(initial=0)) + 1, dtype=np.float64)
        harmonic = np.concatenate([[0.0], np.cumsum(1.0 / steps)])
        return (harmonic[last] - harmonic[self.better]) / (self.tied + 1)


@dataclass(frozen=True, slots=True)
class RanksOfSets:
    """Several right answers a query: a row each, sorted by query, then from best to worst.

    `place` counts a row's position among its query's right answers from 0. Wrong items that score
    better or the same are kept apart from right ones, which never stand in each other's way.
    """

    query: Int[ndarray, " answer"]
    place: Int[ndarray, " answer"]
    better: Int[ndarray, " answer"]
    tied: Int[ndarray, " answer"]
    right_better: Int[ndarray, " answer"]
    right_tied: Int[ndarray, " answer"]

    def rank(self, ties: Ties = "pessimistic") -> Float[ndarray, " answer"]:
        """The place of each right answer, 1 being the best."""
        if ties == "expected":
            return 1.0 + self.better + self.right_better + 0.5 * (self.tied + self.right_tied)
        return 1.0 + self.place + self.better + (self.tied if ties == "pessimistic" else 0)

    def hit(self, k: int, ties: Ties = "pessimistic") -> Float[ndarray, " query"]:
        """Whether any right answer is among the first `k`; many papers call this recall."""
        first = self.place == 0
        if ties != "expected":
            return (self.rank(ties)[first] <= k).astype(np.float64)
        right, wrong = 1 + self.right_tied[first], self.tied[first]
        free = k - self.better[first]
        missed = np.ones(len(right))
        for drawn in range(k):  # drawing the tied items one by one, each time a wrong one
            left = np.maximum(wrong - drawn, 0)
            missed *= np.where(drawn < free, left / np.maximum(right + left, 1), 1.0)
        return 1.0 - missed

    def recall(self, k: int, ties: Ties = "pessimistic") -> Float[ndarray, " query"]:
        """Share of a query's right answers among the first `k`; at most k / their number."""
        if ties == "expected":
            found = _within(k, self.better + self.right_better, self.tied + self.right_tied)
        else:
            found = (self.rank(ties) <= k).astype(np.float64)
        return np.bincount(self.query, weights=found) / np.bincount(self.query)


@dataclass(frozen=True, slots=True)
class RankCounts:
    """The score of each query's right item, and the wrong ones in both directions.

    Attributes:
        score: Of each query with its right item.
        items: That are wrong for the query.
        queries: That the item is wrong for.
    """

    score: Float[ndarray, " query"]
    items: Ranks
    queries: Ranks


def count_wrong(
    scores: Scores,
    answers: Int[ndarray, " query"],
    *,
    queries: bool = True,
    chunk: int = CHUNK,
) -> RankCounts:
    """Count the items and the queries that beat or tie each query with its right item.

    Args:
        scores: Of queries against items.
        answers: The one right item of each query; an item may be right for several.
        queries: Whether to count queries; if not, their counts are zero.
        chunk: Queries and items scored at once; changes memory, never the result.

    Raises:
        ValueError: An answer is no item.
    """
    count, items = scores.shape
    if outside := np.flatnonzero((answers < 0) | (answers >= items)).tolist():
        raise ValueError(f"answers points outside 0..{items - 1} at rows {some(outside)}.")
    right = scores.pairs(np.arange(len(answers)), answers)
    by_query, by_right = (Ranks(*np.zeros((2, count), np.int64)) for _ in range(2))
    by_item = np.argsort(answers, kind="stable")
    item = answers[by_item]
    for rows in chunks(count, chunk):
        for columns in chunks(items, chunk):
            block = scores.block(rows, columns)
            # The right item of a query is no wrong one, nor is the query a wrong one of the item.
            here = np.flatnonzero((answers[rows] >= columns.start) & (answers[rows] < columns.stop))
            block[here, answers[rows][here] - columns.start] = -np.inf
            better = np.count_nonzero(block > right[rows, None] + TOLERANCE, axis=1)
            above = np.count_nonzero(block >= right[rows, None] - TOLERANCE, axis=1)
            by_query.better[rows] += better
            by_query.tied[rows] += above - better
            if queries:
                asking = slice(*np.searchsorted(item, (columns.start, columns.stop)))
                asked = by_item[asking]
                better, above = _above(block, item[asking] - columns.start, right[asked])
                by_right.better[asked] += better
                by_right.tied[asked] += above - better
    return RankCounts(right, by_query, by_right)


def _above(
    block: Float[ndarray, "row column"], column: Index, right: Float[ndarray, " query"]
) -> tuple[Index, Index]:
    """How many scores of each query's column are better than its right one, and better or the same.

    A column is sorted once for all its queries: an item may have dozens of captions.

    Args:
        block: Scores.
        column: Of each query, in ascending order.
        right: The score of each query with its right item.
    """
    ordered = np.sort(block.T, axis=1)
    better, same = np.empty(len(right), np.int64), np.empty(len(right), np.int64)
    used, start, count = np.unique(column, return_index=True, return_counts=True)
    for one, first, last in zip(used, start, start + count, strict=True):
        part = slice(first, last)
        better[part] = ordered[one].searchsorted(right[part] + TOLERANCE, side="right")
        same[part] = ordered[one].searchsorted(right[part] - TOLERANCE, side="left")
    return len(block) - better, len(block) - same


def chunks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `count` rows."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def rank_answers(scores: Scores, answers: Int[ndarray, " query"], *, chunk: int = CHUNK) -> Ranks:
    """Rank the one right item of each query among all items.

    Args:
        scores: Of queries against items.
        answers: The item that is right for each query.
        chunk: Queries and items read at once; changes memory, never the result.

    Raises:
        ValueError: An answer is no item.
    """
    return count_wrong(scores, answers, queries=False, chunk=chunk).items


def rank_both(
    scores: Scores, answers: Int[ndarray, " query"], *, chunk: int = CHUNK
) -> tuple[Ranks, RanksOfSets]:
    """Rank the right item of each query, and for each such item all queries that it is right for.

    Both come from one reading of the scores.

    Args:
        scores: Of queries, such as captions, against items, such as clips.
        answers: The item that is right for each query; several queries may share it.
        chunk: Queries and items read at once; changes memory, never the result.

    Raises:
        ValueError: An answer is no item.
    """
    counted = count_wrong(scores, answers, chunk=chunk)
    _, owner = np.unique(answers, return_inverse=True)
    return counted.items, _among(counted.score, owner, counted.queries)


def _among(
    score: Float[ndarray, " item"], owner: Int[ndarray, " item"], wrong: Ranks
) -> RanksOfSets:
    """Right items in the order of their ranks, with where they stand among their like."""
    best_first = np.lexsort((-score, owner))
    query, score = owner[best_first], score[best_first]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    among = np.full((int(owner.max(initial=-1)) + 1, int(place.max(initial=0)) + 1), -np.inf)
    among[query, place] = score
    lead = among[query] - score[:, None]
    return RanksOfSets(
        query,
        place,
        wrong.better[best_first],
        wrong.tied[best_first],
        right_better=np.count_nonzero(lead > TOLERANCE, axis=1),
        right_tied=np.count_nonzero(np.abs(lead) <= TOLERANCE, axis=1) - 1,
    )


def _within(
    k: int, better: Int[ndarray, " row"], tied: Int[ndarray, " row"]
) -> Float[ndarray, " row"]:
    """Probability that an item is among the first `k`, its tie with others broken at random."""
    return np.clip((k - better) / (tied + 1), 0.0, 1.0)
