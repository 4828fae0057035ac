"""What queries score against the items of a gallery: read block by block, and never held as a matrix.

Products of vectors are made in float64: BLAS rounds a product differently at the edge of a block, so
that in float32 identical vectors may score 1e-7 apart and a collapsed model would seem to rank by
chance.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from trichord.types.arrays import Float, Int, Shaped

PAIRS_AT_ONCE = 512
"""Pairs multiplied at once: 4 MiB of vectors of 512 dimensions."""


class UnrankableError(ValueError):
    """Vectors without a direction, zero or not finite, or scores that are not finite."""


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
        found = np.empty(len(queries))
        for start in range(0, len(queries), PAIRS_AT_ONCE):
            some = slice(start, start + PAIRS_AT_ONCE)
            left, right = self.queries[queries[some]], self.gallery[items[some]]
            found[some] = np.einsum("pd,pd->p", left, right)
        return found


@dataclass(frozen=True, slots=True)
class ScoreMatrix:
    """Scores that a model gave pair by pair: too dear to be made twice, so they are held.

    Raises:
        UnrankableError: A score is not finite: it would beat, and be beaten by, nothing.
    """

    values: Float[ndarray, "query item"]

    def __post_init__(self) -> None:
        if broken := np.flatnonzero(~np.isfinite(self.values).all(axis=1)).tolist():
            raise UnrankableError(f"Scores that are not finite: rows {some(broken)}.")

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


def unit(vectors: Shaped[ndarray, "row dim"], name: str) -> Float[ndarray, "row dim"]:
    """The vectors at length 1, in float64.

    Raises:
        UnrankableError: A vector is not finite or has length zero; `name` and the rows are told.
    """
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    if broken := np.flatnonzero(~np.isfinite(length[:, 0])).tolist():
        rows = some(broken)
        raise UnrankableError(f"{name.capitalize()} vectors that are not finite: rows {rows}.")
    if empty := np.flatnonzero(length[:, 0] == 0).tolist():
        raise UnrankableError(f"{name.capitalize()} vectors of length zero: rows {some(empty)}.")
    wide /= length
    return wide


def some(rows: list[int]) -> str:
    """The first few row numbers, and how many there are beyond."""
    shown = ", ".join(map(str, rows[:5]))
    return shown if len(rows) <= 5 else f"{shown} and {len(rows) - 5} more"
