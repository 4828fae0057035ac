"""Approximate search: a structure proposes, the vectors themselves decide."""

from dataclasses import dataclass

import numpy as np

from trichord.search.nearest.backends import Index
from trichord.search.nearest.exact import Exact, best_rows, products, slack
from trichord.search.nearest.neighbours import Allowed, Found, Queries, check, nothing, ranked
from trichord.types.arrays import Bool, Float, Int

PROPOSED = 2
"""Rows proposed for each that is wanted; with them codes find 0.996 of the 1,000 nearest of 60,000."""
AT_LEAST = 64
"""Rows proposed beyond those: what a few nearest need, whose order among codes is another."""
MEASURED = 10
"""Neighbours that a structure's effort is chosen for."""
FEW = 20_000
"""Where a filter leaves no more rows they are all scored: that takes a few milliseconds."""
RARE = 0.05
"""Where a filter leaves a smaller share they are all scored: most of what is proposed would be in vain."""


@dataclass(frozen=True, slots=True)
class Approximate:
    """Scores what a structure proposes; exact where a filter leaves too little of that.

    Attributes:
        index: Proposes.
        effort: It is to take.
        exact: Search of the same vectors.
    """

    index: Index
    effort: int
    exact: Exact

    def search(self, queries: Queries, k: int, allowed: Allowed | None = None) -> Found:
        """See `Nearest`; some of the k may be missed for others that are less near."""
        has = self.exact.has
        check(queries, k, allowed, self.exact.vectors.shape)
        total = np.count_nonzero(has)
        findable = has if allowed is None else allowed & has
        left = np.count_nonzero(findable)
        if left < total and left <= max(FEW, RARE * total):
            return self.exact.search(queries, k, allowed)
        # As many more as the filter will throw away.
        share = left / max(1, total)
        count = min(int(_wanted(k) / share), len(has))
        found = nothing(len(queries), k)
        short = np.zeros(len(queries), bool)
        for i, rows in enumerate(self._proposed(queries, count)):
            rows = rows[rows >= 0]
            rows = rows[findable[rows]]
            best, cosines = self._best(rows, queries[i], k)
            found[0][i, : len(best)], found[1][i, : len(best)] = best, cosines
            # Of so little that is left of what was proposed, the farther ones are there by chance.
            short[i] = len(rows) < min(_wanted(k) // 2, left)
        return self._completed(found, queries, short, allowed)

    def _proposed(self, queries: Queries, count: int) -> Int[np.ndarray, "query proposed"]:
        # More neighbours than it was measured for lie farther apart.
        effort = int(self.effort * max(1.0, (count / _wanted(MEASURED)) ** 0.5))
        return self.index.propose(queries, count, effort)

    def _best(
        self, rows: Int[np.ndarray, " row"], query: Float[np.ndarray, " dim"], k: int
    ) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]:
        rows = np.sort(rows)  # as they lie in memory
        near = best_rows(products(self.exact.vectors[rows], query[None])[0], k, slack(query))
        return ranked(self.exact.vectors, rows[near], query, k)

    def _completed(
        self,
        found: Found,
        queries: Queries,
        short: Bool[np.ndarray, " query"],
        allowed: Allowed | None,
    ) -> Found:
        """Search exactly for queries near which little is allowed."""
        if short.any():
            rows, cosines = self.exact.search(queries[short], found[0].shape[1], allowed)
            found[0][short], found[1][short] = rows, cosines
        return found


def _wanted(k: int) -> int:
    return AT_LEAST + PROPOSED * k


def recall(found: Float[np.ndarray, "query k"], truth: Float[np.ndarray, "query k"]) -> float:
    """Share of the true k best that was found, of all queries together.

    Judged by cosines, which are computed alike on both sides, so that of equal moments any will do.

    Args:
        found: Cosines of what was found, best first.
        truth: Those of exact search; -inf where there are fewer than k moments.
    """
    worst = np.where(truth > -np.inf, truth, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    wanted = int((truth > -np.inf).sum())
    return int(((found >= worst) & (found > -np.inf)).sum()) / wanted if wanted else 1.0
