"""Whether a difference of two systems holds over worlds, encoders and clips, and what it varies with."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from cells import Hits

RESAMPLES = 2000
MARGIN = 0.05
"""Two systems are level where the interval of their difference lies within this, in R@10."""
Key = tuple[int, int]
"""A cell: world and pair of encoders."""


@dataclass(frozen=True)
class Difference:
    """R@10 of one system less another's, in every cell.

    Attributes:
        cells: Mean over queries and seeds, by cell.
        low: End of the 95 % interval of the mean over cells: clips are drawn within each world, the same
            ones for its pairs of encoders; worlds and pairs are as they are.
        high: The other end.
        clips: How many clips the interval draws in all.
        spread: Standard deviations, by what they are over.
    """

    cells: dict[Key, float]
    low: float
    high: float
    clips: int
    spread: dict[str, float]

    @property
    def mean(self) -> float:
        """Over all cells."""
        return float(np.mean(list(self.cells.values())))

    @property
    def verdict(self) -> str:
        """`holds`: all cells and the interval are above 0; `does not hold`: below; else `undecided`."""
        signs = {math.copysign(1, value) if value else 0 for value in self.cells.values()}
        if signs == {1} and self.low > 0:
            return "holds"
        return "does not hold" if signs == {-1} and self.high < 0 else "undecided"

    @property
    def level(self) -> str:
        """The same for the claim that both are level."""
        if self.low >= -MARGIN and self.high <= MARGIN:
            return "holds"
        return "does not hold" if self.high < -MARGIN or self.low > MARGIN else "undecided"

    @property
    def clips_needed(self) -> int | None:
        """Clips at which the interval would exclude 0, were the difference as it is; None: it does."""
        if self.low > 0 or self.high < 0 or not self.mean:
            return None
        half = (self.high - self.low) / 2
        return math.ceil(self.clips * (half / abs(self.mean)) ** 2)


def difference(first: Mapping[Key, Hits], other: Mapping[Key, Hits]) -> Difference:
    """R@10 of `first` less that of `other`, paired by query.

    Args:
        first: Hits of a system by cell.
        other: Of another one, for the same queries of the same cells.
    """
    change = {key: first[key].hits.mean(0) - other[key].hits.mean(0) for key in first}
    worlds = sorted({world for world, _ in change})
    draws = [
        _means_of_draws([change[key] for key in sorted(change) if key[0] == world], first, world)
        for world in worlds
    ]
    low, high = np.quantile(np.mean(draws, axis=0), (0.025, 0.975))
    cells = {key: float(values.mean()) for key, values in change.items()}
    clips = sum(len(set(_clip_of(first, world).tolist())) for world in worlds)
    spread = _spread(cells, draws, first, other)
    return Difference(cells, float(low), float(high), clips, spread)


def _clip_of(hits: Mapping[Key, Hits], world: int) -> np.ndarray:
    return next(one.clip for key, one in sorted(hits.items()) if key[0] == world)


def _means_of_draws(
    change: Sequence[np.ndarray], hits: Mapping[Key, Hits], world: int
) -> np.ndarray:
    """The mean difference in a world, on clips drawn with replacement."""
    _, clip = np.unique(_clip_of(hits, world), return_inverse=True)
    count = np.bincount(clip)
    total = np.bincount(clip, weights=np.mean(change, axis=0))
    drawn = np.random.default_rng(world).integers(len(count), size=(RESAMPLES, len(count)))
    return total[drawn].sum(1) / count[drawn].sum(1)


def _spread(
    cells: Mapping[Key, float],
    draws: Sequence[np.ndarray],
    first: Mapping[Key, Hits],
    other: Mapping[Key, Hits],
) -> dict[str, float]:
    """What the difference varies with, as standard deviations of one world, pair, seed or draw of clips.

    That of worlds is what is left of theirs after the part that other clips alone would make.
    """
    of_worlds = _by(cells, 0)
    of_pairs = _by(cells, 1)
    clips = float(np.mean([one.var() for one in draws]))
    worlds = float(np.var(of_worlds, ddof=1)) if len(of_worlds) > 1 else 0.0
    seeds = [
        (
            first[key].hits.mean(1)[: len(other[key].hits)]
            - other[key].hits.mean(1)[: len(first[key].hits)]
        )
        for key in cells
        if min(len(first[key].hits), len(other[key].hits)) > 1
    ]
    return {
        "clips of one world": round(math.sqrt(clips), 4),
        "worlds": round(math.sqrt(max(0.0, worlds - clips)), 4),
        "encoders": round(float(np.std(of_pairs, ddof=1)) if len(of_pairs) > 1 else 0.0, 4),
        "seeds": round(
            math.sqrt(np.mean([np.var(one, ddof=1) for one in seeds])) if seeds else 0.0, 4
        ),
    }


def _by(cells: Mapping[Key, float], part: int) -> list[float]:
    """Means over the cells that share a world (0) or a pair of encoders (1)."""
    values = sorted({key[part] for key in cells})
    return [float(np.mean([cells[key] for key in cells if key[part] == one])) for one in values]
