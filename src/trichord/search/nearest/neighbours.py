"""The nearest moments of a query vector, and how their cosines are computed."""

from typing import Protocol, runtime_checkable

import numpy as np

from trichord.types.arrays import Bool, Float, Int

Queries = Float[np.ndarray, "query dim"]
Vectors = Float[np.ndarray, "moment dim"]
Allowed = Bool[np.ndarray, " moment"]
Neighbours = tuple[Int[np.ndarray, "query k"], Float[np.ndarray, "query k"]]
"""Rows of the gallery and their cosines, best first; -1 and -inf if there are no more."""

ROUNDING = 4e-6
"""Largest error of a float32 product of unit vectors, with a margin."""
RESCORED = 4096
"""Rows scored in float64 at once, 16 MiB at 512 dimensions."""


@runtime_checkable
class Nearest(Protocol):
    """Finds the nearest vectors of one modality.

    Cosines are computed in float64, one row at a time, so that they do not depend on the batch, the
    threads or the place of a moment in the gallery; equal ones are ordered by row.
    """

    def search(self, queries: Queries, k: int, allowed: Allowed | None = None) -> Neighbours:
        """The rows nearest to each query, among those that have a vector.

        Args:
            queries: float32, of any length: the "cosine" is the inner product.
            k: How many, at least 1.
            allowed: Rows that may be found; None: all.

        Raises:
            ValueError: `k`, a shape, or a query that is not finite.
        """
        ...


def require_valid(
    queries: Queries, k: int, allowed: Allowed | None, shape: tuple[int, int]
) -> None:
    """Refuse arguments that do not fit vectors of this shape.

    Raises:
        ValueError: See `Nearest.search`.
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
    """The k best of some rows with their cosines, best first; equal ones by row."""
    exact = cosines(vectors, rows, query)
    order = np.lexsort((rows, -exact))[:k]
    return rows[order], exact[order]
