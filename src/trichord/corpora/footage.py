"""The media files of a folder, and lookup of files named in annotations."""

import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from trichord.corpora.prepared import Tally
from trichord.media.containers import HEAD, container_of
from trichord.types import UserError

# Also of formats that are not read: a file that looks like media is opened and named with its
# status, not passed over.
_VIDEO = (
    "mp4 m4v mov qt mkv mk3d webm avi divx mpg mpeg m2p m1v m2v mpv vob ts m2t m2ts mts wmv asf flv f4v "
    "3gp 3g2 ogv mxf gxf dv dif rm rmvb mod tod ivf y4m h264 264 hevc 265 braw r3d insv lrv"
)
_AUDIO = (
    "wav wave bwf rf64 w64 mp3 mp2 mp1 mpa flac ogg opus oga spx m4a mka aac adts ac3 eac3 ec3 dts dtshd "
    "aif aiff aifc au snd caf wma wv tta ape amr awb dsf dff mpc ra"
)
_IMAGE = (
    "jpg jpeg jpe jfif png apng webp bmp gif tif tiff heic heif hif heics avif avifs jxl jp2 j2k j2c jpx "
    "jpf dng cr2 cr3 nef arw orf rw2 raf psd tga exr qoi ppm pgm pbm pnm"
)
WEAKLY_MARKED = ("mp3", "aac", "ac3", "eac3", "bmp", "mpegts", "jxl", "ape", "tta", "ppm", "tga")
"""Containers with a signature of a byte or two or of plain letters, which other files may have too."""
VIDEO_SUFFIXES, AUDIO_SUFFIXES, IMAGE_SUFFIXES = (
    frozenset(f".{suffix}" for suffix in names.split()) for names in (_VIDEO, _AUDIO, _IMAGE)
)
MEDIA_SUFFIXES = VIDEO_SUFFIXES | AUDIO_SUFFIXES | IMAGE_SUFFIXES


def is_media(path: Path | PurePosixPath) -> bool:
    """Whether a name has the extension of video, audio or an image, and is not hidden."""
    return path.suffix.lower() in MEDIA_SUFFIXES and not path.name.startswith(".")


@dataclass(slots=True)
class Scan:
    """The media files of folders, and what was passed over in them."""

    files: list[Path] = field(default_factory=list[Path])
    passed_over: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """How many files or folders, by reason and suffix."""
    examples: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """The first few of each reason."""
    unreadable: list[Path] = field(default_factory=list[Path])
    """Folders and files of which nothing is known, as they cannot be read."""

    def pass_over(self, reason: str, path: Path, kind: str = "") -> None:
        """Count a file or folder; `kind` instead of its suffix."""
        self.passed_over[reason, kind or path.suffix.lower() or "without suffix"] += 1
        named = self.examples.setdefault(reason, [])
        if len(named) < _EXAMPLES:
            named.append(str(path))
        if reason == UNREADABLE:
            self.unreadable.append(path)

    def add(self, other: "Scan") -> None:
        """Add what another scan found."""
        self.files += other.files
        self.passed_over += other.passed_over
        self.unreadable += other.unreadable
        for reason, named in other.examples.items():
            ours = self.examples.setdefault(reason, [])
            ours += named[: _EXAMPLES - len(ours)]

    def lines(self) -> list[str]:
        """One line for each reason, to be printed: `passed over (no media): 3 .txt, 1 .pdf`."""
        lines: list[str] = []
        for reason, named in self.examples.items():
            counts = [(n, kind) for (why, kind), n in self.passed_over.items() if why == reason]
            ordered = sorted(counts, key=lambda one: (-one[0], one[1]))
            counted = (
                f"{n} {kind[:-1] if n == 1 and kind[0] == 'f' else kind}" for n, kind in ordered
            )
            line = f"passed over ({reason}): " + ", ".join(counted)
            if reason in _NAMED:
                shown = (name if name.isprintable() else repr(name) for name in named)
                line += f": {', '.join(shown)}"
            lines.append(line)
        return lines


_EXAMPLES = 3
NO_MEDIA = "no media"
HIDDEN = "hidden"
UNREADABLE = "cannot be read"
TWICE = "links to folders that are read already"
NO_FILE = "no regular files, or links to nothing"
_NAMED = (UNREADABLE, TWICE, NO_FILE)
"""Reasons whose files are named: the others are as a folder should be."""


def scan(folder: Path) -> Scan:
    """The media files under a folder; hidden files and folders and `__MACOSX` are passed over.

    A file with another extension (`clip.video`) counts if its first bytes are those of media. Links to
    folders are followed, each folder once.

    Raises:
        UserError: the folder is missing.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    result, seen = Scan(), set[tuple[int, int]]()
    # Links come last, so that a folder below is found by its own path and not by that of a link.
    folders, links = deque([folder]), deque[Path]()
    while folders or links:
        here = folders.popleft() if folders else links.popleft()
        try:
            status = here.stat()
            entries = sorted(here.iterdir())
        except OSError:
            result.pass_over(UNREADABLE, here, "folders")
            continue
        if (status.st_dev, status.st_ino) in seen:
            result.pass_over(TWICE, here, "folders")
            continue
        seen.add((status.st_dev, status.st_ino))
        for path in entries:
            try:
                _sort_in(path, result, folders, links)
            except OSError:  # a folder that may be listed, not entered; a drive that fails
                result.pass_over(UNREADABLE, path, "files")
    result.files.sort()
    return result


def _sort_in(path: Path, result: Scan, folders: deque[Path], links: deque[Path]) -> None:
    is_folder = path.is_dir()
    if path.name.startswith(".") or (is_folder and path.name == "__MACOSX"):
        result.pass_over(HIDDEN, path, "folders" if is_folder else "files")
    elif is_folder:
        (links if path.is_symlink() else folders).append(path)
    elif not path.is_file():
        result.pass_over(NO_FILE, path)
    elif is_media(path) or holds_media(path):
        result.files.append(path)
    else:
        result.pass_over(NO_MEDIA, path)


def media_of(folder: Path) -> list[Path]:
    """All media files under a folder, sorted: see `scan`."""
    return scan(folder).files


def holds_media(path: Path) -> bool:
    """Whether a file starts with the signature of a media format, too long to be a coincidence."""
    if path.name.startswith("."):
        return False
    try:
        with path.open("rb") as file:
            return container_of(file.read(HEAD)) not in (None, *WEAKLY_MARKED)
    except OSError:
        return False


def stem(name: str) -> str:
    """A clip id from a file name: without the extension, if it is one of media."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in MEDIA_SUFFIXES else name


def alike(name: str) -> str:
    """A name without regard to case and to the form of accents."""
    return unicodedata.normalize("NFC", name).casefold()


_RESPELLED = "files found whose case or accents differ from the table's"
_SEVERAL = "rows left out, several files having their name"
_NO_FILE = "rows left out for want of their file"


class Footage:
    """Finds the file named in an annotation: by path, else by as much of its end as is unique.

    Names are compared exactly first, then without regard to case and to the form of accents. A
    backslash separates folders too, as Windows writes paths.
    """

    def __init__(self, root: Path, files: Iterable[Path]) -> None:
        self.root = root
        self._files = list(files)
        self._known: dict[tuple[str, str], tuple[Path | None, str]] = {}

    def find(self, name: str, tally: Tally | None = None, near: str = "") -> Path | None:
        """The media file named `name`; None if there is none, or several.

        `tally` counts these rows, and files that are spelled differently. Paths may also begin at
        `near`, a folder below.
        """
        if (name, near) not in self._known:
            self._known[name, near] = self._look_up(name, near)
        path, note = self._known[name, near]
        if note and tally:
            (tally.add if path else tally.lack)(note, name)
        return path

    def _look_up(self, name: str, near: str) -> tuple[Path | None, str]:
        """The file of a name, and what is to be counted."""
        spellings = (name, name.replace("\\", "/"))
        for path in dict.fromkeys(self.root / base / n for n in spellings for base in (near, "")):
            if found := _direct(path):
                return found, ""
        for index, form, note in ((self._exact, str, ""), (self._alike, alike, _RESPELLED)):
            for end in _ends(spellings[1]):
                for key in (form(end), form(stem(end))):
                    if key in index:
                        found = index[key]
                        return found, note if found else _SEVERAL
        return None, _NO_FILE

    @cached_property
    def _exact(self) -> dict[str, Path | None]:
        return self._index(str)

    @cached_property
    def _alike(self) -> dict[str, Path | None]:
        return self._index(alike)

    def _index(self, form: Callable[[str], str]) -> dict[str, Path | None]:
        """Files by each end of their path, with and without suffix; None for several."""
        found: dict[str, Path | None] = {}
        for file in self._files:
            path = file.relative_to(self.root) if file.is_relative_to(self.root) else file
            ends = _ends(path.as_posix())
            for key in {form(k) for end in ends for k in (end, end.removesuffix(file.suffix))}:
                found[key] = file if found.get(key, file) == file else None
        return found


def _direct(path: Path) -> Path | None:
    try:
        return path.parent.resolve() / path.name if path.is_file() else None
    except (OSError, ValueError):  # a caption in place of a name may be too long for one
        return None


def _ends(path: str) -> list[str]:
    """All ends of a path, the whole first: a/b/c, b/c, c."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ["/".join(parts[i:]) for i in range(len(parts))]
