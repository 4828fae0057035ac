"""Short codes, inverted lists and graphs of faiss."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trichord.search.nearest.backends import (
    PORTION,
    SEED,
    Opened,
    Proposed,
    Rows,
    doublings,
    installed,
    portions,
    some_of,
)
from trichord.search.nearest.neighbours import Queries, Vectors
from trichord.types.arrays import Float


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
        return f"faiss {installed('faiss').__version__}"

    def efforts(self, rows: int) -> tuple[int, ...]:
        """Rows proposed, of the best codes: up to a fiftieth of all.

        64 suffice where variance is in some fifty dimensions, as a run's; 512 among 50,000 where
        it falls as 1/i; where it is even in all 512, no effort does.
        """
        return doublings(64, max(64, min(16_384, rows // 50)))

    def build(
        self, vectors: Vectors, rows: Rows, path: Path, threads: int, go_on: Callable[[], bool]
    ) -> None:
        """See `Backend`."""
        faiss = installed("faiss")
        faiss.omp_set_num_threads(threads)
        sample = vectors[some_of(rows, self.training)]
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
        for some in portions(rows, go_on):
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

    def open(self, path: Path) -> Opened:
        """See `Backend`."""
        faiss = installed("faiss")
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        most = self.efforts(index.ntotal)[-1]

        def search(queries: Queries, count: int, effort: int) -> Proposed:
            proposed = max(count, min(effort, most))
            return index.search(queries, min(proposed, index.ntotal))[1]

        return Opened(search)


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
        return f"faiss {installed('faiss').__version__}"

    def lists_for(self, rows: int) -> int:
        """How many lists so many rows get."""
        return max(1, min(self.lists or int(2 * rows**0.5), rows))

    def efforts(self, rows: int) -> tuple[int, ...]:
        """Lists searched: up to a quarter of all."""
        most = max(1, self.lists_for(rows) // 4)
        return doublings(8, most)

    def build(
        self, vectors: Vectors, rows: Rows, path: Path, threads: int, go_on: Callable[[], bool]
    ) -> None:
        """See `Backend`."""
        faiss = installed("faiss")
        faiss.omp_set_num_threads(threads)
        lists, dim = self.lists_for(len(rows)), vectors.shape[1]
        sample = vectors[some_of(rows, self.training * lists)]
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
        for some in portions(rows, go_on):
            index.add_with_ids(vectors[some] - centre, some)
        faiss.write_index(index, str(path))

    def open(self, path: Path) -> Opened:
        """See `Backend`."""
        faiss = installed("faiss")
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)

        def search(queries: Queries, count: int, effort: int) -> Proposed:
            options = faiss.SearchParametersIVF(nprobe=min(effort, index.nlist))
            return index.search(queries, count, params=options)[1]

        return Opened(search)


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
        return f"faiss {installed('faiss').__version__}"

    def efforts(self, rows: int) -> tuple[int, ...]:
        """Candidates kept on the way."""
        return doublings(64, min(1024, max(64, rows // 20)))

    def build(
        self, vectors: Vectors, rows: Rows, path: Path, threads: int, go_on: Callable[[], bool]
    ) -> None:
        """See `Backend`."""
        faiss = installed("faiss")
        faiss.omp_set_num_threads(threads)
        kind = faiss.ScalarQuantizer.QT_8bit
        # Distances: among unit vectors they order like inner products and suit a graph better.
        graph = faiss.IndexHNSWSQ(vectors.shape[1], kind, self.neighbours, faiss.METRIC_L2)
        graph.hnsw.efConstruction = self.construction
        graph.hnsw.rng = faiss.RandomGenerator(SEED)
        graph.train(vectors[some_of(rows, PORTION)])
        index = faiss.IndexIDMap(graph)
        for some in portions(rows, go_on):
            index.add_with_ids(vectors[some], some)
        faiss.write_index(index, str(path))

    def open(self, path: Path) -> Opened:
        """See `Backend`."""
        faiss = installed("faiss")
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)

        def search(queries: Queries, count: int, effort: int) -> Proposed:
            options = faiss.SearchParametersHNSW(efSearch=max(effort, count))
            return index.search(queries, count, params=options)[1]

        return Opened(search)
