"""The scales of a collection's scores, measured on its own moments for each kind of query."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trichord.models.calibration import Background, CosineScale, QueryCalibration, measure
from trichord.search.gallery import Gallery
from trichord.types.arrays import Bool, Float, Int
from trichord.types.comparable import Pair, compares

Kind = Literal["text", "vision", "audio", "both"]
"""What a query is made of: words, a picture, a sound, or picture and sound."""
Toward = Literal["vision", "audio"]

DECIMALS = 6
"""Scores are rounded to these: beyond, they depend on where among its like a moment stands."""
QUERIES = 256
MOMENTS = 4096
"""At most so many background queries and moments are measured: two digits of a spread."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The yardstick of each kind of query."""

    text: QueryCalibration
    vision: QueryCalibration
    audio: QueryCalibration
    both: QueryCalibration

    def of_kind(self, kind: Kind) -> QueryCalibration:
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
        sticks: dict[str, QueryCalibration] = {}
        for kind, stick in stored.items():
            vision, audio = CosineScale(**stick["vision"]), CosineScale(**stick["audio"])
            sticks[kind] = QueryCalibration(vision, audio, float(stick["agreement"]))
            # Not `<= 0`: that would let NaN pass, which Python's JSON reads.
            if not (vision.spread > 0 and audio.spread > 0):
                raise ValueError("a spread of no size")
        return cls(**sticks)


def calibrate(
    gallery: Gallery,
    texts_toward_vision: Float[np.ndarray, "query _"],
    texts_toward_audio: Float[np.ndarray, "query _"],
    *,
    comparable: frozenset[Pair],
) -> Calibration:
    """Measure a collection with background queries.

    Those for text are given; for pictures and sounds they are moments of the collection, each
    against the moments of all other files.
    """
    # Thinned first: queries and moments are compared all with all.
    some = thinned(gallery, MOMENTS)
    vision, audio = some.has_vision, some.has_audio
    everywhere = np.ones((len(texts_toward_vision), len(some)), bool)

    def among(
        rows: Bool[np.ndarray, " moment"], toward_vision: Toward, toward_audio: Toward
    ) -> Background:
        chosen = np.flatnonzero(rows)[evenly(int(rows.sum()), QUERIES)]
        vectors = {"vision": some.vision[chosen], "audio": some.audio[chosen]}
        # A text has a vector toward each side always; a picture can
        # be compared with sounds only where the two share a space.
        across = compares(comparable, "audio", "vision")
        return Background(
            vision=vectors[toward_vision] if across or toward_vision == "vision" else None,
            audio=vectors[toward_audio] if across or toward_audio == "audio" else None,
            # Moments of one file resemble one another. They would pass for what an
            # unrelated moment scores, and hits would look less unusual than they are.
            allowed=some.file[chosen][:, None] != some.file[None, :],
        )

    texts = Background(vision=texts_toward_vision, audio=texts_toward_audio, allowed=everywhere)
    return Calibration(
        text=measure(some, texts),
        vision=measure(some, among(vision, "vision", "vision")),
        audio=measure(some, among(audio, "audio", "audio")),
        # A query with both is compared side by side: its picture
        # with what is seen, its sound with what is heard.
        both=measure(some, among(vision & audio, "vision", "audio")),
    )


def thinned(gallery: Gallery, most: int) -> Gallery:
    """At most so many moments, evenly chosen."""
    # Moments are ordered by file and start, so that even steps spread over
    # the files. Nothing is drawn: the same collection gets the same scales.
    return gallery.take(evenly(len(gallery), most))


def evenly(count: int, most: int) -> Int[np.ndarray, " kept"]:
    """At most so many rows of a count, as far apart as they can be."""
    kept = min(count, most)
    # In whole numbers: no row comes twice by rounding.
    return (np.arange(kept, dtype=np.int64) * count) // max(1, kept)
