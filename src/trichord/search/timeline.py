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
    """The scores of a file's moments, in order of time: those that its hits would have.

    `visual` and `audio` are None if a moment lacks the modality, `score` if it has no modality that the
    query compares. `start` and `end` are seconds into the file.
    """

    file: str
    start: tuple[float, ...]
    end: tuple[float, ...]
    visual: Values
    audio: Values
    score: Values


def timeline_over(file: str, plan: QueryPlan, gallery: Gallery) -> SimilarityTimeline:
    """The similarity timeline of a query over a file.

    Raises:
        UserError: The gallery has no moments of the file.
    """
    span = gallery.rows_of(file)
    rows = np.arange(span.start, span.stop)
    if not len(rows):
        raise UserError(f"{file}: the collection has no moments of such a file: check the path.")
    visual, audio = plan.score(gallery, rows).totals
    has_vision, has_audio = gallery.has_vision[rows], gallery.has_audio[rows]
    shares = plan.shares(has_vision, has_audio)
    return SimilarityTimeline(
        file=file,
        start=tuple(gallery.start[rows].tolist()),
        end=tuple(gallery.end[rows].tolist()),
        visual=tuple(numbers(has_vision, visual)),
        audio=tuple(numbers(has_audio, audio)),
        score=tuple(numbers((shares[0] > 0) | (shares[1] > 0), visual + audio)),
    )
