"""Where each query's right answer stands in its gallery.

Scores are read block by block. Those that are products of vectors are made on the way in float64, and
their matrix is never held: BLAS rounds a product differently at the edge of a block, so that in float32
identical vectors may score 1e-7 apart and a collapsed model would seem to rank by chance. A score
within `TOLERANCE` of the right answer's counts as tied with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

Ties = Literal["pessimistic", "expected", "optimistic"]
"""What a tie means: every tied item stands before ours, the mean over all orders, or none does."""

TOLERANCE = 1e-6
"""Scores closer than this are tied: towers that run in float32 do not tell them apart."""

CHUNK = 1024
"""Queries, and gallery items, scored at once: 8 MiB of scores."""


@runtime_checkable
class Scores(Protocol):
    """What each query scores against each item of a gallery; higher is better."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many queries and items."""
        ...

    def block(self, queries: slice, items: slice) -> Float[ndarray, "query item"]:
        """A stretch of queries against a stretch of items; the caller may write into it."""
        ...

    def pairs(
        self, queries: Int[ndarray, " pair"], items: Int[ndarray, " pair"]
    ) -> Float[ndarray, " pair"]:
        """Query and item of each pair."""
        ...

    def turned(self, items: Int[ndarray, " chosen"]) -> "Scores":
        """The same scores with some of the items, in this order, asking for the queries."""
        ...


@dataclass(frozen=True, slots=True)
class Products:
    """Scores that are inner products of vectors, made when they are read."""

    queries: Float[ndarray, "query dim"]
    gallery: Float[ndarray, "item dim"]

    @classmethod
    def cosines(
        cls, queries: Shaped[ndarray, "query dim"], gallery: Shaped[ndarray, "item dim"]
    ) -> "Products":
        """Of vectors of any length but zero; only their direction counts.

        Raises:
            ValueError: A vector is zero or not finite.
        """
        return cls(unit(queries, "query"), unit(gallery, "gallery"))

    @property
    def shape(self) -> tuple[int, int]:
        """See `Scores`."""
        return len(self.queries), len(self.gallery)

    def block(self, queries: slice, items: slice) -> Float[ndarray, "query item"]:
        """See `Scores`."""
        return self.queries[queries] @ self.gallery[items].T

    def pairs(
        self, queries: Int[ndarray, " pair"], items: Int[ndarray, " pair"]
    ) -> Float[ndarray, " pair"]:
        """See `Scores`."""
        return np.einsum("pd,pd->p", self.queries[queries], self.gallery[items])

    def turned(self, items: Int[ndarray, " chosen"]) -> "Products":
        """See `Scores`."""
        return Products(self.gallery[items], self.queries)


@dataclass(frozen=True, slots=True)
class ScoreMatrix:
    """Scores that a model gave pair by pair: too dear to be made twice, so they are held.

    Raises:
        ValueError: A score is not finite: it would beat, and be beaten by, nothing.
    """

    values: Float[ndarray, "query item"]

    def __post_init__(self) -> None:
        if broken := np.flatnonzero(~np.isfinite(self.values).all(axis=1)).tolist():
            raise ValueError(f"Scores that are not finite: rows {_some(broken)}.")

    @property
    def shape(self) -> tuple[int, int]:
        """See `Scores`."""
        return len(self.values), self.values.shape[1]

    def block(self, queries: slice, items: slice) -> Float[ndarray, "query item"]:
        """See `Scores`."""
        return self.values[queries, items].astype(np.float64)

    def pairs(
        self, queries: Int[ndarray, " pair"], items: Int[ndarray, " pair"]
    ) -> Float[ndarray, " pair"]:
        """See `Scores`."""
        return self.values[queries, items].astype(np.float64)

    def turned(self, items: Int[ndarray, " chosen"]) -> "ScoreMatrix":
        """See `Scores`."""
        return ScoreMatrix(self.values[:, items].T)


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


def ranks_of_answers(
    queries: Shaped[ndarray, "query dim"],
    gallery: Shaped[ndarray, "item dim"],
    answers: Int[ndarray, " query"],
    *,
    chunk: int = CHUNK,
) -> Ranks:
    """Rank the one right item of each query among all items of the gallery, by cosine.

    Args:
        queries: Vectors of any length but zero; only their direction counts.
        gallery: Vectors likewise.
        answers: Row of the gallery that is right for each query.
        chunk: Queries and items scored at once; changes memory, never the result.

    Raises:
        ValueError: A vector is zero or not finite, or an answer lies outside the gallery.
    """
    return rank_answers(Products.cosines(queries, gallery), answers, chunk=chunk)


def ranks_of_sets(
    queries: Shaped[ndarray, "query dim"],
    gallery: Shaped[ndarray, "item dim"],
    owner: Int[ndarray, " item"],
    *,
    chunk: int = CHUNK,
) -> RanksOfSets:
    """Rank all right items of each query by cosine, where every item is right for one query.

    Args:
        queries: Vectors of any length but zero, such as those of clips.
        gallery: Vectors likewise, such as those of all their captions.
        owner: The query for which each item is right.
        chunk: Queries and items scored at once; changes memory, never the result.

    Raises:
        ValueError: A vector is zero or not finite, or some query has no right item.
    """
    return rank_sets(Products.cosines(queries, gallery), owner, chunk=chunk)


def rank_answers(scores: Scores, answers: Int[ndarray, " query"], *, chunk: int = CHUNK) -> Ranks:
    """Rank the one right item of each query among all items.

    Args:
        scores: Of queries against items.
        answers: The item that is right for each query.
        chunk: Queries and items read at once; changes memory, never the result.

    Raises:
        ValueError: An answer is no item.
    """
    queries, items = scores.shape
    _require_rows(answers, items, "answers")
    wrong = _count_wrong(scores, np.arange(queries), answers, chunk)
    return Ranks(wrong.better, wrong.tied)


def rank_sets(scores: Scores, owner: Int[ndarray, " item"], *, chunk: int = CHUNK) -> RanksOfSets:
    """Rank all right items of each query, where every item is right for one query.

    Args:
        scores: Of queries, such as clips, against items, such as all their captions.
        owner: The query for which each item is right.
        chunk: Queries and items read at once; changes memory, never the result.

    Raises:
        ValueError: Some query has no right item.
    """
    queries = scores.shape[0]
    _require_rows(owner, queries, "owner")
    if missing := np.flatnonzero(np.bincount(owner, minlength=queries) == 0).tolist():
        raise ValueError(f"Queries without any right item have no rank: {_some(missing)}.")
    answer = np.argsort(owner, kind="stable")
    wrong = _count_wrong(scores, owner[answer], answer, chunk)
    best_first = np.lexsort((-wrong.score, owner[answer]))
    query, score = owner[answer][best_first], wrong.score[best_first]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    among = np.full((queries, int(place.max(initial=0)) + 1), -np.inf)
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


def unit(vectors: Shaped[ndarray, "row dim"], name: str) -> Float[ndarray, "row dim"]:
    """The vectors at length 1, in float64.

    Raises:
        ValueError: A vector is not finite or has length zero; `name` and the rows are told.
    """
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    if broken := np.flatnonzero(~np.isfinite(length[:, 0])).tolist():
        raise ValueError(f"{name.capitalize()} vectors that are not finite: rows {_some(broken)}.")
    if empty := np.flatnonzero(length[:, 0] == 0).tolist():
        raise ValueError(f"{name.capitalize()} vectors of length zero: rows {_some(empty)}.")
    wide /= length
    return wide


@dataclass(frozen=True, slots=True)
class _Wrong:
    """For each pair of a query and a right answer: its score, and the wrong items beside it."""

    score: Float[ndarray, " pair"]
    better: Int[ndarray, " pair"]
    tied: Int[ndarray, " pair"]


def _count_wrong(
    scores: Scores, query: Int[ndarray, " pair"], answer: Int[ndarray, " pair"], chunk: int
) -> _Wrong:
    """Count the wrong items that beat or tie each (query, answer) pair; sorted by query."""
    queries, gallery = scores.shape
    score = np.empty(len(query))
    better, above = np.zeros((2, len(query)), dtype=np.int64)
    for rows in _spans(queries, chunk):
        pairs = slice(*np.searchsorted(query, (rows.start, rows.stop)))
        row, right = query[pairs] - rows.start, answer[pairs]
        score[pairs] = scores.pairs(query[pairs], right)
        one_each = len(row) == rows.stop - rows.start
        for items in _spans(gallery, chunk):
            block = scores.block(rows, items)
            here = (right >= items.start) & (right < items.stop)
            block[row[here], right[here] - items.start] = -np.inf
            beside = block if one_each else block[row]
            better[pairs] += _count_rows(beside > score[pairs, None] + TOLERANCE)
            above[pairs] += _count_rows(beside >= score[pairs, None] - TOLERANCE)
    return _Wrong(score, better, above - better)


def _count_rows(mask: Shaped[ndarray, "row item"]) -> Int[ndarray, " row"]:
    """How many are true in each row; on bytes twice as fast as numpy's count_nonzero."""
    return mask.view(np.uint8).sum(axis=1, dtype=np.uint32).astype(np.int64)


def _within(
    k: int, better: Int[ndarray, " row"], tied: Int[ndarray, " row"]
) -> Float[ndarray, " row"]:
    """Probability that an item is among the first `k`, its tie with others broken at random."""
    return np.clip((k - better) / (tied + 1), 0.0, 1.0)


def _spans(count: int, chunk: int) -> Iterator[slice]:
    for start in range(0, count, chunk):
        yield slice(start, min(start + chunk, count))


def _require_rows(index: Int[ndarray, " row"], below: int, name: str) -> None:
    if outside := np.flatnonzero((index < 0) | (index >= below)).tolist():
        raise ValueError(f"{name} points outside 0..{below - 1} at rows {_some(outside)}.")


def _some(rows: list[int]) -> str:
    """The first few row numbers, and how many there are beyond."""
    shown = ", ".join(map(str, rows[:5]))
    return shown if len(rows) <= 5 else f"{shown} and {len(rows) - 5} more"
