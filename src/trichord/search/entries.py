"""What a table keeps of a moment and of its file, as objects and as rows."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from trichord.media.probe import Status
from trichord.storage.lance_table import KEY, MADE_BY
from trichord.types import Moment, UserError
from trichord.types.arrays import Float, Int

Vector = Float[np.ndarray, " _"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVersion:
    """A file as it was when it was read: where, which bytes, and how long (seconds; None: unknown).

    `signature` is `file_signature`'s, "" where the file could not be opened.
    """

    file: str
    signature: str
    size: int
    mtime_ns: int
    duration: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A moment with its vectors (unit length, None where it lacks the modality) and its status.

    `audio` holds the vectors at all audio type tokens of the collection end to end, in their order.
    `thumbnail` is a JPEG, `speech` the share of the moment in which somebody speaks (None: not
    measured).
    """

    moment: Moment
    status: Status
    reason: str = ""
    vision: Vector | None = None
    audio: Vector | None = None
    caption: str | None = None
    tags: tuple[str, ...] = ()
    thumbnail: bytes | None = None
    speech: float | None = None

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
    """What a table holds of a file: its version, its moments' statuses, how many can be found.

    `reason` is that of its first moment, which is the only one of a file that cannot be used.
    """

    version: FileVersion
    statuses: tuple[Status, ...]
    moments: int
    reason: str = ""


VERSION = tuple(field.name for field in fields(FileVersion))


def schema_of(vision: int, audio: int, fingerprint: str) -> Any:
    """The columns of a table.

    Args:
        vision: Size of a sight vector.
        audio: Size of a sound vector, at all audio type tokens together.
        fingerprint: Of the model.
    """
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False, metadata=KEY),
            pa.field("file", pa.string(), nullable=False),
            pa.field("signature", pa.string(), nullable=False),
            pa.field("size", pa.int64(), nullable=False),
            pa.field("mtime_ns", pa.int64(), nullable=False),
            pa.field("start", pa.float64(), nullable=False),
            pa.field("end", pa.float64(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("vision", pa.list_(pa.float32(), vision)),
            pa.field("audio", pa.list_(pa.float32(), audio)),
            # From here on absent in tables of format 1.
            pa.field("duration", pa.float64()),
            # Said once more, so that listing files does not read all vectors.
            pa.field("findable", pa.bool_()),
            pa.field("caption", pa.string()),
            pa.field("tags", pa.list_(pa.string())),
            pa.field("thumbnail", pa.binary()),
            pa.field("speech", pa.float32()),
            # Absent in tables of the first releases; see `require_as_stored`.
            pa.field("checksum", pa.int64()),
        ],
        metadata={MADE_BY: fingerprint.encode()},
    )


def rows_of(files: Sequence[FileEntries], schema: Any) -> Any:
    """The rows of some files, as an Arrow table."""
    listed = [
        {
            **{name: getattr(one.version, name) for name in VERSION},
            "id": f"{number}#{one.version.file}",
            "start": entry.moment.start,
            "end": entry.moment.end,
            "status": entry.status,
            "reason": entry.reason,
            "vision": entry.vision,
            "audio": entry.audio,
            "findable": entry.findable,
            "caption": entry.caption,
            "tags": list(entry.tags) or None,
            "thumbnail": entry.thumbnail,
            "speech": entry.speech,
        }
        for one in files
        for number, entry in enumerate(one.entries)
    ]
    rows = pa.Table.from_pylist(listed, schema=schema)
    place = schema.get_field_index("checksum")
    return rows.set_column(place, schema.field(place), pa.array(checksums(rows)))


def checksums(rows: Any) -> Int[np.ndarray, " row"]:
    """Of some rows: of their numbers' bits modulo 2³², of sight, and of sound with file, start and end.

    Any change of one number changes it; it is for failing disks, not for those who mean harm. It takes
    0.8 s of a processor for a million moments of 2 × 512 numbers; reading those takes 13 s of it.

    Args:
        rows: An Arrow table with the columns `file`, `start`, `end`, `vision` and `audio`.
    """
    files, file = coded(rows["file"])
    names = np.array([crc32(name.encode()) for name in files], np.uint32)
    found = np.stack([np.zeros(len(rows), np.uint32), names[file]])
    for factor, name in enumerate(("start", "end"), start=1):
        halves = rows[name].combine_chunks().to_numpy().view(np.uint32).reshape(-1, 2)
        found[1] += np.uint32(2 * factor - 1) * halves.sum(axis=1, dtype=np.uint32)
    for side, name in zip(found, ("vision", "audio"), strict=True):
        array = rows[name].combine_chunks()
        flat = array.flatten().to_numpy(zero_copy_only=False)  # nulls are left out
        words = flat.view(np.uint32).reshape(-1, array.type.list_size)
        side[array.is_valid().to_numpy(zero_copy_only=False)] += words.sum(axis=1, dtype=np.uint32)
    return (found[0] | found[1].astype(np.uint64) << np.uint64(32)).view(np.int64)


def require_as_stored(rows: Any) -> Any:
    """The same rows, whose moments and vectors are those that were stored.

    Lance itself notices damage to what holds its files together, not to the numbers in them.

    Args:
        rows: An Arrow table with the columns that `checksums` takes, and `checksum`; rows without one,
            which an earlier version wrote, are passed over.

    Raises:
        UserError: They are not.
    """
    stored = rows["checksum"].combine_chunks()
    noted = stored.is_valid().to_numpy(zero_copy_only=False)
    differs = noted & (stored.fill_null(0).to_numpy() != checksums(rows))
    if differs.any():
        file = rows["file"][int(differs.argmax())].as_py()
        raise UserError(
            f"{file}: what is stored of it is no longer what was written: the disk may be failing; take "
            "the file out of the collection (trichord index --remove) and index it again."
        )
    return rows


def known_files(rows: Any) -> dict[str, KnownFile]:
    """Every file of some rows by its path, in order of path.

    Args:
        rows: An Arrow table with the columns of `VERSION`, `start`, `status`, `reason` and
            `findable`; a million are no object each.
    """
    files, file = coded(rows["file"])
    order = np.lexsort((rows["start"].to_numpy(), file))
    first = np.searchsorted(file[order], np.arange(len(files) + 1))
    names, codes = coded(rows["status"])
    findable = np.asarray(rows["findable"].to_numpy(), bool)[order]
    found = np.append(0, np.cumsum(findable))[first]
    statuses = np.array(names, object)[codes[order]]
    versions = rows.select([*VERSION, "reason"]).take(order[first[:-1]]).to_pylist()
    return {
        row["file"]: KnownFile(
            version=_version(row),
            statuses=tuple(statuses[first[i] : first[i + 1]]),
            moments=int(found[i + 1] - found[i]),
            reason=row["reason"],
        )
        for i, row in enumerate(versions)
    }


def coded(column: Any) -> tuple[tuple[str, ...], Int[np.ndarray, " _"]]:
    """Different texts of a column, sorted, and which of them each row has."""
    coded = column.combine_chunks().dictionary_encode()
    names: list[str] = coded.dictionary.to_pylist()
    by_name = sorted(range(len(names)), key=names.__getitem__)
    places = np.empty(len(names), np.int32)
    places[by_name] = np.arange(len(names), dtype=np.int32)
    codes = coded.indices.to_numpy(zero_copy_only=False)
    return tuple(names[i] for i in by_name), places[codes]


def _version(row: dict[str, Any]) -> FileVersion:
    return FileVersion(**{name: row[name] for name in VERSION})


def entries_of(rows: Any) -> list[FileEntries]:
    """The files of some rows.

    Args:
        rows: An Arrow table with all columns, in order of file and start. Vectors are views of its
            memory: as lists of numbers they would take eight times as much.
    """
    told = rows.drop_columns(["vision", "audio"]).to_pylist()
    vectors = zip(_vectors(rows["vision"]), _vectors(rows["audio"]), strict=True)
    both = zip(told, vectors, strict=True)
    found: list[FileEntries] = []
    for _, same in groupby(both, key=lambda one: one[0]["file"]):
        moments = list(same)
        entries = tuple(_entry(row, *sides) for row, sides in moments)
        found.append(FileEntries(version=_version(moments[0][0]), entries=entries))
    return found


def _entry(row: dict[str, Any], vision: Vector | None, audio: Vector | None) -> Entry:
    return Entry(
        moment=Moment(file=row["file"], start=row["start"], end=row["end"]),
        status=row["status"],
        reason=row["reason"],
        vision=vision,
        audio=audio,
        caption=row["caption"],
        tags=tuple(row["tags"] or ()),
        thumbnail=row["thumbnail"],
        speech=row["speech"],
    )


def _vectors(column: Any) -> list[Vector | None]:
    """The vectors of a column, None where null."""
    array = column.combine_chunks()
    flat = array.flatten().to_numpy(zero_copy_only=False)  # nulls are left out
    rows = iter(flat.reshape(-1, array.type.list_size))
    return [next(rows) if there else None for there in array.is_valid().to_pylist()]
