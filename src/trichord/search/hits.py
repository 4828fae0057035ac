"""Scored rows as hits, with the explanation of their scores."""

from typing import Any

import numpy as np

from trichord.search.gallery import Gallery
from trichord.search.query_plan import Rows, ScoredRows
from trichord.types import Hit
from trichord.types.arrays import Float

Parts = tuple[tuple[float | None, float | None], ...]


def hits_of(settled: ScoredRows, gallery: Gallery) -> list[Hit]:
    """A hit a row, in their order; `score` is `visual` + `audio` exactly."""
    rows, (seen, heard) = settled.rows, settled.totals
    columns = zip(
        gallery.moments_of(rows),
        (seen + heard).tolist(),
        numbers(gallery.has_vision[rows], seen),
        numbers(gallery.has_audio[rows], heard),
        _tags(rows, gallery),
        _parts(settled),
        strict=True,
    )
    return [
        Hit(moment=moment, score=score, visual=visual, audio=audio, tags=tags, parts=parts)
        for moment, score, visual, audio, tags, parts in columns
    ]


def _parts(settled: ScoredRows) -> list[Parts]:
    """What each part of the query gave to each row, as pairs of visual and audio."""
    visual, audio = (numbers(~np.isnan(one), one) for one in (settled.vision.T, settled.audio.T))
    return [tuple(zip(*pair, strict=True)) for pair in zip(visual, audio, strict=True)]


def numbers(there: np.ndarray, values: Float[np.ndarray, "..."]) -> list[Any]:
    """Values as numbers of Python's, None where there are none."""
    found = values.astype(object)
    found[~there] = None
    return found.tolist()


def _tags(rows: Rows, gallery: Gallery) -> list[tuple[str, ...]]:
    found: list[list[str]] = [[] for _ in rows]
    for tag, tagged in gallery.tags.items():  # whose rows are sorted
        at = np.searchsorted(tagged, rows).clip(max=len(tagged) - 1)
        for place in np.flatnonzero(tagged[at] == rows).tolist():
            found[place].append(tag)
    return [tuple(tags) for tags in found]
