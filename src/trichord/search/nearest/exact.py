"""Exact search: the cosine of every moment, by products that read each vector once."""

import numpy as np

from trichord.search.nearest.neighbours import (
    ROUNDING,
    Allowed,
    Neighbours,
    Queries,
    Vectors,
    no_neighbours,
    rank_rows,
    require_valid,
)
from trichord.types.arrays import Bool, Float, Int, Num

PRODUCTS = 1 << 24
"""Cosines in memory at once, 64 MiB: queries of one matrix product × moments."""
SPARSE = 0.25
"""If a smaller share of the rows is allowed, they are gathered; otherwise all are scored and masked."""
TILE = 1024
"""Moments of one matrix product: 2 MiB at 512 dimensions, which fit a core's cache."""
SINGLE = 5
"""Up to so many queries are scored one by one; a matrix product is faster for more."""
GROUP = 256
"""Moments of which `kth_best_bound` compares only the best."""


class Exact:
    """Scores every moment. It builds nothing and copies no vectors."""

    def __init__(self, vectors: Vectors, has: Bool[np.ndarray, " moment"]) -> None:
        """Keep the vectors.

        Args:
            vectors: Unit length, float32.
            has: Rows that have a vector; the others are never found.
        """
        # Contiguous rows: a product reads each vector once, sequentially.
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.has = has
        self._complete = bool(has.all())

    def search(self, queries: Queries, k: int, allowed: Allowed | None = None) -> Neighbours:
        """See `Nearest`."""
        require_valid(queries, k, allowed, self.vectors.shape)
        findable = self._findable(allowed)
        if findable is not None and np.count_nonzero(findable) < SPARSE * len(findable):
            return self._among(queries, k, np.flatnonzero(findable))
        result = no_neighbours(len(queries), k)
        portion = max(1, PRODUCTS // max(1, len(self.vectors)))
        for first in range(0, len(queries), portion):
            some = queries[first : first + portion]
            scores = inner_products(self.vectors, some)
            if findable is not None:
                scores[:, ~findable] = -np.inf
            for i, query in enumerate(some):
                candidates = best_rows(scores[i], k, slack(query))
                self._rank(result, first + i, query, candidates)
        return result

    def _findable(self, allowed: Allowed | None) -> Allowed | None:
        if allowed is None:
            return None if self._complete else self.has
        return allowed if self._complete else allowed & self.has

    def _among(self, queries: Queries, k: int, rows: Int[np.ndarray, " row"]) -> Neighbours:
        """Search a few rows only."""
        result = no_neighbours(len(queries), k)
        scores = np.empty((len(queries), len(rows)), np.float32)
        for i in range(0, len(rows), TILE):
            scores[:, i : i + TILE] = inner_products(self.vectors[rows[i : i + TILE]], queries)
        for i, query in enumerate(queries):
            self._rank(result, i, query, rows[best_rows(scores[i], k, slack(query))])
        return result

    def _rank(
        self,
        result: Neighbours,
        place: int,
        query: Float[np.ndarray, " dim"],
        candidates: Int[np.ndarray, " row"],
    ) -> None:
        rows, exact = rank_rows(self.vectors, candidates, query, result[0].shape[1])
        result[0][place, : len(rows)], result[1][place, : len(rows)] = rows, exact


def inner_products(vectors: Vectors, queries: Queries) -> Float[np.ndarray, "query moment"]:
    """Inner products in float32.

    Measured on one thread at 100,000 × 512; faiss's flat index takes 8.8 ms a query. One query: 16.5 ms
    by OpenBLAS's matrix-vector product, which jumps between rows; 7.3 ms by a dot product a row, which
    reads memory sequentially. Sixteen queries (faiss 173 ms): queries × vectors 66 ms, vectors × queries
    46 ms, the same in tiles that fit the cache 41 ms.
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
    """Rows that certainly include the k best if scores are off by at most half of `slack`.

    Args:
        scores: -inf in rows that are never candidates.
        k: How many.
        slack: How far below the k-th best score a candidate may be.
    """
    least = kth_best_bound(scores, k)
    if least is None or least == -np.inf:
        return np.flatnonzero(scores > -np.inf)
    return np.flatnonzero(scores >= least - slack)


def kth_best_bound(scores: Num[np.ndarray, " moment"], k: int) -> np.number | None:
    """A lower bound of the k-th best score; None if there are too few scores.

    The k-th best of the groups' maxima is such a bound, and taking maxima is ten times as fast as
    partitioning all scores.
    """
    width = max(1, min(GROUP, len(scores) // (4 * k)))
    full = len(scores) // width * width
    best = scores[:full].reshape(-1, width).max(axis=1)
    if len(best) <= k:
        return None
    return np.partition(best, len(best) - k)[len(best) - k]


def slack(query: Float[np.ndarray, " dim"]) -> float:
    """Twice the largest error of a query's float32 products."""
    return 2 * ROUNDING * float(np.linalg.norm(query))
