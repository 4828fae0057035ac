"""What a structure that proposes rows must offer, and what building one takes.

Each is built from a column of vectors into one file and searched where it lies, mapped rather than
loaded. What they propose is scored anew by whoever asks, so that they may hold vectors in a byte a
dimension. The libraries are an optional extra and are imported by the first structure that needs them.
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
Proposed = Int[np.ndarray, "query proposed"]
"""Rows of the gallery, -1 where the structure has no more."""

PORTION = 16_384
"""Vectors given to a library at once: what it copies of them stays small."""
SEED = 12


@runtime_checkable
class Index(Protocol):
    """A structure on disk, opened."""

    def propose(self, queries: Queries, count: int, effort: int) -> Proposed:
        """Rows among which the `count` nearest probably are, in any order; `count` or more.

        Args:
            queries: float32.
            count: How many.
            effort: One of the backend's `efforts`, or more: what is searched before giving up.
        """
        ...


@runtime_checkable
class Backend(Protocol):
    """A kind of structure with its settings, a frozen dataclass."""

    def library(self) -> str:
        """What must be installed, and its version: a structure is not opened by another."""
        ...

    def efforts(self, rows: int) -> tuple[int, ...]:
        """From the cheapest to the dearest that is still worth more than exact search."""
        ...

    def build(
        self, vectors: Vectors, rows: Rows, path: Path, threads: int, go_on: Callable[[], bool]
    ) -> None:
        """Write the structure of some rows to a file.

        Args:
            vectors: Of the whole gallery.
            rows: Those to hold; a structure proposes their numbers.
            path: Of the file.
            threads: At most so many.
            go_on: Asked now and then; where it says no, the structure is left unfinished.

        Raises:
            NotWantedError: `go_on` said no.
        """
        ...

    def open(self, path: Path) -> Index:
        """Map the file of a structure that this backend built."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A structure, opened, searched by a function; it may be called by several threads."""

    search: Callable[[Queries, int, int], Proposed]

    def propose(self, queries: Queries, count: int, effort: int) -> Proposed:
        """See `Index`."""
        return self.search(np.ascontiguousarray(queries, np.float32), count, effort)


class NotWantedError(Exception):
    """A structure was not wanted any more before it was finished."""


def installed(name: str) -> Any:
    """A library of the extra `search`.

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
    """Efforts, each twice the one before, up to the most."""
    steps = [min(first, most)]
    while steps[-1] < most:
        steps.append(min(2 * steps[-1], most))
    return tuple(steps)


def some_of(rows: Rows, most: int) -> Rows:
    """At most so many rows by chance, always the same ones."""
    return np.sort(np.random.default_rng(SEED).permutation(rows)[:most])


def portions(rows: Rows, go_on: Callable[[], bool]) -> Iterator[Rows]:
    """Rows, some at a time, as long as they are wanted.

    Raises:
        NotWantedError: They are not wanted any more.
    """
    for i in range(0, len(rows), PORTION):
        if not go_on():
            raise NotWantedError
        yield rows[i : i + PORTION]
