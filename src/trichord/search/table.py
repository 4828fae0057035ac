"""The Lance table of moments: a row a moment, all rows of a file replaced in one transaction."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from trichord.media.probe import Status
from trichord.search.sound_tokens import heard_at
from trichord.types import Moment, UserError

Vector = Float[np.ndarray, " _"]
Vectors = Float[np.ndarray, "moment _"]
_Rows = tuple[Float[np.ndarray, "_ _"], Bool[np.ndarray, " _"]]
"""A portion of a vector column, and which of its rows are not null."""

FRAGMENTS = 64
"""Commits after which their small files are joined; a transaction opens each of them."""
FRAGMENT_ROWS = 16_384
"""A file of that many rows is joined no further, so that joining never rewrites the whole table."""
FILES_AT_ONCE = 500
"""Files named in one filter."""
FINDABLE = "vision IS NOT NULL OR audio IS NOT NULL"
ORDER = [("file", "ascending"), ("start", "ascending")]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVersion:
    """A file as it was when it was read: where, and which bytes.

    `signature` is `file_signature`'s, "" where the file could not be opened.
    """

    file: str
    signature: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A moment with its vectors (unit length, None where it lacks the modality) and its status.

    `audio` holds the vectors at all sound tokens of the collection end to end, in their order.
    """

    moment: Moment
    status: Status
    reason: str = ""
    vision: Vector | None = None
    audio: Vector | None = None

    @property
    def findable(self) -> bool:
        """Whether it has any vector."""
        return self.vision is not None or self.audio is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntries:
    """All moments of a file; a file that cannot be used has one without vectors."""

    version: FileVersion
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """What a table holds of a file: its version, its moments' statuses, how many can be found."""

    version: FileVersion
    statuses: tuple[Status, ...]
    moments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """The moments that have a vector, ordered by file and start: what is searched.

    `vision` and `audio` are zero in rows where `has_vision` and `has_audio` are False.
    """

    moments: tuple[Moment, ...]
    vision: Vectors
    has_vision: Bool[np.ndarray, " moment"]
    audio: Vectors
    has_audio: Bool[np.ndarray, " moment"]

    def __len__(self) -> int:
        return len(self.moments)


class MomentTable:
    """A Lance table of moments."""

    def __init__(
        self, path: Path, vision_dim: int, audio_dim: int, sound_tokens: tuple[float, ...] = ()
    ) -> None:
        """Name a table, which need not be there yet.

        Args:
            path: Its folder.
            vision_dim: Size of a sight vector.
            audio_dim: Size of a sound vector at one sound token.
            sound_tokens: At which each moment has one; empty: it has one in all.
        """
        self.path = path
        self.vision_dim = vision_dim
        self.audio_dim = audio_dim
        self.sound_tokens = sound_tokens
        self.audio_width = audio_dim * max(1, len(sound_tokens))
        self.schema = pa.schema(
            [
                pa.field("id", pa.string(), nullable=False),
                pa.field("file", pa.string(), nullable=False),
                pa.field("signature", pa.string(), nullable=False),
                pa.field("size", pa.int64(), nullable=False),
                pa.field("mtime_ns", pa.int64(), nullable=False),
                pa.field("start", pa.float64(), nullable=False),
                pa.field("end", pa.float64(), nullable=False),
                pa.field("status", pa.string(), nullable=False),
                pa.field("reason", pa.string(), nullable=False),
                pa.field("vision", pa.list_(pa.float32(), vision_dim)),
                pa.field("audio", pa.list_(pa.float32(), self.audio_width)),
            ]
        )

    @property
    def version(self) -> int:
        """Number of the last transaction; 0 before the first."""
        table = self._table
        return 0 if table is None else table.version

    @property
    def _table(self) -> Any:
        # Files but no version: the first transaction was cut off, so there is no table yet.
        if not any(self.path.glob("_versions/*.manifest")):
            return None
        with _plainly(self.path):
            return lance.dataset(str(self.path))

    def put(self, files: Sequence[FileEntries]) -> None:
        """Add files, or replace all that is known of them, in one transaction.

        A reader, or a crash, sees all of these files as they were or all of them as they are now:
        rows of a file that became shorter go in the transaction that brings its new ones.
        """
        if not files:
            return
        rows, table = self._rows(files), self._table
        with _plainly(self.path):
            if table is None:
                lance.write_dataset(rows, str(self.path), mode="create")
                return
            upsert = table.merge_insert("id").when_matched_update_all()
            stale = _among("file", [one.version.file for one in files])
            replace = upsert.when_not_matched_insert_all().when_not_matched_by_source_delete(stale)
            replace.execute(rows)
            if len(table.get_fragments()) >= FRAGMENTS:
                self._join(lance.dataset(str(self.path)))

    def remove(self, files: Sequence[str]) -> None:
        """Delete files; repeated after an interruption it has the same result."""
        if (table := self._table) is not None:
            for i in range(0, len(files), FILES_AT_ONCE):
                table.delete(_among("file", files[i : i + FILES_AT_ONCE]))

    def compact(self) -> None:
        """Join small files and drop replaced and deleted rows from the disk."""
        if (table := self._table) is not None:
            self._join(table)
            table.cleanup_old_versions(older_than=timedelta(0))

    def files(self) -> dict[str, KnownFile]:
        """Every file of the table by its path, in order of path."""
        names = ("file", "signature", "size", "mtime_ns", "start", "status")
        columns = {name: name for name in names} | {"findable": FINDABLE}
        rows = self._read(columns=columns).sort_by(ORDER)
        known: dict[str, KnownFile] = {}
        for file, same in groupby(rows.to_pylist(), key=itemgetter("file")):
            of_file = list(same)
            known[file] = KnownFile(
                version=_version(of_file[0]),
                statuses=tuple(row["status"] for row in of_file),
                moments=sum(row["findable"] for row in of_file),
            )
        return known

    def read(self, files: Sequence[str]) -> list[FileEntries]:
        """All that is known of some files, those that are unknown left out."""
        found: list[FileEntries] = []
        for i in range(0, len(files), FILES_AT_ONCE):
            rows = self._read(filter=_among("file", files[i : i + FILES_AT_ONCE]))
            for _, same in groupby(rows.sort_by(ORDER).to_pylist(), key=itemgetter("file")):
                found.append(_entries(list(same)))
        return found

    def gallery(self, token: float | None = None) -> Gallery:
        """All moments that have a vector, in memory, heard at one sound token.

        Args:
            token: From verbal (0) to nonverbal (1); None: the first that is stored.
        """
        named = ["file", "start", "end"]
        spans: list[Any] = []
        vision: list[_Rows] = []
        audio: list[_Rows] = []
        # A portion at a time: the vectors at all tokens are never in memory together.
        for rows in self._scan(columns=[*named, "vision", "audio"], filter=FINDABLE):
            spans.append(rows.select(named))
            vision.append(_matrix(rows["vision"], self.vision_dim))
            audio.append(self._heard(_matrix(rows["audio"], self.audio_width), token))
        numbered = pa.concat_tables(spans)
        rows_as_read = pa.array(np.arange(len(numbered)))
        numbered = numbered.append_column("row", rows_as_read).sort_by(ORDER)
        order = numbered["row"].to_numpy()
        seen, has_vision = _joined(vision, order)
        heard, has_audio = _joined(audio, order)
        found = zip(*(numbered[name].to_pylist() for name in named), strict=True)
        return Gallery(
            moments=tuple(Moment(file=file, start=start, end=end) for file, start, end in found),
            vision=seen,
            has_vision=has_vision,
            audio=heard,
            has_audio=has_audio,
        )

    def _heard(self, rows: "_Rows", token: float | None) -> "_Rows":
        tokens = self.sound_tokens
        if not tokens:
            return rows
        return heard_at(rows[0], tokens, tokens[0] if token is None else token), rows[1]

    def _scan(self, **options: Any) -> Iterator[Any]:
        """Rows in portions; the first is empty, so that there is one."""
        yield self.schema.empty_table().select(options["columns"])
        if (table := self._table) is not None:
            with _plainly(self.path):
                for batch in table.to_batches(**options):
                    yield pa.Table.from_batches([batch])

    def _read(self, **options: Any) -> Any:
        table = self._table
        if table is None:
            return self.schema.empty_table()
        with _plainly(self.path):
            return table.to_table(**options)

    def _join(self, table: Any) -> None:
        table.optimize.compact_files(
            target_rows_per_fragment=FRAGMENT_ROWS, materialize_deletions_threshold=0.0
        )

    def _rows(self, files: Sequence[FileEntries]) -> Any:
        listed = [
            {
                "id": f"{number}#{one.version.file}",
                "file": one.version.file,
                "signature": one.version.signature,
                "size": one.version.size,
                "mtime_ns": one.version.mtime_ns,
                "start": entry.moment.start,
                "end": entry.moment.end,
                "status": entry.status,
                "reason": entry.reason,
                "vision": entry.vision,
                "audio": entry.audio,
            }
            for one in files
            for number, entry in enumerate(one.entries)
        ]
        return pa.Table.from_pylist(listed, schema=self.schema)


@contextmanager
def _plainly(path: Path) -> Generator[None]:
    """Say in a line what Lance says in many, with the trace of its own source."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"{path} cannot be read or written ({why[:200]}): if there is room on the disk, it is "
            "damaged; delete the collection and index anew."
        ) from error


def _among(column: str, values: Iterable[str]) -> str:
    """An SQL filter: the column is one of these texts."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"


def _version(row: dict[str, Any]) -> FileVersion:
    names = ("file", "signature", "size", "mtime_ns")
    return FileVersion(**{name: row[name] for name in names})


def _entries(rows: list[dict[str, Any]]) -> FileEntries:
    entries = (
        Entry(
            moment=Moment(file=row["file"], start=row["start"], end=row["end"]),
            status=row["status"],
            reason=row["reason"],
            vision=_vector(row["vision"]),
            audio=_vector(row["audio"]),
        )
        for row in rows
    )
    return FileEntries(version=_version(rows[0]), entries=tuple(entries))


def _vector(values: list[float] | None) -> Vector | None:
    return None if values is None else np.array(values, np.float32)


def _joined(parts: list[_Rows], order: Any) -> _Rows:
    vectors, present = zip(*parts, strict=True)
    return np.concatenate(vectors)[order], np.concatenate(present)[order]


def _matrix(column: Any, dim: int) -> _Rows:
    """Rows of a vector column, zero where null, and which are not null."""
    array = column.combine_chunks()
    present = np.asarray(array.is_valid().to_numpy(zero_copy_only=False), bool)
    matrix = np.zeros((len(present), dim), np.float32)
    matrix[present] = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return matrix, present
