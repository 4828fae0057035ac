"""Scored rows as hits, by file, and along the time of a file; scores are explained by part and modality."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from trichord.models.calibration import BestScores
from trichord.search.gallery import Gallery
from trichord.search.query_plan import QueryPlan, Rows, ScoredRows
from trichord.types import FoundText, Hit, UserError
from trichord.types.arrays import Float, Int

WEAK_FROM = 0.5
"""A hit is weak if a best score as high as its own is at least this likely among unrelated moments."""
EACH = 5
"""Moments of a file in a group."""

Numbers = Int[np.ndarray, " _"]
Values = tuple[float | None, ...]
Parts = tuple[tuple[float | None, float | None], ...]


@dataclass(frozen=True, slots=True)
class FileHits:
    """The hits of a file, best first."""

    file: str
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityTimeline:
    """The scores of a file's moments, in order of time: those that its hits would have.

    `visual` and `audio` are None if a moment lacks the modality, `score` if it has no modality that the
    query compares. `start` and `end` are seconds into the file. `texts` are all its lines that have words
    of the query, by time.
    """

    file: str
    start: tuple[float, ...]
    end: tuple[float, ...]
    visual: Values
    audio: Values
    score: Values
    texts: tuple[FoundText, ...] = ()


def hits_of(scored: ScoredRows, gallery: Gallery) -> list[Hit]:
    """One hit for each row, in their order; `score` is exactly `visual` + `audio`."""
    rows, (visual, audio) = scored.rows, scored.totals
    captions = None if gallery.captions is None else gallery.captions.take(pa.array(rows))
    columns = zip(
        gallery.moments_of(rows),
        (visual + audio).tolist(),
        numbers(gallery.has_vision[rows], visual),
        numbers(gallery.has_audio[rows], audio),
        _tags(rows, gallery),
        _parts(scored),
        [None] * len(rows) if captions is None else captions.to_pylist(),
        scored.demoted.tolist(),
        strict=True,
    )
    return [
        Hit(
            moment=moment,
            score=score,
            visual=seen,
            audio=heard,
            tags=tags,
            parts=parts,
            caption=caption,
            demoted=demoted,
        )
        for moment, score, seen, heard, tags, parts, caption, demoted in columns
    ]


def with_chances(hits: Sequence[Hit], best: BestScores, moments: int) -> list[Hit]:
    """The hits with their chances.

    Args:
        hits: Hits of one query.
        best: How high the best score is where nothing fits.
        moments: How many moments were searched.
    """
    chances = best.chance(np.array([hit.score for hit in hits]), moments).tolist()
    return [
        replace(hit, chance=chance, weak=chance >= WEAK_FROM)
        for hit, chance in zip(hits, chances, strict=True)
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


def group_by_file(hits: Sequence[Hit], k: int, each: int = EACH) -> list[FileHits]:
    """Group hits by file, in the order of each file's best hit.

    Args:
        hits: Best first.
        k: The largest number of files.
        each: The largest number of moments of each.
    """
    by_file: dict[str, list[Hit]] = {}
    for hit in hits:
        by_file.setdefault(hit.moment.file, []).append(hit)
    return [FileHits(file, tuple(own[:each])) for file, own in list(by_file.items())[:k]]


def leading(files: Numbers, k: int, each: int = EACH) -> Numbers:
    """Places of the first `each` moments of the first `k` files.

    Args:
        files: The file of each moment, best moment first.
        k: How many files.
        each: How many moments of each.
    """
    _, first, code = np.unique(files, return_index=True, return_inverse=True)
    order = np.argsort(code, kind="stable")
    place = np.empty(len(files), np.int64)
    place[order] = np.arange(len(files)) - np.searchsorted(code[order], code[order])
    rank = np.argsort(np.argsort(first))
    return np.flatnonzero((rank[code] < k) & (place < each))


def timeline_over(file: str, plan: QueryPlan, gallery: Gallery) -> SimilarityTimeline:
    """The similarity timeline of a query over a file.

    Raises:
        UserError: The gallery has no moments of the file.
    """
    span = gallery.rows_of(file)
    rows = np.arange(span.start, span.stop)
    if not len(rows):
        raise UserError(f"{file}: the archive has no moments of such a file: check the path.")
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
