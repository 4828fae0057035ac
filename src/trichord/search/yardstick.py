"""The scales of a collection's scores, measured on its own moments for each kind of query."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trichord.models.yardstick import Background, Scale, Yardstick, measure
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


def calibrate(
    gallery: Gallery,
    texts_toward_sight: Float[np.ndarray, "query _"],
    texts_toward_sound: Float[np.ndarray, "query _"],
    *,
    comparable: frozenset[Pair],
) -> Calibration:
    """Measure a collection with background queries.

    Those for text are given; for pictures and sounds they are moments of the collection, each
    against the moments of all other files.
    """
    some = thinned(gallery, MOMENTS)
    sight, sound = some.has_vision, some.has_audio
    everywhere = np.ones((len(texts_toward_sight), len(some)), bool)

    def among(
        rows: Bool[np.ndarray, " moment"], toward_sight: Toward, toward_sound: Toward
    ) -> Background:
        chosen = np.flatnonzero(rows)[evenly(int(rows.sum()), QUERIES)]
        vectors = {"vision": some.vision[chosen], "audio": some.audio[chosen]}
        across = compares(comparable, "audio", "vision")
        return Background(
            sight=vectors[toward_sight] if across or toward_sight == "vision" else None,
            sound=vectors[toward_sound] if across or toward_sound == "audio" else None,
            allowed=some.file[chosen][:, None] != some.file[None, :],
        )

    texts = Background(sight=texts_toward_sight, sound=texts_toward_sound, allowed=everywhere)
    return Calibration(
        text=measure(some, texts),
        vision=measure(some, among(sight, "vision", "vision")),
        audio=measure(some, among(sound, "audio", "audio")),
        both=measure(some, among(sight & sound, "vision", "audio")),
    )


def thinned(gallery: Gallery, most: int) -> Gallery:
    """At most so many moments, evenly chosen."""
    return gallery.take(evenly(len(gallery), most))


def evenly(count: int, most: int) -> Int[np.ndarray, " kept"]:
    """At most so many rows of a count, as far apart as they can be."""
    kept = min(count, most)
    return (np.arange(kept, dtype=np.int64) * count) // max(1, kept)
