"""A first pass over all moments in bfloat16, with a bound on the error of its scores.

A bfloat16 number keeps 8 bits of a float32. Processors with instructions for it (AVX-512 BF16, AMX,
Arm's BF16) multiply it about twice as fast and read half the memory. The error of each score is bounded,
so that the few rows that may be among the best are scored again in float32 and then in float64: the
result is that of exact search.

Measured on one thread of an AMD EPYC with AVX-512 BF16, 100,000 moments × 512 × 2 modalities, processor
time of a batch: 16 queries 45 ms (float32 87 ms for the products alone), 2 queries 25 ms (float32 31 ms).
One query alone is scored in float32, 20 ms.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from timeit import repeat
from typing import Any

import numpy as np

from trichord.search.nearest.exact import Vectors, inner_products
from trichord.types.arrays import Bool, Float, Float32, Int

Tensor = Any
"""Of bfloat16; a search that does not need it does not load torch."""
Rows = Int[np.ndarray, " row"]
Queries = Float[np.ndarray, "query dim"]
Column = tuple[Vectors, Bool[np.ndarray, " moment"]]
"""The vectors of a modality, and which rows have one."""

ROUNDING = 2.0**-8 * (1 + 2**-6)
"""Largest relative error of a product rounded to bfloat16, with a margin for sums in float32."""
ROUNDED_AT_ONCE = 4096
"""Vectors rounded at once: 16 MiB at 512 dimensions of two modalities."""
SUMMED = 1e-4
"""Relative error of a length summed in float32, with a margin."""
DIM = 512
TRIED = 8192
"""Vectors, times 16 queries, on which the two precisions are compared on this machine."""
ROUNDS = 4
"""Comparisons of which bfloat16 must win one: other processes disturb some."""


@dataclass(frozen=True, slots=True, eq=False)
class Rounded:
    """Vectors in bfloat16.

    Attributes:
        vectors: The rounded vectors.
        error: The largest distance between a vector and its rounded one.
        length: Length of the longest rounded vector.
    """

    vectors: Tensor
    error: float
    length: float

    @classmethod
    def of(cls, columns: Sequence[Vectors], rows: Rows) -> "Rounded":
        """Round some rows of columns, concatenated; vectors may have any length."""
        import torch

        dims = sum(column.shape[1] for column in columns)
        rounded = torch.empty((len(rows), dims), dtype=torch.bfloat16)
        error = length = 0.0
        for first in range(0, len(rows), ROUNDED_AT_ONCE):
            span = slice(first, first + ROUNDED_AT_ONCE)
            exact = torch.from_numpy(np.hstack([column[rows[span]] for column in columns]))
            rounded[span] = exact
            error = max(error, float((exact - rounded[span]).norm(dim=1).max()))
            length = max(length, float(rounded[span].float().norm(dim=1).max()))
        return cls(rounded, error * (1 + SUMMED), length * (1 + SUMMED))

    def multiply(self, queries: Queries, into: Float32[np.ndarray, "query row"]) -> None:
        """Inner products, with an error of at most the query's `bounds`."""
        import torch

        with torch.inference_mode():
            scores = torch.nn.functional.linear(torch.from_numpy(queries).bfloat16(), self.vectors)
            torch.from_numpy(into).copy_(scores)

    def bounds(self, queries: Queries) -> Float[np.ndarray, " query"]:
        """The largest error of each query's products, beside those in float64.

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

    Vectors of both modalities are concatenated, so that one product gives the score.

    Attributes:
        rows: Rows of the gallery in scoring order, without those that have no vector.
        groups: The vectors by pattern: the sum of 2^modality over the modalities that a moment has.
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
                groups[pattern] = Rounded.of([columns[i][0] for i in _modalities(pattern)], rows)
        return cls(np.concatenate(order), groups)

    def scores(
        self,
        queries: Sequence[Queries],
        coefficients: Float[np.ndarray, "coefficient query pattern"],
    ) -> tuple[Float32[np.ndarray, "query row"], Float[np.ndarray, " query"]]:
        """Scores in the order of `rows`, and the largest error of each query's scores.

        Args:
            queries: The query vectors of each modality, float64.
            coefficients: For each pattern, a factor for each modality's inner product, and last a
                constant; -inf: such rows are not found.
        """
        scores = np.empty((len(queries[0]), len(self.rows)), np.float32)
        errors = np.zeros(len(scores))
        first = 0
        for pattern, rounded in self.groups.items():
            factors = coefficients[:, :, pattern, None]
            scaled = np.hstack([factors[i] * queries[i] for i in _modalities(pattern)])
            block = scores[:, first : first + len(rounded.vectors)]
            rounded.multiply(scaled, block)
            block += factors[-1]
            errors = np.maximum(errors, rounded.bounds(scaled))
            first += len(rounded.vectors)
        return scores, errors


def _modalities(pattern: int) -> list[int]:
    return [place for place in range(pattern.bit_length()) if pattern >> place & 1]


@cache
def is_faster() -> bool:
    """Whether this machine multiplies bfloat16 within the bounds and faster than float32.

    Without instructions for it, libraries convert every number to float32 first.
    """
    random = np.random.default_rng(0)
    vectors = random.standard_normal((TRIED, DIM), np.float32) / math.sqrt(DIM)
    queries, scores = vectors[:16], np.empty((16, TRIED), np.float32)
    try:
        half = Rounded.of([vectors], np.arange(TRIED))
        half.multiply(queries, scores)
        errors = np.abs(scores - inner_products(vectors, queries))
    except (ImportError, RuntimeError):
        return False
    within = bool((errors <= half.bounds(queries.astype(np.float64))[:, None]).all())
    return within and any(
        _seconds(lambda: half.multiply(queries, scores))
        < _seconds(lambda: inner_products(vectors, queries))
        for _ in range(ROUNDS)
    )


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of five runs."""
    return min(repeat(work, number=1))
