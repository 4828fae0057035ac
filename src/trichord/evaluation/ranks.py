"""Where each query's right answer stands in its gallery.

Scores are read block by block (see `counting`), and their matrix is never held. A score within
`TOLERANCE` of the right answer's counts as tied with it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy import ndarray

from trichord.evaluation.counting import CHUNK, TOLERANCE, Wrong, count_wrong
from trichord.evaluation.scores import Products, ScoreMatrix, Scores, some, unit
from trichord.types.arrays import Float, Int, Shaped

__all__ = [
    "CHUNK", "TOLERANCE", "Products", "Ranks", "RanksOfSets", "ScoreMatrix", "Scores", "Ties",
    "rank_answers", "rank_both", "rank_sets", "ranks_of_answers", "ranks_of_sets", "unit",
]  # fmt: skip

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
    _require_rows(answers, scores.shape[1], "answers")
    wrong = count_wrong(scores, answers, queries=False, chunk=chunk).items
    return Ranks(wrong.better, wrong.tied)


def rank_both(
    scores: Scores, answers: Int[ndarray, " query"], *, chunk: int = CHUNK
) -> tuple[Ranks, RanksOfSets]:
    """Rank the right item of each query, and for each such item all queries that it is right for.

    Both come from one reading of the scores; they are what `rank_answers` gives, and `rank_sets` of
    the turned scores.

    Args:
        scores: Of queries, such as captions, against items, such as clips.
        answers: The item that is right for each query; several queries may share it.
        chunk: Queries and items read at once; changes memory, never the result.

    Raises:
        ValueError: An answer is no item.
    """
    _require_rows(answers, scores.shape[1], "answers")
    counted = count_wrong(scores, answers, chunk=chunk)
    _, owner = np.unique(answers, return_inverse=True)
    sets = _among(counted.score, owner, counted.queries)
    return Ranks(counted.items.better, counted.items.tied), sets


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
        raise ValueError(f"Queries without any right item have no rank: {some(missing)}.")
    counted = count_wrong(scores.turned(), owner, items=False, chunk=chunk)
    return _among(counted.score, owner, counted.queries)


def _among(
    score: Float[ndarray, " item"], owner: Int[ndarray, " item"], wrong: Wrong
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


def _require_rows(index: Int[ndarray, " row"], below: int, name: str) -> None:
    if outside := np.flatnonzero((index < 0) | (index >= below)).tolist():
        raise ValueError(f"{name} points outside 0..{below - 1} at rows {some(outside)}.")
