"""The rows of a table of moments as objects: moments, files, and their conversion from and to Arrow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from trichord.media.probe import Status
from trichord.storage.lance_table import FINGERPRINT_KEY, KEY
from trichord.types import Moment, UserError
from trichord.types.arrays import Float, Int

Vector = Float[np.ndarray, " _"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVersion:
    """A file as it was when it was read: path, content, and duration (seconds; None: unknown).

    `signature` is that of `file_signature`, "" if the file could not be opened.
    """

    file: str
    signature: str
    size: int
    mtime_ns: int
    duration: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A moment with its vectors (unit length, None if the modality is missing) and its status.

    `audio` is the concatenation of the vectors at all audio type tokens of the collection.
    `thumbnail` is a WebP (a JPEG in older collections), `speech` the share of the moment with speech
    (None: not measured).
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
    """All moments of a file; an unusable file has one moment without vectors."""

    version: FileVersion
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """A file of a table: its version, the statuses of its moments, and how many can be found.

    `reason` is that of its first moment, the only one of an unusable file.
    """

    version: FileVersion
    statuses: tuple[Status, ...]
    moments: int
    reason: str = ""


VERSION = tuple(field.name for field in fields(FileVersion))
PLAIN = ("status", "reason", "caption", "thumbnail", "speech")
"""Fields of an `Entry` that are columns as they are."""


def schema_of(vision: int, audio: int, fingerprint: str) -> Any:
    """The columns of a table.

    Args:
        vision: Size of a vision vector.
        audio: Size of an audio vector, for all audio type tokens together.
        fingerprint: Fingerprint of the model.
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
            # The columns from here on are missing in tables of format 1.
            pa.field("duration", pa.float64()),
            # Redundant, so that listing files does not read all vectors.
            pa.field("findable", pa.bool_()),
            pa.field("caption", pa.string()),
            pa.field("tags", pa.list_(pa.string())),
            pa.field("thumbnail", pa.binary()),
            pa.field("speech", pa.float32()),
            # Missing in tables of the first releases; see `require_intact`.
            pa.field("checksum", pa.int64()),
        ],
        metadata={FINGERPRINT_KEY: fingerprint.encode()},
    )


def rows_of(files: Sequence[FileEntries], schema: Any) -> Any:
    """The rows of some files, as an Arrow table."""
    records = [
        {
            **{name: getattr(file.version, name) for name in VERSION},
            "id": f"{number}#{file.version.file}",
            "start": entry.moment.start,
            "end": entry.moment.end,
            "vision": entry.vision,
            "audio": entry.audio,
            "findable": entry.findable,
            "tags": list(entry.tags) or None,
            **{name: getattr(entry, name) for name in PLAIN},
        }
        for file in files
        for number, entry in enumerate(file.entries)
    ]
    rows = pa.Table.from_pylist(records, schema=schema)
    place = schema.get_field_index("checksum")
    return rows.set_column(place, schema.field(place), pa.array(checksums(rows)))


def checksums(rows: Any) -> Int[np.ndarray, " row"]:
    """Checksums of rows: sums of bits modulo 2³², of vision, and of audio with file, start and end.

    Any change of one number changes the checksum. It detects failing disks, not attackers. A million
    moments of 2 × 512 numbers take 0.8 s of processor time; reading them takes 13 s.

    Args:
        rows: An Arrow table with the columns `file`, `start`, `end`, `vision` and `audio`.
    """
    files, file = encode_texts(rows["file"])
    names = np.array([crc32(name.encode()) for name in files], np.uint32)
    sums = np.stack([np.zeros(len(rows), np.uint32), names[file]])
    for factor, name in enumerate(("start", "end"), start=1):
        halves = rows[name].combine_chunks().to_numpy().view(np.uint32).reshape(-1, 2)
        sums[1] += np.uint32(2 * factor - 1) * halves.sum(axis=1, dtype=np.uint32)
    for side, name in zip(sums, ("vision", "audio"), strict=True):
        array = rows[name].combine_chunks()
        flat = array.flatten().to_numpy(zero_copy_only=False)  # nulls are left out
        words = flat.view(np.uint32).reshape(-1, array.type.list_size)
        side[array.is_valid().to_numpy(zero_copy_only=False)] += words.sum(axis=1, dtype=np.uint32)
    return (sums[0] | sums[1].astype(np.uint64) << np.uint64(32)).view(np.int64)


def require_intact(rows: Any, path_of: Callable[[str], str] = str) -> Any:
    """Return the rows if their checksums fit.

    Lance detects damage to the structure of its files, not to the numbers in them.

    Args:
        rows: An Arrow table with the columns of `checksums`, and `checksum`; rows without a checksum,
            written by an earlier version, are not checked.
        path_of: The path of a file by its name in rows, for messages.

    Raises:
        UserError: A checksum does not fit.
    """
    stored = rows["checksum"].combine_chunks()
    present = stored.is_valid().to_numpy(zero_copy_only=False)
    differs = present & (stored.fill_null(0).to_numpy() != checksums(rows))
    if differs.any():
        file = path_of(rows["file"][int(differs.argmax())].as_py())
        raise UserError(
            f"{file}: its stored vectors are damaged: the disk may be failing; remove the file from the "
            "archive (trichord index --remove) and index it again."
        )
    return rows


def known_files(rows: Any) -> dict[str, KnownFile]:
    """The files of rows by path, in order of path.

    Args:
        rows: An Arrow table with the columns of `VERSION`, `start`, `status`, `reason` and
            `findable`; rows do not become Python objects.
    """
    files, file = encode_texts(rows["file"])
    order = np.lexsort((rows["start"].to_numpy(), file))
    first = np.searchsorted(file[order], np.arange(len(files) + 1))
    names, codes = encode_texts(rows["status"])
    findable = np.asarray(rows["findable"].to_numpy(), bool)[order]
    counts = np.append(0, np.cumsum(findable))[first]
    statuses = np.array(names, object)[codes[order]]
    versions = rows.select([*VERSION, "reason"]).take(order[first[:-1]]).to_pylist()
    return {
        row["file"]: KnownFile(
            version=_version(row),
            statuses=tuple(statuses[first[i] : first[i + 1]]),
            moments=int(counts[i + 1] - counts[i]),
            reason=row["reason"],
        )
        for i, row in enumerate(versions)
    }


def encode_texts(column: Any) -> tuple[tuple[str, ...], Int[np.ndarray, " _"]]:
    """The distinct texts of a column, sorted, and the index of each row's text."""
    encoded = column.combine_chunks().dictionary_encode()
    names: list[str] = encoded.dictionary.to_pylist()
    by_name = sorted(range(len(names)), key=names.__getitem__)
    places = np.empty(len(names), np.int32)
    places[by_name] = np.arange(len(names), dtype=np.int32)
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    return tuple(names[i] for i in by_name), places[codes]


def _version(row: dict[str, Any]) -> FileVersion:
    return FileVersion(**{name: row[name] for name in VERSION})


def entries_of(rows: Any) -> list[FileEntries]:
    """The files of rows, with all their moments.

    Args:
        rows: An Arrow table with all columns, in order of file and start. Vectors are views of its
            memory: as lists they would take eight times as much.
    """
    records = rows.drop_columns(["vision", "audio"]).to_pylist()
    vectors = zip(_vectors(rows["vision"]), _vectors(rows["audio"]), strict=True)
    pairs = zip(records, vectors, strict=True)
    files: list[FileEntries] = []
    for _, group in groupby(pairs, key=lambda pair: pair[0]["file"]):
        moments = list(group)
        entries = tuple(
            Entry(
                moment=Moment(file=row["file"], start=row["start"], end=row["end"]),
                vision=vision,
                audio=audio,
                tags=tuple(row["tags"] or ()),
                **{name: row[name] for name in PLAIN},
            )
            for row, (vision, audio) in moments
        )
        files.append(FileEntries(version=_version(moments[0][0]), entries=entries))
    return files


def _vectors(column: Any) -> list[Vector | None]:
    """The vectors of a column, None if null."""
    array = column.combine_chunks()
    flat = array.flatten().to_numpy(zero_copy_only=False)  # nulls are left out
    rows = iter(flat.reshape(-1, array.type.list_size))
    return [next(rows) if valid else None for valid in array.is_valid().to_pylist()]
