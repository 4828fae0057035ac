"""What an update has to do: it compares files with the collection, without opening media."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trichord.corpora.footage import Scan, holds_media, is_media, scan
from trichord.media.plan import Limits
from trichord.media.signature import file_signature
from trichord.search.collection import files_below, whereabouts
from trichord.search.failures import is_outdated
from trichord.search.table import FileVersion, KnownFile
from trichord.types import UserError
from trichord.types.files import exists, is_folder

FOLDERS_NAMED = 5
"""Missing folders that are named."""
FILES_NAMED = 5
"""Files that are named, of those that are missing from folders that are there."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Files by what is to be done with them.

    Attributes:
        unchanged: Nothing to do.
        same: The content of a known file, whose vectors it gets; with the path of that file.
        moved: Those of these known files that are no longer in their place.
        read: To be read.
        unnameable: They cannot be stored: their path is not valid text.
    """

    unchanged: list[KnownFile] = field(default_factory=list[KnownFile])
    same: list[tuple[FileVersion, str]] = field(default_factory=list[tuple[FileVersion, str]])
    moved: set[str] = field(default_factory=set[str])
    read: list[FileVersion] = field(default_factory=list[FileVersion])
    unnameable: list[str] = field(default_factory=list[str])


def media_at(places: Sequence[Path]) -> list[Path]:
    """Media files at places and in folders, absolute, sorted, without duplicates: see `scan_places`."""
    return scan_places(places).files


def scan_places(places: Sequence[Path], known: Collection[str] = ()) -> Scan:
    """Media files at places and in folders, absolute, sorted, without duplicates; and what they lack.

    Args:
        places: Files and folders.
        known: Files of a collection. A place of such files may be missing or empty, as if its drive were
            not connected, unless all places are.

    Raises:
        UserError: A place is missing, is not a media file, or has none.
    """
    everything = Scan()
    scans = [_scan(whereabouts(place)) if exists(place) else Scan() for place in places]
    others = any(one.files for one in scans)
    for place, below in zip(places, scans, strict=True):
        if others and not below.files and files_below(known, place):
            continue
        if not exists(place):
            raise UserError(
                f"{place}: no such file or folder, or it may not be read: check the path."
            )
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
    if is_folder(place):
        return scan(place)
    return Scan(
        [place]
        if exists(place) and place.is_file() and (is_media(place) or holds_media(place))
        else []
    )


def missing_lines(files: Iterable[str]) -> list[str]:
    """What to say of files that are missing: a line for each folder that is gone, and one for the rest."""
    by_parent: dict[Path, list[str]] = defaultdict(list)
    for file in files:
        by_parent[Path(file).parent].append(file)
    folders, single = Counter[str](), list[str]()
    for parent, below in by_parent.items():
        if top := _missing_top(parent):
            folders[top] += len(below)
        else:
            single += below
    lines = [
        f"{folder} is missing or empty, and the archive has {count} of its files: if its drive is not "
        "connected, connect it."
        for folder, count in folders.most_common(FOLDERS_NAMED)
    ]
    if rest := len(folders) - len(lines):
        lines.append(f"{rest} more folders are missing.")
    if single:
        named, more = sorted(single)[:FILES_NAMED], len(single) - FILES_NAMED
        rest = f", and {more} more" if more > 0 else ""
        lines.append(f"missing from folders that are there: {', '.join(named)}{rest}.")
    return lines


def _missing_top(parent: Path) -> str:
    """The outermost folder, upwards from one, that is missing or empty; "" if that one is neither."""
    top = ""
    for folder in (parent, *parent.parents):
        if not is_missing(folder):
            break
        top = str(folder)
    return top


def empty_folders(missing: Iterable[str]) -> list[Path]:
    """Folders that are there, hold nothing, and had several files: mount points without their drive.

    Args:
        missing: Files that are missing.
    """
    counts = Counter[Path]()
    for file in missing:
        there = next((folder for folder in Path(file).parents if is_folder(folder)), None)
        counts.update([there] if there is not None else [])
    return [folder for folder, count in counts.items() if count > 1 and is_missing(folder)]


def is_missing(folder: Path) -> bool:
    """Whether a folder is missing or empty, as one is whose drive is not connected."""
    try:
        return next(folder.iterdir(), None) is None
    except OSError:
        return True


def survey(
    known: dict[str, KnownFile], files: Sequence[Path], limits: Limits | None = None
) -> Survey:
    """Sort files by what is to be done with them.

    Args:
        known: The files of a collection.
        files: Those that are there.
        limits: Of the decoder that would read them; None: the usual ones.
    """
    limits = limits or Limits()
    result = Survey()
    holders = _Holders(known, files)
    for path in files:
        old = known.get(str(path))
        if not _nameable(str(path)):
            result.unnameable.append(str(path).encode("utf-8", "replace").decode())
        elif old is not None and _untouched(path, old.version):
            if is_outdated(old, limits):
                result.read.append(old.version)
            else:
                result.unchanged.append(old)
        elif (version := _version(path)) is not None:
            # Its own old rows first: a copy elsewhere may be about to be removed.
            own = old is not None and old.version.signature == version.signature
            holder, moved = (version.file, False) if own else holders.of(version)
            if not holder or not version.signature:
                result.read.append(version)
            else:
                result.same.append((version, holder))
                result.moved.update([holder] if moved else [])
    return result


class _Holders:
    """The known files of each content."""

    def __init__(self, known: dict[str, KnownFile], files: Sequence[Path]) -> None:
        self._present = {str(path) for path in files}
        self._files: dict[str, list[str]] = defaultdict(list)
        for file, old in known.items():
            self._files[old.version.signature].append(file)

    def of(self, version: FileVersion) -> tuple[str, bool]:
        """A known file of the same content, "" without one; and whether it has moved here.

        Each moved file is given once, as long as there are others.
        """
        files = self._files.get(version.signature, [])
        for file in files:
            if file not in self._present and has_moved(file, version.file):
                if len(files) > 1:
                    files.remove(file)
                return file, True
        return (files[-1], False) if files else ("", False)


def has_moved(old: str, new: str) -> bool:
    """Whether a file that is not listed in its old place any more has moved, not been copied.

    Where names differ by case alone, some file systems find it under both.
    """
    before = Path(old)
    return not exists(before) or (old.casefold() == new.casefold() and before.samefile(new))


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
