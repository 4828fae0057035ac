"""Which moments may be among the best of a query: all that is scored exactly is among these."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from trichord.search.nearest.exact import best_rows
from trichord.search.nearest.neighbours import Nearest
from trichord.search.query_plan import QueryPlan, Rows
from trichord.types.arrays import Bool, Float

AT_LEAST = 1000
FOR_EACH = 10
"""Moments that are asked of sight and of sound for each that is wanted."""


@runtime_checkable
class Candidates(Protocol):
    """Gives rows of a gallery that are worth a closer look."""

    def best(self, k: int) -> Rows:
        """Rows, ascending, among which the best `k` should be, none twice."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """All rows (or those numbered in `rows`) with their float32 scores, -inf where not to be found.

    The best are certainly among what is given, whatever `slack` the scores have.
    """

    scores: Float[np.ndarray, " row"]
    rows: Rows | None
    slack: float

    def best(self, k: int) -> Rows:
        """See `Candidates`."""
        found = best_rows(self.scores, k, self.slack)
        return found if self.rows is None else self.rows[found]


@dataclass(frozen=True, slots=True, eq=False)
class Bounded:
    """Rows with scores of a bounded error, -inf where not to be found; see `HalfPrecision`.

    Rows that may be among the best are scored again in float32.

    Attributes:
        scores: Of all that have a vector.
        rows: Their numbers.
        error: By which each may be off.
        score: Gives the float32 scores of some rows.
        slack: That these have: twice what they may be off by.
    """

    scores: Float[np.ndarray, " row"]
    rows: Rows
    error: float
    score: Callable[[Rows], Float[np.ndarray, " row"]]
    slack: float

    def best(self, k: int) -> Rows:
        """See `Candidates`; the best are certainly among what is given."""
        rows = self.rows[best_rows(self.scores, k, 2 * self.error + self.slack)]
        return np.sort(rows[best_rows(self.score(rows), k, self.slack)])


@dataclass(frozen=True, slots=True, eq=False)
class Proposed:
    """The nearest moments of sight and those of sound, together.

    A moment that is fairly near in both, but among the nearest of neither, is missed. Of the ten best of
    100,000 moments whose sight has nothing to do with their sound, which is the worst case, the 1,000
    nearest of each side held all (40 queries), the 200 nearest 0.89, and the best one every time.
    What the structures themselves miss comes on top of it.
    """

    combined: QueryPlan
    vision: Nearest
    audio: Nearest
    allowed: Bool[np.ndarray, " moment"] | None

    def best(self, k: int) -> Rows:
        """See `Candidates`."""
        count = max(AT_LEAST, FOR_EACH * k)
        found = [np.zeros(0, np.int64)]
        for side, nearest in (
            (self.combined.vision, self.vision),
            (self.combined.audio, self.audio),
        ):
            if side.asked:
                query = side.vector.astype(np.float32)[None]
                rows = nearest.search(query, count, self.allowed)[0][0]
                found.append(rows[rows >= 0])
        return np.unique(np.concatenate(found))
