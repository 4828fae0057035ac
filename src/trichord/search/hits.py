"""Scored rows as hits, whose scores are explained by part and modality."""

from typing import Any

import numpy as np

from trichord.search.gallery import Gallery
from trichord.search.query_plan import Rows, ScoredRows
from trichord.types import Hit
from trichord.types.arrays import Float

Parts = tuple[tuple[float | None, float | None], ...]


def hits_of(scored: ScoredRows, gallery: Gallery) -> list[Hit]:
    """One hit for each row, in their order; `score` is exactly `visual` + `audio`."""
    rows, (visual, audio) = scored.rows, scored.totals
    columns = zip(
        gallery.moments_of(rows),
        (visual + audio).tolist(),
        numbers(gallery.has_vision[rows], visual),
        numbers(gallery.has_audio[rows], audio),
        _tags(rows, gallery),
        _parts(scored),
        strict=True,
    )
    return [
        Hit(moment=moment, score=score, visual=seen, audio=heard, tags=tags, parts=parts)
        for moment, score, seen, heard, tags, parts in columns
    ]


def _parts(scored: ScoredRows) -> list[Parts]:
    """What each part of the query adds to each row's score, as pairs of visual and audio."""
    visual, audio = (
        numbers(~np.isnan(scores), scores) for scores in (scored.vision.T, scored.audio.T)
    )
    return [tuple(zip(*pair, strict=True)) for pair in zip(visual, audio, strict=True)]


def numbers(present: np.ndarray, values: Float[np.ndarray, "..."]) -> list[Any]:
    """Values as Python numbers; None if not present."""
    result = values.astype(object)
    result[~present] = None
    return result.tolist()


def _tags(rows: Rows, gallery: Gallery) -> list[tuple[str, ...]]:
    by_row: list[list[str]] = [[] for _ in rows]
    for tag, tagged in gallery.tags.items():  # its rows are sorted
        at = np.searchsorted(tagged, rows).clip(max=len(tagged) - 1)
        for place in np.flatnonzero(tagged[at] == rows).tolist():
            by_row[place].append(tag)
    return [tuple(tags) for tags in by_row]
