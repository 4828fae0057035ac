"""Exact search: every moment's cosine, by products that read each vector once."""

import numpy as np

from trichord.search.nearest.neighbours import (
    ROUNDING,
    Allowed,
    Found,
    Queries,
    Vectors,
    check,
    nothing,
    ranked,
)
from trichord.types.arrays import Bool, Float, Int, Num

PRODUCTS = 1 << 24
"""Cosines held at once, 64 MiB: the queries of one matrix product times the moments."""
SPARSE = 0.25
"""Where less of the gallery is allowed, its rows are gathered, else all are scored and masked."""
TILE = 1024
"""Moments of one matrix product: 2 MiB at 512 dimensions, which stay in a core's cache."""
SINGLE = 5
"""Up to so many queries are scored one by one: a matrix product is quicker from there on."""
GROUP = 256
"""Moments of which only the best is looked at to find out what the k best reach at least."""


class Exact:
    """Scores every moment. Needs nothing built; of the vectors no copy is held."""

    def __init__(self, vectors: Vectors, has: Bool[np.ndarray, " moment"]) -> None:
        """Search some vectors.

        Args:
            vectors: Unit length, float32.
            has: Rows that are vectors; the others are never found.
        """
        # Row by row in memory, a product reads each vector once and in one stretch.
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.has = has
        self._whole = bool(has.all())

    def search(self, queries: Queries, k: int, allowed: Allowed | None = None) -> Found:
        """See `Nearest`."""
        check(queries, k, allowed, self.vectors.shape)
        findable = self._findable(allowed)
        if findable is not None and np.count_nonzero(findable) < SPARSE * len(findable):
            return self._among(queries, k, np.flatnonzero(findable))
        found = nothing(len(queries), k)
        portion = max(1, PRODUCTS // max(1, len(self.vectors)))
        for first in range(0, len(queries), portion):
            some = queries[first : first + portion]
            scores = products(self.vectors, some)
            if findable is not None:
                scores[:, ~findable] = -np.inf
            for i, query in enumerate(some):
                candidates = best_rows(scores[i], k, slack(query))
                self._settle(found, first + i, query, candidates)
        return found

    def _findable(self, allowed: Allowed | None) -> Allowed | None:
        if allowed is None:
            return None if self._whole else self.has
        return allowed if self._whole else allowed & self.has

    def _among(self, queries: Queries, k: int, rows: Int[np.ndarray, " row"]) -> Found:
        """Search a few rows only."""
        found = nothing(len(queries), k)
        scores = np.empty((len(queries), len(rows)), np.float32)
        for i in range(0, len(rows), TILE):
            scores[:, i : i + TILE] = products(self.vectors[rows[i : i + TILE]], queries)
        for i, query in enumerate(queries):
            self._settle(found, i, query, rows[best_rows(scores[i], k, slack(query))])
        return found

    def _settle(
        self,
        found: Found,
        place: int,
        query: Float[np.ndarray, " dim"],
        candidates: Int[np.ndarray, " row"],
    ) -> None:
        rows, exact = ranked(self.vectors, candidates, query, found[0].shape[1])
        found[0][place, : len(rows)], found[1][place, : len(rows)] = rows, exact


def products(vectors: Vectors, queries: Queries) -> Float[np.ndarray, "query moment"]:
    """Inner products in float32.

    Measured on one thread at 100,000 × 512, beside faiss's flat index at 8.8 ms a query: one query by
    OpenBLAS's matrix-vector product 16.5 ms, which jumps between rows; a dot product a row, which
    reads memory in one stretch, 7.3 ms. Sixteen (faiss 173 ms): queries × vectors 66 ms,
    vectors × queries 46 ms, the same in tiles that stay in the cache 41 ms.
    """
    scores = np.empty((len(queries), len(vectors)), np.float32)
    if len(queries) <= SINGLE:
        for query, row in zip(queries, scores, strict=True):
            np.vecdot(vectors, query, out=row)
        return scores
    for i in range(0, len(vectors), TILE):
        scores[:, i : i + TILE] = (vectors[i : i + TILE] @ queries.T).T
    return scores


def best_rows(
    scores: Float[np.ndarray, " moment"], k: int, slack: float
) -> Int[np.ndarray, " candidate"]:
    """Rows among which the k best certainly are if scores are off by at most half of `slack`.

    Args:
        scores: -inf in rows that are never candidates.
        k: How many are wanted.
        slack: How far below the k-th best a candidate may be.
    """
    least = reached(scores, k)
    if least is None or least == -np.inf:
        return np.flatnonzero(scores > -np.inf)
    return np.flatnonzero(scores >= least - slack)


def reached(scores: Num[np.ndarray, " moment"], k: int) -> np.number | None:
    """What the k best scores reach at least; None where there are too few to say.

    The best of each of k groups is at least as good as the k-th best of all, and groups are compared
    ten times as fast as all rows are partitioned.
    """
    width = max(1, min(GROUP, len(scores) // (4 * k)))
    whole = len(scores) // width * width
    best = scores[:whole].reshape(-1, width).max(axis=1)
    if len(best) <= k:
        return None
    return np.partition(best, len(best) - k)[len(best) - k]


def slack(query: Float[np.ndarray, " dim"]) -> float:
    """Twice what a query's float32 products may be off by."""
    return 2 * ROUNDING * float(np.linalg.norm(query))
