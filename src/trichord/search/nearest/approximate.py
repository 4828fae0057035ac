"""Approximate search: an ANN index gives candidates, which are scored by their own vectors."""

from dataclasses import dataclass

import numpy as np

from trichord.search.nearest.backends import AnnIndex
from trichord.search.nearest.exact import (
    Allowed,
    Exact,
    Neighbours,
    Queries,
    best_rows,
    inner_products,
    no_neighbours,
    rank_rows,
    require_valid,
    slack,
)
from trichord.types.arrays import Float

CANDIDATES_PER_HIT = 2
"""Candidates for each hit: with them codes find 0.996 of the 1,000 nearest of 60,000."""
AT_LEAST = 64
"""Candidates beyond those: a few nearest need them, because codes order them differently."""
MEASURED = 10
"""Neighbours that the search budget is chosen for."""
FEW = 20_000
"""If a filter leaves at most so many rows, they are all scored: that takes a few milliseconds."""
RARE = 0.05
"""If a filter leaves a smaller share, its rows are all scored: most candidates would be filtered out."""


@dataclass(frozen=True, slots=True)
class Approximate:
    """Scores the candidates of an index; exact if a filter leaves too few of them.

    Attributes:
        index: Gives candidates.
        budget: Its search budget.
        exact: Exact search of the same vectors.
    """

    index: AnnIndex
    budget: int
    exact: Exact

    def search(self, queries: Queries, k: int, allowed: Allowed | None = None) -> Neighbours:
        """See `Exact.search`; some of the k nearest may be missed, and less near ones returned."""
        has = self.exact.has
        require_valid(queries, k, allowed, self.exact.vectors.shape)
        total = np.count_nonzero(has)
        findable = has if allowed is None else allowed & has
        left = np.count_nonzero(findable)
        if left < total and left <= max(FEW, RARE * total):
            return self.exact.search(queries, k, allowed)
        # More by the share that the filter will remove.
        share = left / max(1, total)
        count = min(int(_candidate_count(k) / share), len(has))
        # A larger count than was measured reaches candidates that are farther away.
        budget = int(self.budget * max(1.0, (count / _candidate_count(MEASURED)) ** 0.5))
        result = no_neighbours(len(queries), k)
        short = np.zeros(len(queries), bool)
        for i, rows in enumerate(self.index.candidates(queries, count, budget)):
            rows = rows[rows >= 0]
            # In their order in memory.
            rows = np.sort(rows[findable[rows]])
            vectors, query = self.exact.vectors, queries[i]
            scores = inner_products(vectors[rows], query[None])[0]
            best = rows[best_rows(scores, k, slack(query))]
            result[0][i], result[1][i] = rank_rows(vectors, best, query, k)
            # If the filter removed most candidates, those that are left may not be the nearest.
            short[i] = len(rows) < min(_candidate_count(k) // 2, left)
        if short.any():
            rows, cosines = self.exact.search(queries[short], k, allowed)
            result[0][short], result[1][short] = rows, cosines
        return result


Nearest = Exact | Approximate
"""Finds the nearest vectors of one modality."""


def _candidate_count(k: int) -> int:
    return AT_LEAST + CANDIDATES_PER_HIT * k


def recall(cosines: Float[np.ndarray, "query k"], truth: Float[np.ndarray, "query k"]) -> float:
    """Share of the true k nearest that was found, over all queries.

    It compares cosines, which both searches compute alike, so that any of several equal moments counts.

    Args:
        cosines: Cosines of the neighbours, best first.
        truth: Those of exact search; -inf if there are fewer than k moments.
    """
    worst = np.where(truth > -np.inf, truth, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    expected = int((truth > -np.inf).sum())
    return int(((cosines >= worst) & (cosines > -np.inf)).sum()) / expected if expected else 1.0
