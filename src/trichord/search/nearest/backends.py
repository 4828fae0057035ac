"""Structures that propose rows: short codes, inverted lists and graphs of faiss, graphs of usearch.

Each is built from a column of vectors into one file and searched where it lies, mapped rather than
loaded. What they propose is scored anew by whoever asks, so that they may hold vectors in a byte a
dimension. The libraries are an optional extra and are imported by the first structure that needs them.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from trichord.search.nearest.neighbours import Queries, Vectors
from trichord.types import UserError

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


class NotWantedError(Exception):
    """A structure was not wanted any more before it was finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaissScan:
    """Codes of half a byte a part, all of which are scanned (faiss `PCA,PQ4fs`).

    Vectors are turned so that their variance comes first, cut to as many dimensions as two for each
    part, and each part becomes the number of one of 16 centres: 64 bytes for 512 dimensions in
    float32. As nothing is left out of the scan, it does not matter in which cone a query lies, which
    is what lists and graphs suffer from; a scan costs a fifteenth of exact search.

    What all vectors have in common is taken out first: it adds the same to every moment's inner
    product with a query, so that the order stays, and the codes need not spend anything on it.

    Attributes:
        parts: Of a vector.
        training: Vectors that directions and centres are learnt from.
    """

    parts: int = 128
    training: int = 32_768

    def library(self) -> str:
        """See `Backend`."""
        return f"faiss {_library('faiss').__version__}"

    def efforts(self, rows: int) -> tuple[int, ...]:
        """Rows proposed, of the best codes: up to a fiftieth of all.

        64 suffice where variance is in some fifty dimensions, as a run's; 512 among 50,000 where
        it falls as 1/i; where it is even in all 512, no effort does.
        """
        return _doublings(64, max(64, min(16_384, rows // 50)))

    def build(
        self, vectors: Vectors, rows: Rows, path: Path, threads: int, go_on: Callable[[], bool]
    ) -> None:
        """See `Backend`."""
        faiss = _library("faiss")
        faiss.omp_set_num_threads(threads)
        sample = vectors[_some(rows, self.training)]
        centre = sample.mean(axis=0)
        turn = self._turn(sample - centre)
        turned = faiss.LinearTransform(*turn.shape, False)
        faiss.copy_array_to_vector(turn.T.ravel(), turned.A)
        turned.is_trained = True
        parts = min(self.parts, turn.shape[1])
        codes = faiss.IndexPQFastScan(turn.shape[1], parts, 4, faiss.METRIC_INNER_PRODUCT)
        codes.pq.cp.seed, codes.pq.cp.min_points_per_centroid = SEED, 1
        codes.train((sample - centre) @ turn)
        index = faiss.IndexIDMap(faiss.IndexPreTransform(turned, codes))
        for some in _portions(rows, go_on):
            index.add_with_ids(vectors[some] - centre, some)
        faiss.write_index(index, str(path))

    def _turn(self, sample: Vectors) -> Float[np.ndarray, "dim turned"]:
        """The directions of most variance, dealt to the parts in turn so that none gets all of it."""
        axes = np.linalg.eigh(sample.T @ sample)[1][:, ::-1]
        dim = axes.shape[1]
        parts = min(self.parts, dim)
        each = max(1, min(2, dim // parts))
        dealt = np.arange(parts * each).reshape(each, parts).T.ravel()
        return np.ascontiguousarray(axes[:, dealt], np.float32)

    def open(self, path: Path) -> "FaissIndex":
        """See `Backend`."""
        faiss = _library("faiss")
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        most = self.efforts(index.ntotal)[-1]

        def search(queries: Queries, count: int, effort: int) -> Proposed:
            proposed = max(count, min(effort, most))
            return index.search(queries, min(proposed, index.ntotal))[1]

        return FaissIndex(search)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaissIvf:
    """Inverted lists of vectors in a byte a dimension (faiss `IVF,SQ8`).

    What all vectors have in common is taken out of them first. It adds the same to every moment's
    inner product with a query, so that the order stays, but without it the lists would be told
    apart by what is left over beside it: pictures lie in a narrow cone, and a text in another.

    Attributes:
        lists: How many; None: two for each row of a square of all, so 2,000 for a million.
        training: Vectors a list that its centre is learnt from.
        rounds: Of k-means.
    """

    lists: int | None = None
    training: int = 32
    rounds: int = 8

    def library(self) -> str:
        """See `Backend`."""
        return f"faiss {_library('faiss').__version__}"

    def lists_for(self, rows: int) -> int:
        """How many lists so many rows get."""
        return max(1, min(self.lists or int(2 * rows**0.5), rows))

    def efforts(self, rows: int) -> tuple[int, ...]:
        """Lists searched: up to a quarter of all."""
        most = max(1, self.lists_for(rows) // 4)
        return _doublings(8, most)

    def build(
        self, vectors: Vectors, rows: Rows, path: Path, threads: int, go_on: Callable[[], bool]
    ) -> None:
        """See `Backend`."""
        faiss = _library("faiss")
        faiss.omp_set_num_threads(threads)
        lists, dim = self.lists_for(len(rows)), vectors.shape[1]
        sample = vectors[_some(rows, self.training * lists)]
        centre = sample.mean(axis=0)
        # One byte a dimension, by the range of each: 4 times smaller than what it stands for.
        kind = faiss.ScalarQuantizer.QT_8bit
        quantiser = faiss.IndexFlatIP(dim)
        index = faiss.IndexIVFScalarQuantizer(
            quantiser, dim, lists, kind, faiss.METRIC_INNER_PRODUCT, False
        )
        index.cp.niter, index.cp.seed = self.rounds, SEED
        index.cp.min_points_per_centroid = 1
        index.cp.max_points_per_centroid = self.training
        index.train(sample - centre)
        for some in _portions(rows, go_on):
            index.add_with_ids(vectors[some] - centre, some)
        faiss.write_index(index, str(path))

    def open(self, path: Path) -> "FaissIndex":
        """See `Backend`."""
        faiss = _library("faiss")
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)

        def search(queries: Queries, count: int, effort: int) -> Proposed:
            options = faiss.SearchParametersIVF(nprobe=min(effort, index.nlist))
            return index.search(queries, count, params=options)[1]

        return FaissIndex(search)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaissHnsw:
    """A graph of neighbours (faiss `HNSW,SQ8`).

    Attributes:
        neighbours: Of a vector in the graph, twice as many in its lowest level.
        construction: Candidates looked at for each vector while building.
    """

    neighbours: int = 32
    construction: int = 80

    def library(self) -> str:
        """See `Backend`."""
        return f"faiss {_library('faiss').__version__}"

    def efforts(self, rows: int) -> tuple[int, ...]:
        """Candidates kept on the way."""
        return _doublings(64, min(1024, max(64, rows // 20)))

    def build(
        self, vectors: Vectors, rows: Rows, path: Path, threads: int, go_on: Callable[[], bool]
    ) -> None:
        """See `Backend`."""
        faiss = _library("faiss")
        faiss.omp_set_num_threads(threads)
        kind = faiss.ScalarQuantizer.QT_8bit
        # Distances: among unit vectors they order like inner products and suit a graph better.
        graph = faiss.IndexHNSWSQ(vectors.shape[1], kind, self.neighbours, faiss.METRIC_L2)
        graph.hnsw.efConstruction = self.construction
        graph.hnsw.rng = faiss.RandomGenerator(SEED)
        graph.train(vectors[_some(rows, PORTION)])
        index = faiss.IndexIDMap(graph)
        for some in _portions(rows, go_on):
            index.add_with_ids(vectors[some], some)
        faiss.write_index(index, str(path))

    def open(self, path: Path) -> "FaissIndex":
        """See `Backend`."""
        faiss = _library("faiss")
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)

        def search(queries: Queries, count: int, effort: int) -> Proposed:
            options = faiss.SearchParametersHNSW(efSearch=max(effort, count))
            return index.search(queries, count, params=options)[1]

        return FaissIndex(search)


@dataclass(frozen=True, slots=True)
class FaissIndex:
    """A structure of faiss, opened."""

    search: Callable[[Queries, int, int], Proposed]

    def propose(self, queries: Queries, count: int, effort: int) -> Proposed:
        """See `Index`."""
        return self.search(np.ascontiguousarray(queries, np.float32), count, effort)


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
        return f"usearch {_library('usearch').__version__}"

    def efforts(self, rows: int) -> tuple[int, ...]:
        """Candidates kept on the way."""
        return _doublings(64, min(1024, max(64, rows // 20)))

    def build(
        self, vectors: Vectors, rows: Rows, path: Path, threads: int, go_on: Callable[[], bool]
    ) -> None:
        """See `Backend`."""
        index: Any = _library("usearch.index").Index(
            ndim=vectors.shape[1],
            metric="cos",
            dtype=self.precision,
            connectivity=self.neighbours,
            expansion_add=self.construction,
            enable_key_lookups=False,
        )
        for some in _portions(rows, go_on):
            index.add(some.astype(np.uint64), vectors[some], threads=threads)
        index.save(str(path))

    def open(self, path: Path) -> "UsearchIndex":
        """See `Backend`."""
        return UsearchIndex(_library("usearch.index").Index.restore(str(path), view=True))


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


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise UserError(
            f'{package} is not installed: pip install "trichord[search]", or search exactly.'
        ) from error


def _doublings(first: int, most: int) -> tuple[int, ...]:
    steps = [min(first, most)]
    while steps[-1] < most:
        steps.append(min(2 * steps[-1], most))
    return tuple(steps)


def _some(rows: Rows, most: int) -> Rows:
    """At most so many rows by chance, always the same ones."""
    return np.sort(np.random.default_rng(SEED).permutation(rows)[:most])


def _portions(rows: Rows, go_on: Callable[[], bool]) -> Iterator[Rows]:
    """Rows, some at a time, as long as they are wanted.

    Raises:
        NotWantedError: They are not wanted any more.
    """
    for i in range(0, len(rows), PORTION):
        if not go_on():
            raise NotWantedError
        yield rows[i : i + PORTION]
