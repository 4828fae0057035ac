"""What an update has to do: it compares files with the collection, without opening media."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trichord.corpora.footage import Scan, holds_media, is_media, scan
from trichord.media.signature import file_signature
from trichord.search.collection import whereabouts
from trichord.search.table import FileVersion, KnownFile
from trichord.types import UserError


@dataclass(frozen=True, slots=True)
class Survey:
    """Files by what is to be done with them.

    Attributes:
        unchanged: Nothing to do.
        same: The content of a known file, whose vectors are copied; with the path of that file.
        read: To be read.
        unnameable: They cannot be stored: their path is not valid text.
    """

    unchanged: list[KnownFile] = field(default_factory=list[KnownFile])
    same: list[tuple[FileVersion, str]] = field(default_factory=list[tuple[FileVersion, str]])
    read: list[FileVersion] = field(default_factory=list[FileVersion])
    unnameable: list[str] = field(default_factory=list[str])


def media_at(places: Sequence[Path]) -> list[Path]:
    """Media files at places and in folders, absolute, sorted, without duplicates: see `scan_places`."""
    return scan_places(places).files


def scan_places(places: Sequence[Path]) -> Scan:
    """Media files at places and in folders, absolute, sorted, without duplicates; and what they lack.

    Raises:
        UserError: A place is missing, is not a media file, or has none.
    """
    everything = Scan()
    for place in places:
        if not place.exists():
            raise UserError(f"{place}: no such file or folder: check the path.")
        below = _scan(whereabouts(place))
        if not below.files and not place.is_dir():
            raise UserError(f"{place} is not a media file: give a video, sound, picture or folder.")
        if not below.files:
            also = "".join(f" ({line})" for line in below.lines())
            raise UserError(
                f"{place} has no media files: give a folder with videos, sounds or pictures.{also}"
            )
        everything.add(below)
    everything.files = sorted(set(everything.files))
    return everything


def media_under(place: Path) -> list[Path]:
    """The media files of a folder, or the file itself; empty if it is missing or not a media file."""
    return _scan(place).files


def _scan(place: Path) -> Scan:
    if place.is_dir():
        return scan(place)
    return Scan([place] if place.is_file() and (is_media(place) or holds_media(place)) else [])


def survey(known: dict[str, KnownFile], files: Sequence[Path]) -> Survey:
    """Sort files by what is to be done with them."""
    result = Survey()
    holders = {old.version.signature: file for file, old in known.items()}
    for path in files:
        old = known.get(str(path))
        if not _nameable(str(path)):
            result.unnameable.append(str(path).encode("utf-8", "replace").decode())
        elif old is not None and _untouched(path, old.version):
            result.unchanged.append(old)
        elif (version := _version(path)) is not None:
            # Its own old rows first: a copy elsewhere may be about to be removed.
            own = old is not None and old.version.signature == version.signature
            holder = version.file if own else holders.get(version.signature)
            if holder is None or not version.signature:
                result.read.append(version)
            else:
                result.same.append((version, holder))
    return result


def _nameable(file: str) -> bool:
    """Whether a path can be stored as text; bytes that are not UTF-8 are lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in file)


def _untouched(path: Path, known: FileVersion) -> bool:
    """Whether size and time are unchanged; a file that could not be opened is tried again."""
    try:
        now = path.stat()
    except OSError:
        return False
    return bool(known.signature) and (now.st_size, now.st_mtime_ns) == (known.size, known.mtime_ns)


def _version(path: Path) -> FileVersion | None:
    """A file as it is now; None if it is missing."""
    try:
        now = path.stat()
    except OSError:
        return None
    try:
        signature = file_signature(path)
    except OSError:
        signature = ""
    return FileVersion(
        file=str(path), signature=signature, size=now.st_size, mtime_ns=now.st_mtime_ns
    )
