"""The interface of the backends that build ANN indexes, and the built-in one, by faiss.

An index is built from a column of vectors into one file, which is searched memory-mapped. Its candidates
are scored again by their own vectors, so that it may store a byte a dimension or less. The libraries are
an optional extra, imported by the first index that needs them.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from trichord.search.nearest.exact import Queries, Vectors
from trichord.types import UserError
from trichord.types.arrays import Float, Int

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


def chunks(rows: Rows, should_continue: Callable[[], bool]) -> Iterator[Rows]:
    """Rows in chunks, as long as `should_continue` returns True.

    Raises:
        BuildCancelledError: It returned False.
    """
    for i in range(0, len(rows), CHUNK):
        if not should_continue():
            raise BuildCancelledError
        yield rows[i : i + CHUNK]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaissScan:
    """Product quantization with 4 bits a part, scanned in full (faiss `PCA,PQ4fs`).

    Vectors are rotated to their principal axes and cut to two dimensions a part; each part becomes the
    number of one of 16 centroids: 64 bytes for 512 dimensions in float32. A scan leaves nothing out, so
    that queries may lie in another cone than the vectors, which lists and graphs suffer from. It takes a
    fifteenth of the time of exact search.

    The mean of all vectors is subtracted first: it adds the same to every moment's inner product with a
    query, so that the order stays, and the codes spend nothing on it.

    Attributes:
        parts: Parts of a vector.
        training: Vectors that axes and centroids are learnt from.
    """

    group: ClassVar[str] = "search_backends"
    kind: ClassVar[str] = "faiss-scan"
    parts: int = 128
    training: int = 32_768

    def library(self) -> str:
        """See `Backend`."""
        return f"faiss {import_extra('faiss').__version__}"

    def search_budgets(self, rows: int) -> tuple[int, ...]:
        """Candidates by their codes: up to a fiftieth of all rows.

        64 suffice if the variance is in some fifty dimensions, as that of a run; 512 of 50,000 if it
        falls as 1/i; if it is equal in all 512 dimensions, no budget suffices.
        """
        most = max(64, min(16_384, rows // 50))
        return (*(64 * 2**i for i in range(8) if 64 * 2**i < most), most)

    def build(
        self,
        vectors: Vectors,
        rows: Rows,
        path: Path,
        threads: int,
        should_continue: Callable[[], bool],
    ) -> None:
        """See `Backend`."""
        faiss = import_extra("faiss")
        faiss.omp_set_num_threads(threads)
        sampled = np.random.default_rng(SEED).permutation(rows)[: self.training]
        sample = vectors[np.sort(sampled)]
        mean = sample.mean(axis=0)
        rotation = self._rotation(sample - mean)
        rotate = faiss.LinearTransform(*rotation.shape, False)
        faiss.copy_array_to_vector(rotation.T.ravel(), rotate.A)
        rotate.is_trained = True
        parts = min(self.parts, rotation.shape[1])
        codes = faiss.IndexPQFastScan(rotation.shape[1], parts, 4, faiss.METRIC_INNER_PRODUCT)
        codes.pq.cp.seed, codes.pq.cp.min_points_per_centroid = SEED, 1
        codes.train((sample - mean) @ rotation)
        index = faiss.IndexIDMap(faiss.IndexPreTransform(rotate, codes))
        for chunk in chunks(rows, should_continue):
            index.add_with_ids(vectors[chunk] - mean, chunk)
        faiss.write_index(index, str(path))

    def _rotation(self, sample: Vectors) -> Float[np.ndarray, "dim axis"]:
        """The principal axes, dealt to the parts in turn so that no part gets all of the variance."""
        axes = np.linalg.eigh(sample.T @ sample)[1][:, ::-1]
        dim = axes.shape[1]
        parts = min(self.parts, dim)
        each = max(1, min(2, dim // parts))
        order = np.arange(parts * each).reshape(each, parts).T.ravel()
        return np.ascontiguousarray(axes[:, order], np.float32)

    def open(self, path: Path) -> OpenIndex:
        """See `Backend`."""
        faiss = import_extra("faiss")
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        most = self.search_budgets(index.ntotal)[-1]

        def search(queries: Queries, count: int, budget: int) -> CandidateRows:
            count = min(max(count, min(budget, most)), index.ntotal)
            return index.search(queries, count)[1]

        return OpenIndex(search)
