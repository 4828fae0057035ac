"""Exact search: the cosine of every moment, by products that read each vector once."""

import numpy as np

from trichord.types.arrays import Bool, Float, Int, Num

Queries = Float[np.ndarray, "query dim"]
Vectors = Float[np.ndarray, "moment dim"]
Allowed = Bool[np.ndarray, " moment"]
Neighbours = tuple[Int[np.ndarray, "query k"], Float[np.ndarray, "query k"]]
"""Rows of the gallery and their cosines, best first; -1 and -inf if there are no more."""

ROUNDING = 4e-6
"""Largest error of a float32 product of unit vectors, with a margin."""
RESCORED = 4096
"""Rows scored in float64 at once, 16 MiB at 512 dimensions."""
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
    """Scores every moment. It builds nothing and copies no vectors.

    Cosines are computed in float64, one row at a time, so that they do not depend on the batch, the
    threads or the place of a moment in the gallery; equal ones are ordered by row.
    """

    def __init__(self, vectors: Vectors, has: Bool[np.ndarray, " moment"]) -> None:
        """Keep the vectors.

        Args:
            vectors: Unit length, float32.
            has: Rows that have a vector; the others are never found.
        """
        # Contiguous rows: a product reads each vector once, sequentially.
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.has = has

    def search(self, queries: Queries, k: int, allowed: Allowed | None = None) -> Neighbours:
        """The rows nearest to each query, among those that have a vector.

        Args:
            queries: float32, of any length: the "cosine" is the inner product.
            k: How many, at least 1.
            allowed: Rows that may be found; None: all.

        Raises:
            ValueError: `k`, a shape, or a query that is not finite.
        """
        require_valid(queries, k, allowed, self.vectors.shape)
        findable = self.has if allowed is None else allowed & self.has
        complete, few = findable.all(), np.count_nonzero(findable) < SPARSE * len(findable)
        rows = np.flatnonzero(findable) if few else None
        result = no_neighbours(len(queries), k)
        portion = max(1, PRODUCTS // max(1, len(self.vectors)))
        for first in range(0, len(queries), portion):
            some = queries[first : first + portion]
            scores = self._scores(some, rows)
            if not (few or complete):
                scores[:, ~findable] = -np.inf
            for i, query in enumerate(some):
                best = best_rows(scores[i], k, slack(query))
                best = best if rows is None else rows[best]
                place = first + i
                result[0][place], result[1][place] = rank_rows(self.vectors, best, query, k)
        return result

    def _scores(
        self, queries: Queries, rows: Int[np.ndarray, " row"] | None
    ) -> Float[np.ndarray, "query row"]:
        """Float32 scores of some rows (None: all), which are never all copied at once."""
        if rows is None:
            return inner_products(self.vectors, queries)
        scores = np.empty((len(queries), len(rows)), np.float32)
        for i in range(0, len(rows), TILE):
            scores[:, i : i + TILE] = inner_products(self.vectors[rows[i : i + TILE]], queries)
        return scores


def require_valid(
    queries: Queries, k: int, allowed: Allowed | None, shape: tuple[int, int]
) -> None:
    """Refuse arguments that do not fit vectors of this shape.

    Raises:
        ValueError: See `Exact.search`.
    """
    if k < 1:
        raise ValueError(f"k is {k}, at least 1 is needed")
    if queries.ndim != 2 or queries.shape[1] != shape[1]:
        raise ValueError(f"queries of shape {queries.shape} for vectors of {shape[1]} dimensions")
    if not np.isfinite(queries).all():
        raise ValueError("a query vector is not finite")
    if allowed is not None and len(allowed) != shape[0]:
        raise ValueError(f"{len(allowed)} marks for {shape[0]} moments")


def no_neighbours(queries: int, k: int) -> Neighbours:
    """An empty result."""
    return np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf)


def cosines(
    vectors: Vectors, rows: Int[np.ndarray, " row"], query: Float[np.ndarray, " dim"]
) -> Float[np.ndarray, " row"]:
    """Inner products of some rows with a query, in float64 and each by itself.

    A matrix product rounds a row by its place in a block: identical moments would have cosines 1e-7 apart.
    """
    query = query.astype(np.float64)
    parts = [
        (vectors[rows[i : i + RESCORED]] * query).sum(axis=1) for i in range(0, len(rows), RESCORED)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def rank_rows(
    vectors: Vectors, rows: Int[np.ndarray, " row"], query: Float[np.ndarray, " dim"], k: int
) -> tuple[Int[np.ndarray, " hit"], Float[np.ndarray, " hit"]]:
    """The k best of some rows with their cosines, best first; equal ones by row; see `Neighbours`."""
    exact = cosines(vectors, rows, query)
    order = np.lexsort((rows, -exact))[:k]
    found = no_neighbours(1, k)
    found[0][0, : len(order)], found[1][0, : len(order)] = rows[order], exact[order]
    return found[0][0], found[1][0]


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
