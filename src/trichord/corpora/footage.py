"""The media files of a folder, and lookup of files named in annotations."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from trichord.media.containers import HEAD, container_of
from trichord.types import UserError

_VIDEO = "mp4 m4v mov mkv webm avi mpg mpeg ts m2ts mts wmv flv 3gp ogv"
_AUDIO = "wav mp3 flac ogg opus oga m4a aac aif aiff wma"
_IMAGE = "jpg jpeg png webp bmp gif tif tiff"
WEAKLY_MARKED = ("mp3", "aac", "ac3", "eac3", "bmp", "mpegts", "jxl", "ape", "tta")
"""Containers with a signature of a byte or two or of plain letters, which other files may have too."""
MEDIA_SUFFIXES = frozenset(f".{s}" for s in f"{_VIDEO} {_AUDIO} {_IMAGE}".split())


def is_media(path: Path | PurePosixPath) -> bool:
    """Whether a name has the extension of video, audio or an image, and is not hidden."""
    return path.suffix.lower() in MEDIA_SUFFIXES and not path.name.startswith(".")


def media_of(folder: Path) -> list[Path]:
    """All media files under a folder, sorted, without hidden files and folders and `__MACOSX`.

    A file with another extension (`clip.video`) counts if its first bytes are those of media.

    Raises:
        UserError: the folder is missing.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    return sorted(
        p
        for p in folder.rglob("*")
        if _shown(p, folder) and p.is_file() and (is_media(p) or holds_media(p))
    )


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


class Footage:
    """Finds the file named in an annotation: by path, else by name or stem if it is unique."""

    def __init__(self, root: Path, files: Iterable[Path]) -> None:
        self.root = root
        self._found: dict[str, Path | None] = {}
        for file in files:
            for key in {file.name, file.stem}:
                self._found[key] = None if key in self._found else file

    def find(self, name: str) -> Path | None:
        """The media file named `name`; None if there is none, or several."""
        direct = self.root / name
        if name and direct.is_file():
            return direct.parent.resolve() / direct.name
        bare = PurePosixPath(name).name
        return self._found.get(bare) or self._found.get(stem(bare))


def _shown(path: Path, folder: Path) -> bool:
    parents = path.relative_to(folder).parts[:-1]
    return not any(part.startswith(".") or part == "__MACOSX" for part in parents)
