"""All moments of a collection in memory, a column each: what is searched."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from trichord.search.entries import coded
from trichord.types import Moment
from trichord.types.arrays import Bool, Float, Int, Num

Vectors = Float[np.ndarray, "moment _"]
Rows = Int[np.ndarray, " _"]

SPAN = ("file", "mtime_ns", "duration", "start", "end", "speech", "tags")
"""Columns of a table that a gallery keeps, beside the vectors."""
NEAR = 1e-3
"""Seconds by which a start may be missed: it may have been written down and read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """The moments that have a vector, ordered by file and start, as columns.

    There is no Python object a moment, so that a million open in seconds.

    Attributes:
        files: Paths of the files, sorted.
        mtime_ns: When each file was last changed, in nanoseconds since 1970.
        duration: Seconds of each file; where unknown, the end of its last moment here.
        file: Which of `files` each moment is of.
        start: Of each moment, in seconds.
        end: Of each moment, in seconds.
        speech: Share of each moment in which somebody speaks; nan where that was not measured.
        vision: Unit vectors, zero in rows where `has_vision` is False.
        has_vision: Which moments have a picture.
        audio: Unit vectors, zero in rows where `has_audio` is False.
        has_audio: Which moments have a sound.
        tags: For each tag the rows that have it, ascending; the tags are sorted.
    """

    files: tuple[str, ...]
    mtime_ns: Int[np.ndarray, " file"]
    duration: Float[np.ndarray, " file"]
    file: Int[np.ndarray, " moment"]
    start: Float[np.ndarray, " moment"]
    end: Float[np.ndarray, " moment"]
    speech: Float[np.ndarray, " moment"]
    vision: Vectors
    has_vision: Bool[np.ndarray, " moment"]
    audio: Vectors
    has_audio: Bool[np.ndarray, " moment"]
    tags: dict[str, Rows]

    def __len__(self) -> int:
        return len(self.file)

    @classmethod
    def of(
        cls,
        moments: Sequence[Moment],
        *,
        vision: Vectors,
        has_vision: Bool[np.ndarray, " moment"],
        audio: Vectors,
        has_audio: Bool[np.ndarray, " moment"],
    ) -> "Gallery":
        """A gallery of a few moments, in order of file and start, of which nothing else is known."""
        files = sorted({moment.file for moment in moments})
        place = {file: i for i, file in enumerate(files)}
        file = np.array([place[moment.file] for moment in moments], np.int32)
        end = np.array([moment.end for moment in moments], np.float64)
        return cls(
            files=tuple(files),
            mtime_ns=np.zeros(len(files), np.int64),
            duration=_last(end, file, len(files)),
            file=file,
            start=np.array([moment.start for moment in moments], np.float64),
            end=end,
            speech=np.full(len(file), np.nan, np.float32),
            vision=vision,
            has_vision=has_vision,
            audio=audio,
            has_audio=has_audio,
            tags={},
        )

    @property
    def moments(self) -> tuple[Moment, ...]:
        """An object a moment: for small uses."""
        return tuple(self.moments_of(np.arange(len(self))))

    def moment(self, row: int) -> Moment:
        """The moment of a row."""
        return self.moments_of(np.array([row]))[0]

    def moments_of(self, rows: Rows) -> list[Moment]:
        """The moments of some rows, in their order."""
        columns = (one[rows].tolist() for one in (self.file, self.start, self.end))
        return [
            Moment(file=self.files[file], start=start, end=end)
            for file, start, end in zip(*columns, strict=True)
        ]

    def rows_of(self, file: str) -> slice:
        """The rows of a file, by time; none where it is unknown."""
        place = bisect_left(self.files, file)
        if place == len(self.files) or self.files[place] != file:
            return slice(0, 0)
        first, last = np.searchsorted(self.file, [place, place + 1])
        return slice(int(first), int(last))

    def row_of(self, file: str, start: float) -> int | None:
        """The row of the moment of a file that starts there (seconds); None where none does."""
        rows = self.rows_of(file)
        apart = np.abs(self.start[rows] - start)
        if not len(apart) or apart.min() > NEAR:
            return None
        return rows.start + int(apart.argmin())

    def tagged(self, tag: str) -> Bool[np.ndarray, " moment"]:
        """Which moments have a tag."""
        mask = np.zeros(len(self), bool)
        mask[self.tags.get(tag, [])] = True
        return mask

    def take(self, rows: Rows) -> "Gallery":
        """Some of the moments: their rows, ascending. All files stay, so that numbers keep."""
        return Gallery(
            files=self.files,
            mtime_ns=self.mtime_ns,
            duration=self.duration,
            file=self.file[rows],
            start=self.start[rows],
            end=self.end[rows],
            speech=self.speech[rows],
            vision=self.vision[rows],
            has_vision=self.has_vision[rows],
            audio=self.audio[rows],
            has_audio=self.has_audio[rows],
            tags={tag: np.flatnonzero(self.tagged(tag)[rows]) for tag in self.tags},
        )


class Column:
    """A vector column that is filled portion by portion, where it will stay."""

    def __init__(self, rows: int, dim: int) -> None:
        self.vectors = np.zeros((rows, dim), np.float32)
        self.present = np.zeros(rows, bool)

    def fill(self, at: int, vectors: Vectors, present: Bool[np.ndarray, " moment"]) -> None:
        """Put a portion in its place."""
        self.vectors[at : at + len(vectors)] = vectors
        self.present[at : at + len(vectors)] = present

    def order(self, rows: Rows | None, count: int) -> None:
        """Bring the rows into this order (None: they are in order already), and drop the rest."""
        chosen = slice(count) if rows is None else rows
        self.vectors, self.present = self.vectors[chosen], self.present[chosen]


def gather(
    portions: Iterable[Any],
    count: int,
    dims: tuple[int, int, int],
    hear: Callable[[Vectors], Vectors],
) -> Gallery:
    """Make a gallery of a table's rows.

    Vectors are written where they stay, a portion at a time: at no time are they in memory twice,
    unless the table holds its rows out of order.

    Args:
        portions: Arrow tables with the columns of `SPAN`, `vision` and `audio`; one at least.
        count: Of rows in all of them, at most.
        dims: Of a sight vector, of a sound vector as stored, and as heard.
        hear: Makes sound vectors of stored ones.
    """
    seen, heard = Column(count, dims[0]), Column(count, dims[2])
    spans: list[Any] = []
    at = 0
    for portion in portions:
        vision, audio = (
            _matrix(portion[n], d) for n, d in zip(("vision", "audio"), dims, strict=False)
        )
        kept = vision[1] | audio[1]
        seen.fill(at, vision[0][kept], vision[1][kept])
        heard.fill(at, hear(audio[0][kept]), audio[1][kept])
        spans.append(portion.select(list(SPAN)).filter(pa.array(kept)))
        at += int(kept.sum())
    return _assembled(pa.concat_tables(spans).combine_chunks(), seen, heard)


def _assembled(spans: Any, seen: Column, heard: Column) -> Gallery:
    files, file = coded(spans["file"])
    start, end = _numbers(spans["start"], np.float64), _numbers(spans["end"], np.float64)
    order = np.lexsort((start, file))
    in_order = bool((np.diff(order) == 1).all())
    for column in (seen, heard):
        column.order(None if in_order else order, len(order))
    file, start, end = file[order], start[order], end[order]
    first = np.searchsorted(file, np.arange(len(files)))
    duration = _numbers(spans["duration"], np.float64)[order][first]
    return Gallery(
        files=files,
        mtime_ns=_numbers(spans["mtime_ns"], np.int64)[order][first],
        duration=np.where(np.isnan(duration), _last(end, file, len(files)), duration),
        file=file,
        start=start,
        end=end,
        speech=_numbers(spans["speech"], np.float32)[order],
        vision=seen.vectors,
        has_vision=seen.present,
        audio=heard.vectors,
        has_audio=heard.present,
        tags=_tags(spans["tags"], order),
    )


def _tags(column: Any, order: Rows) -> dict[str, Rows]:
    """For each tag the rows that have it once they are in this order."""
    lists = column.combine_chunks()
    if not len(lists.flatten()):
        return {}
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    names, codes = coded(pa.chunked_array([lists.flatten()]))
    rows = place[lists.value_parent_indices().to_numpy()]
    return {name: np.unique(rows[codes == i]) for i, name in enumerate(names)}


def _numbers(column: Any, kind: type[Any]) -> Num[np.ndarray, " _"]:
    """A column of numbers, nan where null."""
    return column.combine_chunks().to_numpy(zero_copy_only=False).astype(kind, copy=False)


def _last(
    end: Float[np.ndarray, " moment"], file: Int[np.ndarray, " moment"], files: int
) -> Float[np.ndarray, " file"]:
    """Where the last moment of each file ends."""
    last = np.zeros(files)
    np.maximum.at(last, file, end)
    return last


def _matrix(column: Any, dim: int) -> tuple[Vectors, Bool[np.ndarray, " moment"]]:
    """Rows of a vector column, zero where null or not finite, and which are neither.

    One row of NaN would make the means of all, and with them every score, NaN.
    """
    array = column.combine_chunks()
    present = np.asarray(array.is_valid().to_numpy(zero_copy_only=False), bool)
    flat = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(flat @ np.zeros(dim, np.float32))  # a product: one pass, no copy
    if present.all() and finite.all():
        return flat, present
    matrix = np.zeros((len(present), dim), np.float32)
    present[present] = finite
    matrix[present] = flat[finite]
    return matrix, present
