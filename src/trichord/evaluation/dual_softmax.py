"""Dual softmax: each similarity times its softmax over all queries, as many papers rank at test time.

    score(q, c) = s(q, c) · exp(s(q, c) / τ) / Σ over all queries q' of exp(s(q', c) / τ),  τ = 0.01

A candidate that is similar to many queries (a hub) is worth less to each of them. All queries of the test
are looked at together, so the numbers do not compare with those of a search, which has one query.

Source: CAMoE (Cheng et al., 2021, arXiv 2109.04290), whose loss uses it; at test time
`sim * softmax(100 * sim, axis=0)`, as evaluation code of later video-text models has it, cosines being
`sim`. From media to text the media are the queries, and the softmax is over them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy import ndarray

from trichord.evaluation.ranks import (
    CHUNK,
    TOLERANCE,
    Ranks,
    RanksOfSets,
    chunks,
    rank_answers,
    rank_both,
)
from trichord.evaluation.scores import Products
from trichord.types.arrays import Float, Int

Similarity = Literal["pairwise", "dual-softmax"]
"""What a query scores against a candidate: the similarity of the two alone, or its dual softmax."""

TEMPERATURE = 0.01
"""Of the softmax: CLIP's, and the factor 100 of published code."""
MIDDLE = 4.0
"""Beyond every logarithm below, so that it keeps positive, zero and negative scores apart."""


@dataclass(frozen=True, slots=True)
class DualSoftmax:
    """Scores in the order of the dual softmax, read block by block.

    A product with a softmax over thousands of queries is often below 1e-6, where `ranks` would take all
    scores as tied. So the scores are τ · ln(s · softmax) = s + τ · ln s − τ · ln Σ exp(s / τ): the same
    order, in units of the cosine, in which a tie means what it means without the softmax. The product keeps
    the sign of s: negative cosines come after those of zero, the largest product last.

    Attributes:
        cosines: Of queries against items.
        log_sums: ln Σ exp(s / τ) over queries, (1, item); or over items that ask, (query, 1).
    """

    cosines: Products
    log_sums: Float[ndarray, "row column"]

    @property
    def shape(self) -> tuple[int, int]:
        """See `Scores`."""
        return self.cosines.shape

    def block(self, queries: slice, items: slice) -> Float[ndarray, "query item"]:
        """See `Scores`."""
        by_item = len(self.log_sums) == 1
        sums = self.log_sums[:, items] if by_item else self.log_sums[queries]
        return _ordered(self.cosines.block(queries, items), sums)

    def pairs(
        self, queries: Int[ndarray, " pair"], items: Int[ndarray, " pair"]
    ) -> Float[ndarray, " pair"]:
        """See `Scores`."""
        by_item = len(self.log_sums) == 1
        sums = self.log_sums[0, items] if by_item else self.log_sums[queries, 0]
        return _ordered(self.cosines.pairs(queries, items), sums)


def _ordered(
    cosine: Float[ndarray, "*pair"], log_sum: Float[ndarray, "*sum"]
) -> Float[ndarray, "*pair"]:
    size = np.abs(cosine)
    zero = size <= TOLERANCE  # not told apart from 0, whose logarithm there is none of
    log = cosine + TEMPERATURE * (np.log(np.where(zero, 1.0, size)) - log_sum)
    return np.where(zero, -MIDDLE, np.where(cosine > 0, log, -2 * MIDDLE - log))


def dual_softmax(
    cosines: Products, answers: Int[ndarray, " query"], *, chunk: int = CHUNK
) -> tuple[DualSoftmax, DualSoftmax]:
    """Scores from queries to items, and from items to queries.

    Args:
        cosines: Of queries against items.
        answers: The item that is right for each query. On the way back, only those items ask.
        chunk: Queries and items read at once; changes memory, never the result.
    """
    queries, items = cosines.shape
    asks = np.zeros(items, np.bool_)
    asks[answers] = True
    by_item, by_query = np.zeros(items), np.zeros(queries)
    for rows in chunks(queries, chunk):
        for columns in chunks(items, chunk):
            # Less the largest possible cosine: between exp(-200) and 1, no sum overflows or is 0.
            shares = np.exp((cosines.block(rows, columns) - 1) / TEMPERATURE)
            by_item[columns] += shares.sum(axis=0)
            by_query[rows] += shares[:, asks[columns]].sum(axis=1)
    over_queries, over_items = (np.log(one) + 1 / TEMPERATURE for one in (by_item, by_query))
    return DualSoftmax(cosines, over_queries[None]), DualSoftmax(cosines, over_items[:, None])


def rank_by_dual_softmax(
    cosines: Products, answers: Int[ndarray, " query"], *, chunk: int = CHUNK
) -> tuple[Ranks, RanksOfSets]:
    """As `rank_both`, by the dual softmax of each direction.

    Args:
        cosines: Of queries against items.
        answers: The item that is right for each query; several queries may share it.
        chunk: Queries and items read at once; changes memory, never the result.

    Raises:
        ValueError: An answer is no item.
    """
    there, back = dual_softmax(cosines, answers, chunk=chunk)
    _, sets = rank_both(back, answers, chunk=chunk)
    return rank_answers(there, answers, chunk=chunk), sets
