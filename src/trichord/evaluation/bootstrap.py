"""A measured value with its interval, and 95 % intervals of means by resampling clips.

Captions of one clip stand or fall together, so clips are drawn, not captions. For means of numbers that
have no bounds. Shares have intervals of their own (`proportions`): near 0 and 1 resampling covers them
far too seldom.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy import ndarray

from trichord.types.arrays import Float, Int
from trichord.types.rules import Range

LEVEL = 0.95
DIGITS = 6
"""After the point at most."""
Resamples = Annotated[int, Range(1, 1_000_000)]
"""Draws behind an interval."""
AT_ONCE = 1 << 18
"""Numbers that are drawn together: a call a draw takes longer than the draw."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        value, low, high = self.texts(2)
        return f"{value} ({low.removeprefix('0')}–{high.removeprefix('0')})"

    def percent(self) -> str:
        """As papers print it: a hundredfold."""
        value, low, high = self.texts(1, scale=100.0)
        return f"{value} ({low}–{high})"

    def texts(self, digits: int, *, scale: float = 1.0) -> tuple[str, str, str]:
        """Value and ends with so many digits after the point; with more where the ends would look equal."""
        low, high = scale * self.low, scale * self.high
        while f"{low:.{digits}f}" == f"{high:.{digits}f}" and low < high and digits < DIGITS:
            digits += 1
        return f"{scale * self.value:.{digits}f}", f"{low:.{digits}f}", f"{high:.{digits}f}"


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
    if len(values) == 0:
        raise ValueError("An interval needs at least one query.")
    _, row = np.unique(clip, return_inverse=True)
    count = np.bincount(row)
    total = np.stack([np.bincount(row, weights=column) for column in values.T], axis=1)

    def means(drawn: Int[ndarray, "draw clip"]) -> Float[ndarray, "draw number"]:
        return total[drawn].sum(axis=1) / count[drawn].sum(axis=1)[:, None]

    how = Resampling(resamples=resamples, seed=seed)
    return how.estimates(means, values.mean(0), len(count), total.size)


@dataclass(frozen=True, slots=True)
class Resampling:
    """How clips are drawn for intervals: the same seed draws the same clips."""

    resamples: int = 1000
    seed: int = 0

    def estimates(
        self,
        statistic: Callable[[Int[ndarray, "draw clip"]], Float[ndarray, "draw number"]],
        values: Float[ndarray, " number"],
        clips: int,
        size: int,
    ) -> tuple[Estimate, ...]:
        """Numbers with the percentiles of what they are on clips drawn with replacement.

        Args:
            statistic: The numbers on drawn clips, a row for each draw.
            values: The numbers on all clips.
            clips: How many there are.
            size: Numbers that the statistic reads for one draw; bounds how many draws it gets at once.
        """
        if self.resamples < 1:
            raise ValueError("An interval needs at least one resample.")
        rng = np.random.default_rng(self.seed)
        found = np.empty((self.resamples, len(values)))
        some = max(1, AT_ONCE // size)
        for first in range(0, self.resamples, some):
            draws = min(some, self.resamples - first)
            drawn = rng.integers(clips, size=(draws, clips))
            found[first : first + draws] = statistic(drawn)
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(found, (tail, 1 - tail), axis=0)
        return tuple(Estimate(*map(float, row)) for row in zip(values, low, high, strict=True))
