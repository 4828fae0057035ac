"""One scene, one hit: hits of one stretch of a file, and near-copies, folded into the best of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trichord.search.gallery import Gallery
from trichord.types import Hit, Moment
from trichord.types.arrays import Bool, Int

COPY_FROM = 0.97
"""Moments are copies if the cosine of their pictures and that of their sounds is at least this. Equal
files have equal vectors, and re-encoded ones nearly so; see `studies/answers.py`."""
COMPARED = 1000
"""Hits that others are compared with as copies: with all of them, the time would grow as their square."""
ROUNDING = 1e-3
"""Times closer than this, in seconds, are equal: they are sums of fractions."""


def fold(
    hits: Sequence[Hit], gallery: Gallery, k: int, *, adjoining: bool, copies: bool = True
) -> tuple[list[Hit], bool]:
    """The first hit of each of the first `k` scenes, and whether further hits would change nothing.

    A hit is of the scene of a better one if their times in the file overlap, or adjoin in a collection
    that is cut into windows: shots that adjoin are different scenes. It is compared with the first hit of
    a scene only, so that a scene does not grow along a whole file.

    Args:
        hits: Best first.
        gallery: The moments, for their vectors.
        k: How many scenes.
        adjoining: Whether moments that adjoin are of one scene.
        copies: Whether copies are folded.
    """
    scenes: list[list[int]] = []
    by_file: dict[str, list[int]] = {}
    found = _Copies(hits, gallery)
    complete = False
    for i, hit in enumerate(hits):
        own = by_file.setdefault(hit.moment.file, [])
        gap = ROUNDING if adjoining else -ROUNDING
        near = (s for s in own if _meets(hit.moment, hits[scenes[s][0]].moment, gap))
        place = next(near, found.scene[i])
        if place >= 0:
            scenes[place].append(i)
            continue
        if complete := len(scenes) == k:
            break
        own.append(len(scenes))
        if copies:
            found.mark(i, len(scenes))
        scenes.append([i])
    folded = [
        replace(hits[first], more=tuple(hits[i] for i in others)) for first, *others in scenes
    ]
    return folded, complete


def _meets(one: Moment, other: Moment, gap: float) -> bool:
    return one.start <= other.end + gap and one.end >= other.start - gap


class _Copies:
    """Which hits are copies of the first hit of a scene.

    Attributes:
        scene: The scene that each hit is a copy of; -1: of none so far.
    """

    scene: Int[np.ndarray, " hit"]

    def __init__(self, hits: Sequence[Hit], gallery: Gallery) -> None:
        self.scene = np.full(len(hits), -1)
        found = [gallery.row_of(hit.moment.file, hit.moment.start) for hit in hits]
        self._rows = np.array([-1 if row is None else row for row in found], np.int64)
        # Taken once: `mark` then reads memory sequentially.
        self._sides = [
            (vectors[self._rows], has[self._rows])
            for vectors, has in (
                (gallery.vision, gallery.has_vision),
                (gallery.audio, gallery.has_audio),
            )
        ]

    def mark(self, first: int, scene: int) -> None:
        """Mark the copies of the first hit of a scene."""
        if scene >= COMPARED:
            return
        alike: Bool[np.ndarray, " hit"] = self.scene < 0
        for vectors, has in self._sides:
            alike &= has == has[first]
            if has[first]:
                alike &= vectors @ vectors[first] >= COPY_FROM
        self.scene[alike] = scene
