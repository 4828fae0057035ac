"""Files, moments and hits as clients see them: by ids, made from paths, which stay on the server."""

import math
import struct
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from os.path import commonpath
from pathlib import Path

from trichord.search.filters import KINDS, Kind, kinds_of, path_below
from trichord.search.gallery import Gallery
from trichord.service.errors import RefusedError
from trichord.service.schemas import FoundTextResponse, HitResponse, PartScore, WordResponse
from trichord.types import FoundText, Hit, Moment

FILE_DIGITS = 24
MOMENT_DIGITS = FILE_DIGITS + 16


@dataclass(frozen=True, slots=True)
class ClientFile:
    """A file as clients see it: its id, its path, its kind, and when it was last changed."""

    id: str
    display_path: str
    kind: Kind
    changed: str

    def moment(self, start: float) -> str:
        """The id of its moment that starts there."""
        return self.id + struct.pack(">d", start).hex()


class Catalogue:
    """The files and moments of a gallery by id.

    The id of a file is a digest of its path, that of a moment is its file's id and its start. Both stay the
    same as long as the file stays in its place.

    Attributes:
        gallery: The moments.
        folders: Folders that clients' paths are relative to, the innermost first.
    """

    def __init__(self, gallery: Gallery, roots: Sequence[Path] = ()) -> None:
        """Compute the ids of the files.

        Args:
            gallery: The moments.
            roots: Folders that clients' paths are relative to; for files elsewhere, the common folder of
                all files.
        """
        self.gallery = gallery
        innermost = sorted((str(root) for root in roots), key=len, reverse=True)
        self.folders = (*innermost, _common_folder(gallery.files))
        self._files = {file_id(file): file for file in gallery.files}
        self._kinds = kinds_of(gallery).tolist()
        self._client_files: dict[str, ClientFile] = {}

    def file(self, name: str) -> str:
        """The path of a file.

        Raises:
            RefusedError: 404: there is none with this id.
        """
        if (file := self._files.get(name)) is None:
            raise RefusedError(404, "This file is not in the archive any more: search again.")
        return file

    def moment(self, name: str) -> Moment:
        """A moment.

        Raises:
            RefusedError: 404: there is none with this id.
        """
        row = None
        if len(name) == MOMENT_DIGITS and set(name) <= set("0123456789abcdef"):
            (start,) = struct.unpack(">d", bytes.fromhex(name[FILE_DIGITS:]))
            if math.isfinite(start):
                row = self.gallery.row_of(self.file(name[:FILE_DIGITS]), start)
        if row is None:
            raise RefusedError(404, "This moment is not in the archive any more: search again.")
        return self.gallery.moment(row)

    def display_path(self, file: str) -> str:
        """The path of a file as clients see it."""
        return path_below(file, self.folders)

    def client_file(self, file: str) -> ClientFile:
        """A file as clients see it, cached: many hits have the same file."""
        if (known := self._client_files.get(file)) is None:
            known = self._client_files[file] = ClientFile(
                file_id(file), self.display_path(file), self.kind(file), self.changed(file)
            )
        return known

    def to_response(self, hits: Iterable[Hit], missing: Collection[str] = ()) -> list[HitResponse]:
        """Hits as clients see them; a hit without a score is left out.

        Args:
            hits: The hits.
            missing: Those of their files that are missing.
        """
        return [self._hit(hit, missing) for hit in hits if math.isfinite(hit.score)]

    def _hit(self, hit: Hit, missing: Collection[str]) -> HitResponse:
        moment, client_file = hit.moment, self.client_file(hit.moment.file)
        name = client_file.moment(moment.start)
        return HitResponse(
            id=name,
            file=client_file.id,
            name=client_file.display_path,
            start=moment.start,
            end=moment.end,
            score=hit.score,
            visual=number(hit.visual),
            audio=number(hit.audio),
            reranked=number(hit.reranked),
            caption=hit.caption,
            tags=list(hit.tags),
            parts=[
                PartScore(visual=number(visual), audio=number(audio)) for visual, audio in hit.parts
            ],
            media=f"/api/media/{client_file.id}",
            thumbnail=f"/api/thumbnails/{name}",
            kind=client_file.kind,
            changed=client_file.changed,
            chance=number(hit.chance),
            weak=hit.weak,
            demoted=hit.demoted,
            texts=[text_response(text) for text in hit.texts],
            play=hit.start,
            missing=moment.file in missing,
            more=self.to_response(hit.more, missing),
        )

    def kind(self, file: str) -> Kind:
        """Whether a file is a video, a sound or a picture."""
        return KINDS[self._kinds[self.place(file)]]

    def changed(self, file: str) -> str:
        """When a file was last changed, as an ISO time in UTC."""
        seconds = int(self.gallery.mtime_ns[self.place(file)]) // 1_000_000_000
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")

    def place(self, file: str) -> int:
        """The place of a file in the gallery's files."""
        return bisect_left(self.gallery.files, file)


def number(value: float | None) -> float | None:
    """A number for JSON; None if it is missing or not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


def numbers(values: Iterable[float | None]) -> list[float | None]:
    """Numbers for JSON."""
    return [number(value) for value in values]


def file_id(file: str) -> str:
    """The id of a file."""
    return blake2b(file.encode(), digest_size=FILE_DIGITS // 2).hexdigest()


def _common_folder(files: Sequence[str]) -> str:
    if not files:
        return ""
    # The first and the last of sorted paths differ as early as any two do.
    common = commonpath([files[0], files[-1]])
    return str(Path(common).parent) if common in files else common


def text_response(text: FoundText) -> FoundTextResponse:
    """A found line for clients."""
    words = [WordResponse(word=word, start=start) for word, start in text.words]
    return FoundTextResponse(
        kind=text.kind, start=text.start, end=text.end, text=text.text, words=words
    )
