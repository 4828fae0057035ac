"""One scale for what is seen and what is heard: cosines of queries, standardised and blended.

Cosines of different pairs of modalities are not comparable: a text lies at about 0.25 from the
picture it describes, two pictures at 0.6 from one another, and each pair has a spread of its own.
What they have in common is how a query *without* an answer looks. So each is measured in standard
deviations of that: how far a moment is beyond what is usual for a query of this kind.

It is arithmetic on vectors alone: search scores by it, and evaluation learns weights by it.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from trichord.types.arrays import Bool, Float

Numbers = Float[np.ndarray, "query moment"]
Marks = Bool[np.ndarray, "query moment"]
Column = Float[np.ndarray, " moment"]

PRIOR = 10.0
"""Moments that the prior weighs: a collection must have many more to be judged by itself alone."""
AGREEMENT_LIMIT = 0.95


@runtime_checkable
class Sides(Protocol):
    """Vectors of moments or clips, zero in rows that lack the modality."""

    @property
    def vision(self) -> Float[np.ndarray, "moment _"]:
        """Of what is seen."""
        ...

    @property
    def has_vision(self) -> Bool[np.ndarray, " moment"]:
        """Rows with something to see."""
        ...

    @property
    def audio(self) -> Float[np.ndarray, "moment _"]:
        """Of what is heard."""
        ...

    @property
    def has_audio(self) -> Bool[np.ndarray, " moment"]:
        """Rows with something to hear."""
        ...


@dataclass(frozen=True, slots=True)
class CosineScale:
    """Where cosines of background queries lie, and how far they stray from their query's mean."""

    location: float
    spread: float

    def usual(self, mean: float, count: int) -> float:
        """The cosine that is usual for a query: its own mean, drawn towards `location`.

        Some queries lie nearer to everything than others; `PRIOR` more moments at `location` keep a
        collection of a few moments from explaining its hits away.

        Args:
            mean: Of the query's cosines with all moments that have the modality.
            count: How many those are.
        """
        return (mean * count + PRIOR * self.location) / (count + PRIOR)

    def standardise(self, cosines: Numbers, present: Marks) -> Numbers:
        """Standard deviations above what is `usual` for each query."""
        # Rows that lack the modality are zero vectors: their cosine of 0 says nothing.
        total = (cosines * present).sum(1, keepdims=True) + PRIOR * self.location
        usual = total / (present.sum(1, keepdims=True) + PRIOR)
        return (cosines - usual) / self.spread

    @classmethod
    def of(cls, cosines: Numbers, present: Marks, dim: int) -> "CosineScale":
        """Measure background queries.

        `PRIOR` strays of random directions in `dim` dimensions, whose spread is 1/√dim, are added
        to those seen: so an empty collection has a scale too, and no spread is 0.
        """
        count = int(present.sum())
        location = float((cosines * present).sum()) / max(1, count)
        # A spread of 1 leaves the strays in units of cosines.
        strays = cls(location, 1.0).standardise(cosines, present) * present
        # No mean is subtracted: a stray is a distance from what is usual
        # already. 1/dim is the variance of the cosine of two random directions.
        return cls(location, math.sqrt((float((strays**2).sum()) + PRIOR / dim) / (count + PRIOR)))


@dataclass(frozen=True, slots=True)
class QueryCalibration:
    """The scales of one kind of query.

    `agreement` is the correlation of standardised sight and sound over background pairs.
    """

    vision: CosineScale
    audio: CosineScale
    agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """Queries of one kind that ask for nothing in particular.

    `vision` and `audio` are their vectors toward each; None where the model cannot compare them.
    `allowed` marks moments that don't come from the query's own file.
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
        # What cannot be compared has the scale of an empty collection, 0 and 1/√dim: all kinds
        # of queries have both scales. In double precision, for up to a million are summed.
        cosines = np.zeros(shape) if queries is None else (queries @ vectors.T).astype(np.float64)
        present = present if queries is not None else np.zeros(shape, bool)
        scales.append(CosineScale.of(cosines, present, vectors.shape[1]))
        standard.append(scales[-1].standardise(cosines, present))
        marks.append(present)
    shared = marks[0] & marks[1]
    # As many pairs without agreement as `PRIOR` says are added: a few pairs prove little.
    product = float((standard[0] * standard[1] * shared).sum() / (shared.sum() + PRIOR))
    # It is no exact correlation, for each side was standardised over
    # moments that the other one may lack: it could pass 1. Below 0 it would
    # shrink the divisor of `blend`, which is 0 for equal weights at -1.
    return QueryCalibration(scales[0], scales[1], min(AGREEMENT_LIMIT, max(0.0, product)))


def blend(
    vision: Column, audio: Column, weights: tuple[Column, Column], agreement: float
) -> tuple[Column, Column]:
    """How much sight and sound contribute to each moment's score.

    A weighted sum of two standardised values spreads as sqrt(w² + v² + 2 agreement w v); dividing
    by that leaves every moment's score with a spread of 1 where there is nothing to be found,
    whether it has both modalities or one. A weighted *mean* would pull moments with both toward the
    middle, a plain sum would favour them.

    Args:
        vision: Standardised cosines.
        audio: Standardised cosines.
        weights: Of sight and of sound for each moment, 0 where it lacks the modality; where both
            are 0, so are both contributions.
        agreement: Correlation of the two.
    """
    w, v = weights
    size = np.sqrt(w**2 + v**2 + 2 * agreement * w * v)
    # A moment that has nothing of what is asked for: 0 / 0 would be NaN.
    size = np.where(size > 0, size, 1.0)
    return w * vision / size, v * audio / size
