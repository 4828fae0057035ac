"""How well a query fits a file, moment by moment."""

from dataclasses import dataclass

import numpy as np

from trichord.search.gallery import Gallery
from trichord.search.hits import numbers
from trichord.search.query_plan import QueryPlan
from trichord.types import UserError

Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityTimeline:
    """A value a moment of a file, in order of time: what a hit would say.

    `visual` and `audio` are None where a moment lacks the modality, `score` where it has nothing of
    what is asked for. `start` and `end` are seconds into the file.
    """

    file: str
    start: tuple[float, ...]
    end: tuple[float, ...]
    visual: Values
    audio: Values
    score: Values


def timeline_over(file: str, combined: QueryPlan, gallery: Gallery) -> SimilarityTimeline:
    """The similarity timeline of a query over a file.

    Raises:
        UserError: The gallery has nothing of the file.
    """
    span = gallery.rows_of(file)
    rows = np.arange(span.start, span.stop)
    if not len(rows):
        raise UserError(f"{file}: the collection has no moments of such a file: check the path.")
    seen, heard = combined.settle(gallery, rows).totals
    has_vision, has_audio = gallery.has_vision[rows], gallery.has_audio[rows]
    visual, audio = combined.shares(has_vision, has_audio)
    return SimilarityTimeline(
        file=file,
        start=tuple(gallery.start[rows].tolist()),
        end=tuple(gallery.end[rows].tolist()),
        visual=tuple(numbers(has_vision, seen)),
        audio=tuple(numbers(has_audio, heard)),
        score=tuple(numbers((visual > 0) | (audio > 0), seen + heard)),
    )
