"""Which moments may be among the best of a query: they are then scored exactly."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trichord.search.nearest.approximate import Nearest
from trichord.search.nearest.exact import best_rows
from trichord.search.query_plan import QueryPlan, Rows
from trichord.types.arrays import Bool, Float

AT_LEAST = 1000
FOR_EACH = 10
"""Candidates of each modality for each hit."""


@dataclass(frozen=True, slots=True, eq=False)
class ExactCandidates:
    """Rows with their float32 scores, or rougher ones; -inf: not to be found.

    The candidates certainly include the best, because the scores' errors are bounded. Rows that may be
    among the best by rougher scores, as those of `HalfPrecision`, are scored again in float32.

    Attributes:
        scores: Scores of all rows, or of those numbered in `rows`.
        rows: Their numbers.
        slack: Twice the largest error of a float32 score.
        error: The largest error of a rougher score.
        score: Gives the float32 scores of some rows; None if `scores` are these.
    """

    scores: Float[np.ndarray, " row"]
    rows: Rows | None
    slack: float
    error: float = 0.0
    score: Callable[[Rows], Float[np.ndarray, "1 row"]] | None = None

    def best(self, k: int) -> Rows:
        """Distinct rows, ascending, that include the best `k`."""
        best = best_rows(self.scores, k, 2 * self.error + self.slack)
        rows = best if self.rows is None else self.rows[best]
        if self.score is None:
            return rows
        return np.sort(rows[best_rows(self.score(rows)[0], k, self.slack)])


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
        """Distinct rows, ascending, that should include the best `k`."""
        count = max(AT_LEAST, FOR_EACH * k)
        parts = [np.zeros(0, np.int64)]
        for side, nearest in ((self.plan.vision, self.vision), (self.plan.audio, self.audio)):
            if side.active:
                query = side.vector.astype(np.float32)[None]
                rows = nearest.search(query, count, self.allowed)[0][0]
                parts.append(rows[rows >= 0])
        return np.unique(np.concatenate(parts))


Candidates = ExactCandidates | AnnCandidates
"""Give rows of a gallery that are worth exact scoring."""
