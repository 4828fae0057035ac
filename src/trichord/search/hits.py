"""Settled moments as hits, with the explanation of their scores."""

import math

import numpy as np
from jaxtyping import Float

from trichord.search.combination import Given, Rows, Settled
from trichord.search.gallery import Gallery
from trichord.types import Hit

Parts = tuple[tuple[float | None, float | None], ...]


def hits_of(settled: Settled, gallery: Gallery) -> list[Hit]:
    """A hit a row, in their order; `score` is `sight` + `sound` exactly."""
    seen, heard = settled.totals
    sight = _where(gallery.has_vision[settled.rows], seen)
    sound = _where(gallery.has_audio[settled.rows], heard)
    return [
        Hit(
            moment=gallery.moment(int(row)),
            score=float(seen[i] + heard[i]),
            sight=sight[i],
            sound=sound[i],
            tags=tags,
            parts=parts,
        )
        for i, (row, tags, parts) in enumerate(
            zip(settled.rows, _tags(settled.rows, gallery), _parts(settled), strict=True)
        )
    ]


def _parts(settled: Settled) -> list[Parts]:
    """What each part of the query gave to each row, as pairs of sight and sound."""
    sights, sounds = _rows(settled.sight), _rows(settled.sound)
    return [tuple(zip(*pair, strict=True)) for pair in zip(sights, sounds, strict=True)]


def _rows(given: Given) -> list[tuple[float | None, ...]]:
    return [tuple(None if math.isnan(one) else one for one in row) for row in given.T.tolist()]


def _where(there: np.ndarray, values: Float[np.ndarray, " row"]) -> list[float | None]:
    return [
        value if has else None for value, has in zip(values.tolist(), there.tolist(), strict=True)
    ]


def _tags(rows: Rows, gallery: Gallery) -> list[tuple[str, ...]]:
    found: list[list[str]] = [[] for _ in rows]
    for tag, tagged in gallery.tags.items():  # whose rows are sorted
        at = np.searchsorted(tagged, rows).clip(max=len(tagged) - 1)
        for place in np.flatnonzero(tagged[at] == rows).tolist():
            found[place].append(tag)
    return [tuple(tags) for tags in found]
