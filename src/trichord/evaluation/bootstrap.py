"""How far a measured share may be off: 95 % intervals by resampling clips.

Captions of one clip stand or fall together, so clips are drawn, not captions. The gallery stays as
it is: the interval speaks of which clips happened to be asked for, not of another gallery.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy import ndarray

from trichord.types.arrays import Float, Int
from trichord.types.rules import Range

LEVEL = 0.95
Resamples = Annotated[int, Range(1, 1_000_000)]
"""Draws behind an interval."""
AT_ONCE = 1 << 18
"""Numbers that are drawn together: a call a draw takes longer than the draw."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value and its 95 % percentile-bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({short(self.low)}–{short(self.high)})"


def short(share: float) -> str:
    """A share without its leading zero, to stand behind another number in a narrow column."""
    return f"{share:.2f}".removeprefix("0")


def estimates(
    values: Float[ndarray, "query number"],
    clip: Int[ndarray, " query"],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[Estimate, ...]:
    """The mean over queries of each column, with its interval over clips.

    Args:
        values: One row a query, one column a number, such as hits at 1, 5 and 10.
        clip: The clip each query belongs to.
        resamples: Draws of as many clips as there are, with replacement.
        seed: The same seed draws the same clips.
    """
    if resamples < 1 or len(values) == 0:
        raise ValueError("An interval needs at least one query and one resample.")
    _, row = np.unique(clip, return_inverse=True)
    count = np.bincount(row)
    total = np.stack([np.bincount(row, weights=column) for column in values.T], axis=1)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    some = max(1, AT_ONCE // total.size)
    for first in range(0, resamples, some):
        draws = min(some, resamples - first)
        drawn = rng.integers(len(count), size=(draws, len(count)))
        means[first : first + draws] = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)[:, None]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, (tail, 1 - tail), axis=0)
    return tuple(Estimate(*map(float, row)) for row in zip(values.mean(0), low, high, strict=True))
