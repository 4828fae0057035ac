"""Graphs of usearch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from trichord.search.nearest.backends import Proposed, Rows, doublings, installed, portions
from trichord.search.nearest.neighbours import Queries, Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Usearch:
    """A graph of neighbours with vectors in half precision or a byte (usearch).

    Attributes:
        neighbours: Of a vector in the graph.
        construction: Candidates looked at for each vector while building.
        precision: What vectors are held in.
    """

    neighbours: int = 32
    construction: int = 80
    precision: str = "i8"

    def library(self) -> str:
        """See `Backend`."""
        return f"usearch {installed('usearch').__version__}"

    def efforts(self, rows: int) -> tuple[int, ...]:
        """Candidates kept on the way."""
        return doublings(64, min(1024, max(64, rows // 20)))

    def build(
        self, vectors: Vectors, rows: Rows, path: Path, threads: int, go_on: Callable[[], bool]
    ) -> None:
        """See `Backend`."""
        index: Any = installed("usearch.index").Index(
            ndim=vectors.shape[1],
            metric="cos",
            dtype=self.precision,
            connectivity=self.neighbours,
            expansion_add=self.construction,
            enable_key_lookups=False,
        )
        for some in portions(rows, go_on):
            index.add(some.astype(np.uint64), vectors[some], threads=threads)
        index.save(str(path))

    def open(self, path: Path) -> "UsearchIndex":
        """See `Backend`."""
        return UsearchIndex(installed("usearch.index").Index.restore(str(path), view=True))


@dataclass(slots=True)
class UsearchIndex:
    """A structure of usearch, opened."""

    index: Any
    _one: Lock = field(default_factory=Lock)
    """Its searches share their working memory and their effort: one at a time."""

    def propose(self, queries: Queries, count: int, effort: int) -> Proposed:
        """See `Index`."""
        queries = np.ascontiguousarray(queries, np.float32)
        with self._one:
            self.index.expansion_search = max(effort, count)
            found = self.index.search(queries, count, threads=1)
        keys = np.asarray(found.keys).reshape(len(queries), -1)
        proposed = np.full((len(queries), count), -1, np.int64)
        proposed[:, : keys.shape[1]] = keys.astype(np.int64)
        if len(queries) > 1:
            # Beyond a query's own count the keys are whatever the memory held before.
            proposed[np.arange(count)[None, :] >= np.asarray(found.counts)[:, None]] = -1
        return proposed
