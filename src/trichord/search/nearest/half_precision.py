"""A first pass over all moments in bfloat16, with a bound on how far its scores are off.

A bfloat16 number keeps 8 bits of a float32. Processors with instructions for it (AVX-512 BF16, AMX,
Arm's BF16) multiply it about twice as fast, and half the memory is read. The error of every score is
bounded, so that the few rows that may be among the best can be scored again in float32 and then in
float64: the result is that of exact search.

Measured on one thread of an AMD EPYC with AVX-512 BF16, 100,000 moments × 512 × 2 modalities, processor
time of a batch: 16 queries 45 ms (float32 87 ms for the products alone), 2 queries 25 ms (float32 31 ms).
One query alone is scored in float32, 20 ms.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from trichord.search.nearest.exact import products
from trichord.search.nearest.neighbours import Vectors
from trichord.types.arrays import Bool, Float, Float32, Int

Tensor = Any
"""Of bfloat16; a search that needs none does not load torch."""
Rows = Int[np.ndarray, " row"]
Queries = Float[np.ndarray, "query dim"]
Column = tuple[Vectors, Bool[np.ndarray, " moment"]]
"""The vectors of a modality, and which rows have one."""

ROUNDING = 2.0**-8 * (1 + 2**-6)
"""Largest relative error of a product that is rounded to bfloat16, with room for the sums in float32."""
ENCODED = 4096
"""Vectors encoded at once: 16 MiB at 512 dimensions of two modalities."""
SUMMED = 1e-4
"""Relative error of a length that is summed in float32, with room to spare."""
DIM = 512
TRIED = 8192
"""Vectors, times 16 queries, by which both precisions are compared on this machine."""
ROUNDS = 4
"""Comparisons of which bfloat16 must win one: other processes disturb single ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Rounded:
    """Vectors in bfloat16.

    Attributes:
        vectors: Rounded.
        error: The largest distance between a vector and its rounded one.
        length: Of the longest rounded vector.
    """

    vectors: Tensor
    error: float
    length: float

    @classmethod
    def of(cls, columns: Sequence[Vectors], rows: Rows) -> "Rounded":
        """Round some rows of columns, laid end to end; vectors may be of any length."""
        import torch

        dims = sum(column.shape[1] for column in columns)
        rounded = torch.empty((len(rows), dims), dtype=torch.bfloat16)
        error = length = 0.0
        for first in range(0, len(rows), ENCODED):
            span = slice(first, first + ENCODED)
            exact = torch.from_numpy(np.hstack([column[rows[span]] for column in columns]))
            rounded[span] = exact
            error = max(error, float((exact - rounded[span]).norm(dim=1).max()))
            length = max(length, float(rounded[span].float().norm(dim=1).max()))
        return cls(rounded, error * (1 + SUMMED), length * (1 + SUMMED))

    def multiply(self, queries: Queries, into: Float32[np.ndarray, "query row"]) -> None:
        """Inner products, each off by at most the query's `bounds`."""
        import torch

        with torch.inference_mode():
            found = torch.nn.functional.linear(torch.from_numpy(queries).bfloat16(), self.vectors)
            torch.from_numpy(into).copy_(found)

    def bounds(self, queries: Queries) -> Float[np.ndarray, " query"]:
        """Of each query, how far its products may be off from those in float64.

        With q' and v' rounded: |q·v − q'·v'| ≤ |q|·|v − v'| + |q − q'|·|v'|, and q'·v' is rounded itself.
        """
        import torch

        rounded = torch.from_numpy(queries).bfloat16().double().numpy()
        lost = np.linalg.norm(queries - rounded, axis=1)
        lengths = np.linalg.norm(queries, axis=1), np.linalg.norm(rounded, axis=1)
        return lengths[0] * self.error + (lost + ROUNDING * lengths[1]) * self.length


@dataclass(frozen=True, slots=True, eq=False)
class HalfPrecision:
    """The vectors of a gallery in bfloat16, by the modalities that moments have.

    Vectors of both modalities lie end to end, so that one product gives the score.

    Attributes:
        rows: Of the gallery in the order in which they are scored; those without vectors are left out.
        groups: By pattern, the sum of 2^modality over the modalities that a moment has.
    """

    rows: Rows
    groups: dict[int, Rounded]

    @classmethod
    def of(cls, columns: Sequence[Column]) -> "HalfPrecision":
        """Round the columns of a gallery."""
        present = [has.astype(np.int64) << place for place, (_, has) in enumerate(columns)]
        patterns = np.sum(present, axis=0)
        groups: dict[int, Rounded] = {}
        order = [np.zeros(0, np.int64)]
        for pattern in range(1, 1 << len(columns)):
            rows = np.flatnonzero(patterns == pattern)
            if len(rows):
                order.append(rows)
                groups[pattern] = Rounded.of([columns[i][0] for i in _among(pattern)], rows)
        return cls(np.concatenate(order), groups)

    def scores(
        self,
        queries: Sequence[Queries],
        coefficients: Float[np.ndarray, "coefficient query pattern"],
    ) -> tuple[Float32[np.ndarray, "query row"], Float[np.ndarray, " query"]]:
        """Scores in the order of `rows`, and for each query how far they may be off.

        Args:
            queries: ModalityQuery each modality, float64.
            coefficients: What a score is of the inner products with these, for each pattern: a factor
                a modality, and last what is added; -inf there: such rows are not found.
        """
        scores = np.empty((len(queries[0]), len(self.rows)), np.float32)
        errors = np.zeros(len(scores))
        first = 0
        for pattern, rounded in self.groups.items():
            factors = coefficients[:, :, pattern, None]
            asked = np.hstack([factors[i] * queries[i] for i in _among(pattern)])
            block = scores[:, first : first + len(rounded.vectors)]
            rounded.multiply(asked, block)
            block += factors[-1]
            errors = np.maximum(errors, rounded.bounds(asked))
            first += len(rounded.vectors)
        return scores, errors


def _among(pattern: int) -> list[int]:
    return [place for place in range(pattern.bit_length()) if pattern >> place & 1]


@cache
def is_faster() -> bool:
    """Whether this machine multiplies bfloat16 within the bounds, and faster than float32.

    Without instructions for it, libraries convert every number to float32 first.
    """
    random = np.random.default_rng(0)
    vectors = random.standard_normal((TRIED, DIM), np.float32) / math.sqrt(DIM)
    queries, found = vectors[:16], np.empty((16, TRIED), np.float32)
    try:
        half = Rounded.of([vectors], np.arange(TRIED))
        half.multiply(queries, found)
        off = np.abs(found - products(vectors, queries))
    except (ImportError, RuntimeError):
        return False
    within = bool((off <= half.bounds(queries.astype(np.float64))[:, None]).all())
    return within and any(
        _seconds(lambda: half.multiply(queries, found))
        < _seconds(lambda: products(vectors, queries))
        for _ in range(ROUNDS)
    )


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of a few times that work takes."""
    taken: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)
