"""Which moments may be among the best of a query: they are then scored exactly."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from trichord.search.nearest.approximate import Nearest
from trichord.search.nearest.exact import best_rows
from trichord.search.query_plan import QueryPlan, Rows
from trichord.types.arrays import Bool, Float

AT_LEAST = 1000
FOR_EACH = 10
"""Candidates of each modality for each hit."""


@runtime_checkable
class Candidates(Protocol):
    """Gives rows of a gallery that are worth exact scoring."""

    def best(self, k: int) -> Rows:
        """Distinct rows, ascending, that should include the best `k`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ExactCandidates:
    """All rows (or those numbered in `rows`) with their float32 scores; -inf: not to be found.

    The candidates certainly include the best, because `slack` bounds the scores' errors.
    """

    scores: Float[np.ndarray, " row"]
    rows: Rows | None
    slack: float

    def best(self, k: int) -> Rows:
        """See `Candidates`."""
        rows = best_rows(self.scores, k, self.slack)
        return rows if self.rows is None else self.rows[rows]


@dataclass(frozen=True, slots=True, eq=False)
class BoundedCandidates:
    """Rows with scores of a bounded error, -inf: not to be found; see `HalfPrecision`.

    Rows that may be among the best are scored again in float32.

    Attributes:
        scores: Scores of all rows that have a vector.
        rows: Their numbers.
        error: The largest error of a score.
        score: Gives the float32 scores of some rows.
        slack: Twice the largest error of those.
    """

    scores: Float[np.ndarray, " row"]
    rows: Rows
    error: float
    score: Callable[[Rows], Float[np.ndarray, " row"]]
    slack: float

    def best(self, k: int) -> Rows:
        """See `Candidates`; the result certainly includes the best."""
        rows = self.rows[best_rows(self.scores, k, 2 * self.error + self.slack)]
        return np.sort(rows[best_rows(self.score(rows), k, self.slack)])


@dataclass(frozen=True, slots=True, eq=False)
class AnnCandidates:
    """The nearest moments by vision and those by audio, together.

    A moment that is fairly near in both, but among the nearest of neither, is missed. Of the ten best of
    100,000 moments whose vision and audio are unrelated, which is the worst case, the 1,000 nearest of
    each modality held all (40 queries), the 200 nearest 0.89, and the best one every time. The misses of
    the indexes themselves come on top.
    """

    plan: QueryPlan
    vision: Nearest
    audio: Nearest
    allowed: Bool[np.ndarray, " moment"] | None

    def best(self, k: int) -> Rows:
        """See `Candidates`."""
        count = max(AT_LEAST, FOR_EACH * k)
        parts = [np.zeros(0, np.int64)]
        for side, nearest in ((self.plan.vision, self.vision), (self.plan.audio, self.audio)):
            if side.active:
                query = side.vector.astype(np.float32)[None]
                rows = nearest.search(query, count, self.allowed)[0][0]
                parts.append(rows[rows >= 0])
        return np.unique(np.concatenate(parts))
