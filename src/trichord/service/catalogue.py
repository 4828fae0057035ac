"""Names that clients use for files and moments: made from paths, which stay on the server."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from os.path import commonpath
from pathlib import Path
from typing import Literal

from trichord.search.filters import path_below
from trichord.search.gallery import Gallery
from trichord.service.errors import RefusedError
from trichord.types import Moment

Kind = Literal["video", "audio", "image"]

FILE_DIGITS = 24
MOMENT_DIGITS = FILE_DIGITS + 16


@dataclass(frozen=True, slots=True)
class ClientFile:
    """A file as clients see it: its name for requests, its path, and what it is."""

    id: str
    display_path: str
    kind: Kind

    def moment(self, start: float) -> str:
        """What clients call its moment that starts there."""
        return self.id + struct.pack(">d", start).hex()


class Catalogue:
    """The files and moments of a gallery by the names that clients use for them.

    A file is called by a digest of its path, a moment by its file's name and its start, so both
    keep their names for as long as the file stays where it is.

    Attributes:
        gallery: What is searched.
        folders: What paths begin at as clients see them, the innermost first.
    """

    def __init__(self, gallery: Gallery, roots: Sequence[Path] = ()) -> None:
        """Name the files.

        Args:
            gallery: What is searched.
            roots: Folders that names are shown relative to; for files elsewhere it is the folder
                that all files have in common.
        """
        self.gallery = gallery
        inmost = sorted((str(root) for root in roots), key=len, reverse=True)
        self.folders = (*inmost, _common_folder(gallery.files))
        self._files = {file_id(file): file for file in gallery.files}
        self._named: dict[str, ClientFile] = {}

    def file(self, name: str) -> str:
        """The path of a file.

        Raises:
            RefusedError: 404: there is none by that name.
        """
        if (found := self._files.get(name)) is None:
            raise RefusedError(404, "No file of the archive has this id: search again.")
        return found

    def moment(self, name: str) -> Moment:
        """A moment.

        Raises:
            RefusedError: 404: there is none by that name.
        """
        row = None
        if len(name) == MOMENT_DIGITS and set(name) <= set("0123456789abcdef"):
            (start,) = struct.unpack(">d", bytes.fromhex(name[FILE_DIGITS:]))
            if math.isfinite(start):
                row = self.gallery.row_of(self.file(name[:FILE_DIGITS]), start)
        if row is None:
            raise RefusedError(404, "No moment of the archive has this id: search again.")
        return self.gallery.moment(row)

    def display_path(self, file: str) -> str:
        """The path of a file as clients see it."""
        return path_below(file, self.folders)

    def client_file(self, file: str) -> ClientFile:
        """A file as clients see it; hits name the same ones again and again."""
        if (known := self._named.get(file)) is None:
            known = self._named[file] = ClientFile(
                file_id(file), self.display_path(file), self.kind(file)
            )
        return known

    def kind(self, file: str) -> Kind:
        """Whether a file is looked at, listened to, or a still picture."""
        gallery, rows = self.gallery, self.gallery.rows_of(file)
        if not gallery.has_vision[rows].any():
            return "audio"
        return "video" if gallery.end[rows].max() > 0 else "image"


def file_id(file: str) -> str:
    """What clients call a file."""
    return blake2b(file.encode(), digest_size=FILE_DIGITS // 2).hexdigest()


def _common_folder(files: Sequence[str]) -> str:
    if not files:
        return ""
    # The first and the last of sorted paths differ as early as any two do.
    common = commonpath([files[0], files[-1]])
    return str(Path(common).parent) if common in files else common
