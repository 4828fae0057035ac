"""All moments of a collection in memory, as columns: the data that is searched."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from trichord.search.entries import encode_texts
from trichord.types import Moment
from trichord.types.arrays import Bool, Float, Int, Num

Vectors = Float[np.ndarray, "moment _"]
Rows = Int[np.ndarray, " _"]

SPAN = ("file", "mtime_ns", "duration", "start", "end", "speech", "tags", "caption")
"""Columns of the table that a gallery keeps beside the vectors."""
NEAR = 1e-3
"""Tolerance of a start in seconds: it may have been written as text and parsed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """The moments that have a vector, ordered by file and start, as columns.

    There is no Python object for each moment, so that a million open in seconds.

    Attributes:
        files: Paths of the files, sorted.
        mtime_ns: Time of each file's last change, in nanoseconds since 1970.
        duration: Length of each file in seconds; if unknown, the end of its last moment.
        file: Index of each moment's file in `files`.
        start: Start of each moment in seconds.
        end: End of each moment in seconds.
        speech: Share of each moment with speech; nan if not measured.
        vision: Unit vectors, zero in rows where `has_vision` is False.
        has_vision: Which moments have vision.
        audio: Unit vectors, zero in rows where `has_audio` is False.
        has_audio: Which moments have audio.
        tags: The rows of each tag, ascending; the tags are sorted.
        captions: The caption of each moment, an Arrow array with nulls; None without any caption.
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
    captions: Any = None

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
        """A gallery of moments in order of file and start, without other columns."""
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
        """All moments as objects: for small galleries."""
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
        """The rows of a file, by time; empty if there is no such file."""
        place = bisect_left(self.files, file)
        if place == len(self.files) or self.files[place] != file:
            return slice(0, 0)
        first, last = np.searchsorted(self.file, [place, place + 1])
        return slice(int(first), int(last))

    def row_of(self, file: str, start: float) -> int | None:
        """The row of a file's moment by its start (seconds); None if there is none."""
        rows = self.rows_of(file)
        distance = np.abs(self.start[rows] - start)
        if not len(distance) or distance.min() > NEAR:
            return None
        return rows.start + int(distance.argmin())

    def row_at(self, file: str, seconds: float) -> int | None:
        """The row of a file's moment that starts at a time, or else of the last one that contains it."""
        row, rows = self.row_of(file, seconds), self.rows_of(file)
        if row is None:
            within = np.flatnonzero((self.start[rows] <= seconds) & (seconds < self.end[rows]))
            row = rows.start + int(within[-1]) if len(within) else None
        return row

    def tagged(self, tag: str) -> Bool[np.ndarray, " moment"]:
        """Which moments have a tag."""
        mask = np.zeros(len(self), bool)
        mask[self.tags.get(tag, [])] = True
        return mask

    def take(self, rows: Rows) -> "Gallery":
        """Some of the moments, by ascending rows. All files stay, so that their indices do not change."""
        by_moment = ("file", "start", "end", "speech", "vision", "has_vision", "audio", "has_audio")
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in by_moment}
        tags = {tag: np.flatnonzero(self.tagged(tag)[rows]) for tag in self.tags}
        captions = None if self.captions is None else self.captions.take(pa.array(rows))
        return replace(self, **columns, tags=tags, captions=captions)


class Column:
    """A vector column that is filled batch by batch, in its final memory."""

    def __init__(self, rows: int, dim: int) -> None:
        self.vectors = np.zeros((rows, dim), np.float32)
        self.present = np.zeros(rows, bool)

    def fill(self, at: int, vectors: Vectors, present: Bool[np.ndarray, " moment"]) -> None:
        """Copy a batch to its place."""
        self.vectors[at : at + len(vectors)] = vectors
        self.present[at : at + len(vectors)] = present

    def order(self, rows: Rows | None, count: int) -> None:
        """Order the rows (None: they are in order), and drop the rest."""
        order = slice(count) if rows is None else rows
        self.vectors, self.present = self.vectors[order], self.present[order]


def gather(
    batches: Iterable[Any],
    count: int,
    dims: tuple[int, int, int],
    to_audio: Callable[[Vectors], Vectors],
) -> Gallery:
    """Make a gallery of a table's rows.

    Vectors are copied to their final memory batch by batch, so that they are never in memory twice,
    unless the table's rows are out of order.

    Args:
        batches: Arrow tables with the columns of `SPAN`, `vision` and `audio`; at least one.
        count: The largest number of rows in all of them.
        dims: Size of a vision vector, of a stored audio vector, and of a gallery's audio vector.
        to_audio: Turns stored audio vectors into those of the gallery.
    """
    vision_column, audio_column = Column(count, dims[0]), Column(count, dims[2])
    spans: list[Any] = []
    at = 0
    for batch in batches:
        vision, audio = (
            _matrix(batch[n], d) for n, d in zip(("vision", "audio"), dims, strict=False)
        )
        findable = vision[1] | audio[1]
        vision_column.fill(at, vision[0][findable], vision[1][findable])
        audio_column.fill(at, to_audio(audio[0][findable]), audio[1][findable])
        spans.append(batch.select(list(SPAN)).filter(pa.array(findable)))
        at += int(findable.sum())
    return _assemble(pa.concat_tables(spans).combine_chunks(), vision_column, audio_column)


def _assemble(spans: Any, vision_column: Column, audio_column: Column) -> Gallery:
    files, file = encode_texts(spans["file"])
    start, end = _numbers(spans["start"], np.float64), _numbers(spans["end"], np.float64)
    order = np.lexsort((start, file))
    in_order = bool((np.diff(order) == 1).all())
    for column in (vision_column, audio_column):
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
        vision=vision_column.vectors,
        has_vision=vision_column.present,
        audio=audio_column.vectors,
        has_audio=audio_column.present,
        tags=_tags(spans["tags"], order),
        captions=_captions(spans["caption"], order),
    )


def _tags(column: Any, order: Rows) -> dict[str, Rows]:
    """The rows of each tag, after ordering."""
    lists = column.combine_chunks()
    if not len(lists.flatten()):
        return {}
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    names, codes = encode_texts(pa.chunked_array([lists.flatten()]))
    rows = place[lists.value_parent_indices().to_numpy()]
    return {name: np.unique(rows[codes == i]) for i, name in enumerate(names)}


def _captions(column: Any, order: Rows) -> Any:
    """The captions, after ordering; see `Gallery`."""
    if column.null_count == len(column):
        return None
    # Large strings: all of them in one array may exceed 2 GiB.
    return column.cast(pa.large_string()).combine_chunks().take(pa.array(order))


def _numbers(column: Any, kind: type[Any]) -> Num[np.ndarray, " _"]:
    """A column of numbers, nan where null."""
    return column.combine_chunks().to_numpy(zero_copy_only=False).astype(kind, copy=False)


def _last(
    end: Float[np.ndarray, " moment"], file: Int[np.ndarray, " moment"], files: int
) -> Float[np.ndarray, " file"]:
    """The end of each file's last moment."""
    last = np.zeros(files)
    np.maximum.at(last, file, end)
    return last


def _matrix(column: Any, dim: int) -> tuple[Vectors, Bool[np.ndarray, " moment"]]:
    """Rows of a vector column, zero if null or not finite, and which rows are valid.

    One row of NaN would make the mean of all vectors NaN, and with it every score.
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
