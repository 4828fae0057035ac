"""A common scale for visual and audio scores: cosines of queries, standardised and blended.

Cosines of different pairs of modalities are not comparable: a text and its picture have about 0.25,
two pictures 0.6, and each pair has its own spread. But all pairs have scores of queries *without* an
answer. So a cosine is measured in standard deviations of those: how far a moment is above the usual
score of a query of this kind.

This is arithmetic on vectors only. Search uses it for scores, evaluation to learn weights.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from trichord.types.arrays import Bool, Float

Numbers = Float[np.ndarray, "query moment"]
Marks = Bool[np.ndarray, "query moment"]
Scores = Float[np.ndarray, "*query moment"]

PRIOR = 10.0
"""Weight of the prior in moments: in a much larger collection it hardly counts."""
AGREEMENT_LIMIT = 0.95
FEWEST = 10
"""From so many background queries on, the distribution of their best scores is measured."""
NARROWEST = 0.1
"""The smallest scale of a distribution of best scores: equal moments have none."""
EULER = 0.5772156649015329


@runtime_checkable
class Sides(Protocol):
    """Vectors of moments or clips, zero in rows that lack the modality."""

    @property
    def vision(self) -> Float[np.ndarray, "moment _"]:
        """Visual vectors."""
        ...

    @property
    def has_vision(self) -> Bool[np.ndarray, " moment"]:
        """Rows with vision."""
        ...

    @property
    def audio(self) -> Float[np.ndarray, "moment _"]:
        """Audio vectors."""
        ...

    @property
    def has_audio(self) -> Bool[np.ndarray, " moment"]:
        """Rows with audio."""
        ...


@dataclass(frozen=True, slots=True)
class CosineScale:
    """Location of background queries' cosines, and their spread around the query's mean."""

    location: float
    spread: float

    def usual(self, mean: float, count: int) -> float:
        """The usual cosine of a query: its own mean, shrunk toward `location`.

        Some queries have higher cosines with everything. `PRIOR` additional moments at `location` keep
        the hits in a small collection from raising their own baseline.

        Args:
            mean: Of the query's cosines with all moments that have the modality.
            count: Number of those moments.
        """
        return (mean * count + PRIOR * self.location) / (count + PRIOR)

    def standardise(self, cosines: Numbers, present: Marks) -> Numbers:
        """Standard deviations above what is `usual` for each query."""
        # Rows without the modality are zero vectors, whose cosine of 0 has no meaning.
        total = (cosines * present).sum(1, keepdims=True) + PRIOR * self.location
        usual = total / (present.sum(1, keepdims=True) + PRIOR)
        return (cosines - usual) / self.spread

    @classmethod
    def of(cls, cosines: Numbers, present: Marks, dim: int) -> "CosineScale":
        """Measure background queries.

        `PRIOR` deviations of random directions in `dim` dimensions, with a spread of 1/√dim, are added
        to the measured ones. So an empty collection has a scale too, and no spread is 0.
        """
        count = int(present.sum())
        location = float((cosines * present).sum()) / max(1, count)
        # A spread of 1 leaves the deviations in units of cosines.
        strays = cls(location, 1.0).standardise(cosines, present) * present
        # No mean is subtracted: deviations are relative to the usual cosine.
        # 1/dim is the variance of the cosine of two random directions.
        return cls(location, math.sqrt((float((strays**2).sum()) + PRIOR / dim) / (count + PRIOR)))


@dataclass(frozen=True, slots=True)
class BestScores:
    """How high the best score of a query is where nothing fits: a Gumbel distribution.

    It is the limit of the distribution of a maximum. Its location grows with the logarithm of the number
    of moments, so that it holds for archives of any size.

    Attributes:
        location: Its location for `moments` moments.
        scale: Its scale.
        moments: The number of moments it was measured with.
    """

    location: float
    scale: float
    moments: float

    @classmethod
    def of(cls, scores: Numbers, present: Marks) -> "BestScores":
        """Fit background queries by L-moments; with too few of them, a normal score is assumed."""
        measured = present.any(axis=1)
        best = np.sort(np.where(present, scores, -np.inf).max(axis=1, initial=-np.inf)[measured])
        if len(best) < FEWEST:  # the Gumbel distribution with the mean and variance of one score
            scale = math.sqrt(6) / math.pi
            return cls(-EULER * scale, scale, 1.0)
        mean = float(best.mean())
        weighted = float((np.arange(len(best)) / (len(best) - 1) * best).mean())
        scale = max(NARROWEST, (2 * weighted - mean) / math.log(2))
        return cls(mean - EULER * scale, scale, float(present.sum() / measured.sum()))

    def chance(self, scores: Float[np.ndarray, " hit"], moments: int) -> Float[np.ndarray, " hit"]:
        """How likely the best of so many unrelated moments scores at least as high."""
        location = self.location + self.scale * math.log(max(1, moments) / self.moments)
        # Clipped: far below the location, the exponential would overflow.
        return -np.expm1(-np.exp(((location - scores) / self.scale).clip(max=700.0)))


@dataclass(frozen=True, slots=True)
class QueryCalibration:
    """The scales of one kind of query.

    `agreement` is the correlation of standardised visual and audio scores of background pairs. `best`
    holds the best scores by picture and sound together, by picture, and by sound; None in collections
    from before they were measured.
    """

    vision: CosineScale
    audio: CosineScale
    agreement: float
    best: tuple[BestScores, BestScores, BestScores] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """Unrelated queries of one kind.

    `vision` and `audio` are their vectors toward each; None if the model cannot compare them. `allowed`
    marks moments that are not of the query's own file.
    """

    vision: Float[np.ndarray, "query _"] | None
    audio: Float[np.ndarray, "query _"] | None
    allowed: Marks


def measure(sides: Sides, background: Background) -> QueryCalibration:
    """Scales and agreement of background queries over moments."""
    scales: list[CosineScale] = []
    standard: list[Numbers] = []
    marks: list[Marks] = []
    for queries, vectors, has in (
        (background.vision, sides.vision, sides.has_vision),
        (background.audio, sides.audio, sides.has_audio),
    ):
        present = background.allowed & has[None, :]
        shape = present.shape
        # Pairs that cannot be compared get the scale of an empty collection, 0 and 1/√dim, so that
        # all kinds of queries have both scales. Double precision, because up to a million are summed.
        cosines = np.zeros(shape) if queries is None else (queries @ vectors.T).astype(np.float64)
        present = present if queries is not None else np.zeros(shape, bool)
        scales.append(CosineScale.of(cosines, present, vectors.shape[1]))
        standard.append(scales[-1].standardise(cosines, present))
        marks.append(present)
    shared = marks[0] & marks[1]
    # `PRIOR` pairs without agreement are added: few pairs are weak evidence.
    product = float((standard[0] * standard[1] * shared).sum() / (shared.sum() + PRIOR))
    # Not an exact correlation: each side is standardised over moments that
    # the other may lack, so it could exceed 1. Below 0 it would shrink
    # the divisor of `blend`, which is 0 for equal weights at -1.
    agreement = min(AGREEMENT_LIMIT, max(0.0, product))
    together, seen, heard = (
        _best_scores(standard, (marks[0] * weights[0], marks[1] * weights[1]), agreement)
        for weights in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0))
    )
    return QueryCalibration(scales[0], scales[1], agreement, (together, seen, heard))


def _best_scores(
    standard: list[Numbers], weights: tuple[Numbers, Numbers], agreement: float
) -> BestScores:
    vision, audio = blend(standard[0], standard[1], weights, agreement)
    return BestScores.of(vision + audio, (weights[0] > 0) | (weights[1] > 0))


def blend(
    vision: Scores, audio: Scores, weights: tuple[Scores, Scores], agreement: float
) -> tuple[Scores, Scores]:
    """Visual and audio contributions to each moment's score.

    A weighted sum of two standardised values has the spread sqrt(w² + v² + 2 agreement w v); divided by
    that, the scores of irrelevant moments have a spread of 1, with both modalities or one. A weighted
    *mean* would shrink the scores of moments with both, a plain sum would favour them.

    Args:
        vision: Standardised cosines.
        audio: Standardised cosines.
        weights: Visual and audio weight of each moment, 0 if it lacks the modality; if both are 0, so
            are both contributions.
        agreement: Correlation of the two.
    """
    w, v = weights
    size = np.sqrt(w**2 + v**2 + 2 * agreement * w * v)
    # A moment with none of the weighted modalities: 0 / 0 would be NaN.
    size = np.where(size > 0, size, 1.0)
    return w * vision / size, v * audio / size
