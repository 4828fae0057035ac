"""How many wrong items score above each right one, and for how many queries that item scores higher.

Scores are float64 and read block by block, so that memory does not grow with their number.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from trichord.evaluation.scores import Scores
from trichord.types.arrays import Float, Int

TOLERANCE = 1e-6
"""Scores closer than this are tied: encoders that run in float32 do not tell them apart."""

CHUNK = 1024
"""Queries, and items, scored at once: 8 MiB of scores, and as much again to sort them."""

Index = Int[ndarray, " _"]


@dataclass(frozen=True, slots=True)
class Wrong:
    """For each query and its right item: how many wrong ones score better, and how many the same."""

    better: Int[ndarray, " query"]
    tied: Int[ndarray, " query"]

    @classmethod
    def none(cls, queries: int) -> "Wrong":
        """Nothing counted yet."""
        return cls(np.zeros(queries, np.int64), np.zeros(queries, np.int64))

    def add(self, queries: slice | Index, better: Index, better_or_tied: Index) -> None:
        """Count more wrong ones of some queries, each of which is named once."""
        self.better[queries] += better
        self.tied[queries] += better_or_tied - better


@dataclass(frozen=True, slots=True)
class RankCounts:
    """The score of each query's right item, and the wrong ones in both directions.

    Attributes:
        score: Of each query with its right item.
        items: That are wrong for the query.
        queries: That the item is wrong for.
    """

    score: Float[ndarray, " query"]
    items: Wrong
    queries: Wrong


def count_wrong(
    scores: Scores,
    answers: Int[ndarray, " query"],
    *,
    items: bool = True,
    queries: bool = True,
    chunk: int = CHUNK,
) -> RankCounts:
    """Count the items and the queries that beat or tie each query with its right item.

    Args:
        scores: Of queries against items.
        answers: The one right item of each query; an item may be right for several.
        items: Whether to count items; if not, their counts are zero.
        queries: Whether to count queries; if not, their counts are zero.
        chunk: Queries and items scored at once; changes memory, never the result.
    """
    right = scores.pairs(np.arange(len(answers)), answers)
    counted = RankCounts(right, Wrong.none(len(answers)), Wrong.none(len(answers)))
    by_item = np.argsort(answers, kind="stable")
    item = answers[by_item]
    for rows in _chunks(len(answers), chunk):
        for columns in _chunks(scores.shape[1], chunk):
            block = scores.block(rows, columns)
            # The right item of a query is no wrong one, nor is the query a wrong one of the item.
            here = np.flatnonzero((answers[rows] >= columns.start) & (answers[rows] < columns.stop))
            block[here, answers[rows][here] - columns.start] = -np.inf
            if items:
                better = np.count_nonzero(block > right[rows, None] + TOLERANCE, axis=1)
                above = np.count_nonzero(block >= right[rows, None] - TOLERANCE, axis=1)
                counted.items.add(rows, better, above)
            if queries:
                some = slice(*np.searchsorted(item, (columns.start, columns.stop)))
                asking = by_item[some]
                above = _above(block, item[some] - columns.start, right[asking])
                counted.queries.add(asking, *above)
    return counted


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


def _chunks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
