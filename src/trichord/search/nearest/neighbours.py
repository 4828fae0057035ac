"""The nearest moments of a query vector, and the one way their cosines are computed."""

from typing import Protocol, runtime_checkable

import numpy as np

from trichord.types.arrays import Bool, Float, Int

Queries = Float[np.ndarray, "query dim"]
Vectors = Float[np.ndarray, "moment dim"]
Allowed = Bool[np.ndarray, " moment"]
Found = tuple[Int[np.ndarray, "query k"], Float[np.ndarray, "query k"]]
"""Rows of the gallery, -1 where there are no more, and their cosines, -inf there; best first."""

ROUNDING = 4e-6
"""How far a float32 product of unit vectors may be from the true one, with room to spare."""
RESCORED = 4096
"""Rows scored in float64 at once, 16 MiB at 512 dimensions."""


@runtime_checkable
class Nearest(Protocol):
    """Finds the nearest of one modality's vectors.

    Cosines are those of float64 arithmetic over one row at a time, so that they do not depend on
    the batch, the threads or where in the gallery a moment stands; equal ones go by row.
    """

    def search(self, queries: Queries, k: int, allowed: Allowed | None = None) -> Found:
        """The rows nearest to each query, among those that have a vector.

        Args:
            queries: float32. Of any length; what is called a cosine is the inner product.
            k: How many, at least 1.
            allowed: Rows that may be found; None: all.

        Raises:
            ValueError: `k`, a shape, or a query that is not finite.
        """
        ...


def check(queries: Queries, k: int, allowed: Allowed | None, shape: tuple[int, int]) -> None:
    """Refuse what no structure of vectors of this shape can answer.

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


def nothing(queries: int, k: int) -> Found:
    """What is found where nothing is."""
    return np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf)


def cosines(
    vectors: Vectors, rows: Int[np.ndarray, " row"], query: Float[np.ndarray, " dim"]
) -> Float[np.ndarray, " row"]:
    """Inner products of some rows with a query, in float64 and each by itself.

    A matrix product would round a row by where in a block it stands: identical moments would have
    cosines 1e-7 apart.
    """
    query = query.astype(np.float64)
    parts = [
        (vectors[rows[i : i + RESCORED]] * query).sum(axis=1) for i in range(0, len(rows), RESCORED)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def ranked(
    vectors: Vectors, rows: Int[np.ndarray, " row"], query: Float[np.ndarray, " dim"], k: int
) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]:
    """The k best of some rows with their cosines, best first, equal ones by row."""
    exact = cosines(vectors, rows, query)
    order = np.lexsort((rows, -exact))[:k]
    return rows[order], exact[order]
