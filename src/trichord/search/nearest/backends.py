"""The interface of ANN indexes, and of the backends that build them.

An index is built from a column of vectors into one file, which is searched memory-mapped. Its candidates
are scored again by their own vectors, so that it may store a byte a dimension or less. The libraries are
an optional extra, imported by the first index that needs them.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from trichord.search.nearest.neighbours import Queries, Vectors
from trichord.types import UserError
from trichord.types.arrays import Int

Rows = Int[np.ndarray, " row"]
CandidateRows = Int[np.ndarray, "query candidate"]
"""Rows of the gallery; -1 if the index has no more."""

CHUNK = 16_384
"""Vectors added at once, so that the library's copies stay small."""
SEED = 12


@runtime_checkable
class AnnIndex(Protocol):
    """An open index file."""

    def candidates(self, queries: Queries, count: int, budget: int) -> CandidateRows:
        """`count` rows or more, in any order, that probably include the `count` nearest.

        Args:
            queries: float32.
            count: How many rows.
            budget: How much is searched: one of the backend's `search_budgets`, or more.
        """
        ...


@runtime_checkable
class Backend(Protocol):
    """A kind of index with its settings, a frozen dataclass."""

    def library(self) -> str:
        """The library and its version: an index is not opened by another one."""
        ...

    def search_budgets(self, rows: int) -> tuple[int, ...]:
        """From the smallest to the largest that is still faster than exact search."""
        ...

    def build(
        self,
        vectors: Vectors,
        rows: Rows,
        path: Path,
        threads: int,
        should_continue: Callable[[], bool],
    ) -> None:
        """Write the index of some rows to a file.

        Args:
            vectors: All vectors of the gallery.
            rows: The rows to index, whose numbers `candidates` returns.
            path: The file.
            threads: At most so many.
            should_continue: Called now and then; if it returns False, building stops.

        Raises:
            BuildCancelledError: `should_continue` returned False.
        """
        ...

    def open(self, path: Path) -> AnnIndex:
        """Map the index file that this backend built."""
        ...


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """An index that is searched by a function; several threads may call it."""

    search: Callable[[Queries, int, int], CandidateRows]

    def candidates(self, queries: Queries, count: int, budget: int) -> CandidateRows:
        """See `AnnIndex`."""
        return self.search(np.ascontiguousarray(queries, np.float32), count, budget)


class BuildCancelledError(Exception):
    """The index was no longer needed before it was built."""


def import_extra(name: str) -> Any:
    """Import a library of the extra `search`.

    Raises:
        UserError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise UserError(
            f'{package} is not installed: pip install "trichord[search]", or search exactly.'
        ) from error


def doublings(first: int, most: int) -> tuple[int, ...]:
    """Search budgets, each twice the one before, up to the most."""
    steps = [min(first, most)]
    while steps[-1] < most:
        steps.append(min(2 * steps[-1], most))
    return tuple(steps)


def sample_rows(rows: Rows, most: int) -> Rows:
    """A random sample of at most so many rows, always the same."""
    return np.sort(np.random.default_rng(SEED).permutation(rows)[:most])


def chunks(rows: Rows, should_continue: Callable[[], bool]) -> Iterator[Rows]:
    """Rows in chunks, as long as `should_continue` returns True.

    Raises:
        BuildCancelledError: It returned False.
    """
    for i in range(0, len(rows), CHUNK):
        if not should_continue():
            raise BuildCancelledError
        yield rows[i : i + CHUNK]
