"""What has to be done to bring a collection up to date: a look at files, without opening media."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trichord.corpora.footage import holds_media, is_media, media_of
from trichord.media.signature import file_signature
from trichord.search.collection import whereabouts
from trichord.search.table import FileVersion, KnownFile
from trichord.types import UserError


@dataclass(frozen=True, slots=True)
class Survey:
    """Files by what is to be done with them.

    Attributes:
        unchanged: Nothing.
        same: Bytes that a known file has: its vectors are taken over. With that file's path.
        read: Everything.
        unnameable: They cannot be stored, because their path is no text.
    """

    unchanged: list[KnownFile] = field(default_factory=list[KnownFile])
    same: list[tuple[FileVersion, str]] = field(default_factory=list[tuple[FileVersion, str]])
    read: list[FileVersion] = field(default_factory=list[FileVersion])
    unnameable: list[str] = field(default_factory=list[str])


def media_at(places: Sequence[Path]) -> list[Path]:
    """Media files at and under places, absolute, sorted, each once.

    Raises:
        UserError: A place is missing, is no media file, or has none.
    """
    found: set[Path] = set()
    for place in places:
        if not place.exists():
            raise UserError(f"{place}: no such file or folder: check the path.")
        below = media_under(whereabouts(place))
        if not below and not place.is_dir():
            raise UserError(f"{place} is no media file: give a video, sound, picture or folder.")
        if not below:
            raise UserError(
                f"{place} has no media files: give a folder with videos, sounds or pictures."
            )
        found.update(below)
    return sorted(found)


def media_under(place: Path) -> list[Path]:
    """The media files of a folder, or the place itself; none where it has gone or is none."""
    if place.is_dir():
        return media_of(place)
    return [place] if place.is_file() and (is_media(place) or holds_media(place)) else []


def survey(known: dict[str, KnownFile], files: Sequence[Path]) -> Survey:
    """Sort files by what is to be done with them."""
    result = Survey()
    holders = {one.version.signature: file for file, one in known.items()}
    for path in files:
        there = known.get(str(path))
        if not _nameable(str(path)):
            result.unnameable.append(str(path).encode("utf-8", "replace").decode())
        elif there is not None and _untouched(path, there.version):
            result.unchanged.append(there)
        elif (version := _version(path)) is not None:
            # Its own old row first: a copy elsewhere may be on its way out.
            own = there is not None and there.version.signature == version.signature
            holder = version.file if own else holders.get(version.signature)
            if holder is None or not version.signature:
                result.read.append(version)
            else:
                result.same.append((version, holder))
    return result


def _nameable(file: str) -> bool:
    """Whether a path can be stored as text; bytes that are not UTF-8 arrive as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in file)


def _untouched(path: Path, known: FileVersion) -> bool:
    """Whether size and time are as before; a file that could not be opened is tried again."""
    try:
        now = path.stat()
    except OSError:
        return False
    return bool(known.signature) and (now.st_size, now.st_mtime_ns) == (known.size, known.mtime_ns)


def _version(path: Path) -> FileVersion | None:
    """A file as it is now, None if it has just gone."""
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
