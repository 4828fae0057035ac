"""Short codes of faiss, all of which are scanned."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from trichord.search.nearest.backends import (
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

    group: ClassVar[str] = "search_backends"
    kind: ClassVar[str] = "faiss-scan"
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
