"""The scales of a collection's scores, measured on its own moments for each kind of query."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trichord.models.calibration import (
    Background,
    BestScores,
    CosineScale,
    QueryCalibration,
    measure,
)
from trichord.search.gallery import Gallery
from trichord.types.arrays import Bool, Float, Int
from trichord.types.comparable import Pair, compares

Kind = Literal["text", "vision", "audio", "both"]
"""A query by words, a picture, a sound, or picture and sound."""
Toward = Literal["vision", "audio"]

DECIMALS = 6
"""Decimals that scores are rounded to: further ones depend on a moment's place in its batch."""
QUERIES = 256
MOMENTS = 4096
"""The largest numbers of background queries and moments: they give two digits of a spread."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibration of each kind of query."""

    text: QueryCalibration
    vision: QueryCalibration
    audio: QueryCalibration
    both: QueryCalibration

    def of_kind(self, kind: Kind) -> QueryCalibration:
        """The calibration of one kind of query."""
        return getattr(self, kind)

    @property
    def complete(self) -> bool:
        """Whether it knows how high best scores are where nothing fits."""
        return self.text.best is not None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Calibration":
        """Parse JSON values, as `dataclasses.asdict` gives them.

        Raises:
            KeyError, TypeError, ValueError: They are not a calibration.
        """
        scales: dict[str, QueryCalibration] = {}
        for kind, values in stored.items():
            vision, audio = CosineScale(**values["vision"]), CosineScale(**values["audio"])
            best = _best_of(values.get("best"))
            scales[kind] = QueryCalibration(vision, audio, float(values["agreement"]), best)
            # Not `<= 0`, which NaN passes: Python's JSON reads NaN.
            if not (vision.spread > 0 and audio.spread > 0):
                raise ValueError("a spread that is not positive")
        return cls(**scales)


def _best_of(stored: Any) -> tuple[BestScores, BestScores, BestScores] | None:
    """Parse best scores; None if they were not measured.

    Raises:
        TypeError, ValueError: They are not best scores.
    """
    if stored is None:
        return None
    together, seen, heard = (BestScores(**values) for values in stored)
    for best in (together, seen, heard):
        if not (best.scale > 0 and best.moments > 0 and np.isfinite(best.location)):
            raise ValueError("best scores that are not a distribution")
    return together, seen, heard


def calibrate(
    gallery: Gallery,
    texts_toward_vision: Float[np.ndarray, "query _"],
    texts_toward_audio: Float[np.ndarray, "query _"],
    *,
    comparable: frozenset[Pair],
) -> Calibration:
    """Calibrate a collection with background queries.

    Those for text are given. Those for pictures and sounds are moments of the collection, each compared
    with the moments of all other files.
    """
    # A sample: every query is compared with every moment. Moments are ordered by file and start, so
    # that even steps spread over the files. Nothing is random: the same collection gets the same scales.
    sample = gallery.take(evenly(len(gallery), MOMENTS))
    vision, audio = sample.has_vision, sample.has_audio
    all_allowed = np.ones((len(texts_toward_vision), len(sample)), bool)

    def among(
        rows: Bool[np.ndarray, " moment"], toward_vision: Toward, toward_audio: Toward
    ) -> Background:
        queries = np.flatnonzero(rows)[evenly(int(rows.sum()), QUERIES)]
        vectors = {"vision": sample.vision[queries], "audio": sample.audio[queries]}
        # A text always has a vector for each modality. A picture can
        # be compared with sounds only if the two share a space.
        across = compares(comparable, "audio", "vision")
        return Background(
            vision=vectors[toward_vision] if across or toward_vision == "vision" else None,
            audio=vectors[toward_audio] if across or toward_audio == "audio" else None,
            # Moments of one file are alike. They would raise the scores of unrelated
            # moments, and hits would look less unusual than they are.
            allowed=sample.file[queries][:, None] != sample.file[None, :],
        )

    texts = Background(vision=texts_toward_vision, audio=texts_toward_audio, allowed=all_allowed)
    return Calibration(
        text=measure(sample, texts),
        vision=measure(sample, among(vision, "vision", "vision")),
        audio=measure(sample, among(audio, "audio", "audio")),
        # A query with both compares its picture with vision and its sound with audio.
        both=measure(sample, among(vision & audio, "vision", "audio")),
    )


def evenly(count: int, most: int) -> Int[np.ndarray, " row"]:
    """At most so many of `count` rows, as far apart as possible."""
    size = min(count, most)
    # In integers: rounding cannot repeat a row.
    return (np.arange(size, dtype=np.int64) * count) // max(1, size)
