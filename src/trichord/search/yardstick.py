"""One scale for what is seen and what is heard: cosines of queries, standardised and blended.

Cosines of different pairs of modalities are not comparable: a text lies at about 0.25 from the
picture it describes, two pictures at 0.6 from one another, and each pair has a spread of its own.
What they have in common is how a query *without* an answer looks. So each is measured in standard
deviations of that: how far a moment is beyond what is usual for a query of this kind.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from trichord.search.table import Gallery

Kind = Literal["text", "vision", "audio", "both"]
"""What a query is made of: words, a picture, a sound, or picture and sound."""
Numbers = Float[np.ndarray, "query moment"]
Marks = Bool[np.ndarray, "query moment"]

PRIOR = 10.0
"""Moments that the prior weighs: a collection must have many more to be judged by itself alone."""
AGREEMENT_LIMIT = 0.95
DECIMALS = 6
"""Scores are rounded to these: beyond, they depend on where among its like a moment stands."""
QUERIES = 256
MOMENTS = 4096
"""At most so many background queries and moments are measured: two digits of a spread."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Where cosines of background queries lie, and how far they stray from their query's mean."""

    location: float
    spread: float

    def standardise(self, cosines: Numbers, present: Marks) -> Numbers:
        """Standard deviations above what is usual for each query.

        Usual is the query's own mean over the moments that have the modality, since some queries
        lie nearer to everything than others; drawn towards `location` as if `PRIOR` more moments
        had that cosine, so that a collection of a few moments does not explain its hits away.
        """
        total = (cosines * present).sum(1, keepdims=True) + PRIOR * self.location
        usual = total / (present.sum(1, keepdims=True) + PRIOR)
        return (cosines - usual) / self.spread

    @classmethod
    def of(cls, cosines: Numbers, present: Marks, dim: int) -> "Scale":
        """Measure background queries.

        `PRIOR` strays of random directions in `dim` dimensions, whose spread is 1/√dim, are added
        to those seen: so an empty collection has a scale too, and no spread is 0.
        """
        count = int(present.sum())
        location = float((cosines * present).sum()) / max(1, count)
        strays = cls(location, 1.0).standardise(cosines, present) * present
        return cls(location, math.sqrt((float((strays**2).sum()) + PRIOR / dim) / (count + PRIOR)))


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The scales of one kind of query.

    `agreement` is the correlation of standardised sight and sound over background pairs.
    """

    sight: Scale
    sound: Scale
    agreement: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The yardstick of each kind of query."""

    text: Yardstick
    vision: Yardstick
    audio: Yardstick
    both: Yardstick

    def of_kind(self, kind: Kind) -> Yardstick:
        """The yardstick of a kind of query."""
        sticks = {
            "text": self.text, "vision": self.vision, "audio": self.audio, "both": self.both
        }  # fmt: skip
        return sticks[kind]

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Calibration":
        """From JSON values, as `dataclasses.asdict` gives them.

        Raises:
            KeyError, TypeError, ValueError: They are not those of a calibration.
        """
        sticks: dict[str, Yardstick] = {}
        for kind, stick in stored.items():
            sight, sound = Scale(**stick["sight"]), Scale(**stick["sound"])
            sticks[kind] = Yardstick(sight, sound, float(stick["agreement"]))
            if not (sight.spread > 0 and sound.spread > 0):
                raise ValueError("a spread of no size")
        return cls(**sticks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """Queries of one kind that ask for nothing in particular.

    `sight` and `sound` are their vectors toward each; None where the model cannot compare them.
    `allowed` marks moments that don't come from the query's own file.
    """

    sight: Float[np.ndarray, "query _"] | None
    sound: Float[np.ndarray, "query _"] | None
    allowed: Marks


def calibrate(
    gallery: Gallery,
    texts_toward_sight: Float[np.ndarray, "query _"],
    texts_toward_sound: Float[np.ndarray, "query _"],
    *,
    aligned: bool,
) -> Calibration:
    """Measure a collection with background queries.

    Those for text are given; for pictures and sounds they are moments of the collection, each
    against the moments of all other files.
    """
    some = thinned(gallery, MOMENTS)
    sight, sound = some.has_vision, some.has_audio
    everywhere = np.ones((len(texts_toward_sight), len(some)), bool)

    def among(
        rows: Bool[np.ndarray, " moment"], toward_sight: str, toward_sound: str
    ) -> Background:
        chosen = np.flatnonzero(rows)[_evenly(int(rows.sum()), QUERIES)]
        files = np.unique([moment.file for moment in some.moments], return_inverse=True)[1]
        vectors = {"vision": some.vision[chosen], "audio": some.audio[chosen]}
        comparable = aligned or toward_sight == "vision", aligned or toward_sound == "audio"
        return Background(
            sight=vectors[toward_sight] if comparable[0] else None,
            sound=vectors[toward_sound] if comparable[1] else None,
            allowed=files[chosen][:, None] != files[None, :],
        )

    texts = Background(sight=texts_toward_sight, sound=texts_toward_sound, allowed=everywhere)
    return Calibration(
        text=measure(some, texts),
        vision=measure(some, among(sight, "vision", "vision")),
        audio=measure(some, among(sound, "audio", "audio")),
        both=measure(some, among(sight & sound, "vision", "audio")),
    )


def measure(gallery: Gallery, background: Background) -> Yardstick:
    """Scales and agreement of background queries over moments."""
    scales: list[Scale] = []
    standard: list[Numbers] = []
    marks: list[Marks] = []
    for queries, vectors, has in (
        (background.sight, gallery.vision, gallery.has_vision),
        (background.sound, gallery.audio, gallery.has_audio),
    ):
        present = background.allowed & has[None, :]
        shape = present.shape
        cosines = np.zeros(shape) if queries is None else (queries @ vectors.T).astype(np.float64)
        present = present if queries is not None else np.zeros(shape, bool)
        scales.append(Scale.of(cosines, present, vectors.shape[1]))
        standard.append(scales[-1].standardise(cosines, present))
        marks.append(present)
    shared = marks[0] & marks[1]
    product = float((standard[0] * standard[1] * shared).sum() / (shared.sum() + PRIOR))
    return Yardstick(scales[0], scales[1], min(AGREEMENT_LIMIT, max(0.0, product)))


def blend(
    sight: Float[np.ndarray, " moment"],
    sound: Float[np.ndarray, " moment"],
    weights: tuple[Float[np.ndarray, " moment"], Float[np.ndarray, " moment"]],
    agreement: float,
) -> tuple[Float[np.ndarray, " moment"], Float[np.ndarray, " moment"]]:
    """How much sight and sound contribute to each moment's score.

    A weighted sum of two standardised values spreads as sqrt(w² + v² + 2 agreement w v); dividing
    by that leaves every moment's score with a spread of 1 where there is nothing to be found,
    whether it has both modalities or one. A weighted *mean* would pull moments with both toward the
    middle, a plain sum would favour them.

    Args:
        sight: Standardised cosines.
        sound: Standardised cosines.
        weights: Of sight and of sound for each moment, 0 where it lacks the modality; not both 0.
        agreement: Correlation of the two.
    """
    w, v = weights
    size = np.sqrt(w**2 + v**2 + 2 * agreement * w * v)
    return w * sight / size, v * sound / size


def thinned(gallery: Gallery, most: int) -> Gallery:
    """At most so many moments, evenly chosen."""
    rows = _evenly(len(gallery), most)
    return Gallery(
        moments=tuple(gallery.moments[i] for i in rows),
        vision=gallery.vision[rows],
        has_vision=gallery.has_vision[rows],
        audio=gallery.audio[rows],
        has_audio=gallery.has_audio[rows],
    )


def _evenly(count: int, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    kept = min(count, most)
    return (np.arange(kept, dtype=np.int64) * count) // max(1, kept)
