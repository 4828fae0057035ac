"""Short codes that faiss scans in full."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from trichord.search.nearest.backends import (
    SEED,
    CandidateRows,
    OpenIndex,
    Rows,
    chunks,
    doublings,
    import_extra,
    sample_rows,
)
from trichord.search.nearest.neighbours import Queries, Vectors
from trichord.types.arrays import Float


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
        return doublings(64, max(64, min(16_384, rows // 50)))

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
        sample = vectors[sample_rows(rows, self.training)]
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
