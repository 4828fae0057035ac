"""Media files for players: complete or a range of bytes, opened so that no link leads elsewhere."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from trichord.media.containers import HEAD, container_of
from trichord.service.errors import RefusedError
from trichord.service.security import MEDIA_POLICY

CHUNK = 256 * 1024
"""Bytes read at a time."""
MISSING = "The file does not exist any more: index the archive again."
TYPES = {
    "mov": "video/mp4",
    "matroska": "video/x-matroska",
    "avi": "video/x-msvideo",
    "wav": "audio/wav",
    "aiff": "audio/aiff",
    "flv": "video/x-flv",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "caf": "audio/x-caf",
    "amr": "audio/amr",
    "asf": "video/x-ms-asf",
    "mpeg": "video/mpeg",
    "mpegts": "video/mp2t",
    "aac": "audio/aac",
    "mp3": "audio/mpeg",
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "bmp": "image/bmp",
    "avif": "image/avif",
}
"""Media types by container, detected by a file's first bytes; no other file is sent."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `first` to `last`, inclusive."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """How many bytes."""
        return self.last - self.first + 1


def within(place: str, roots: Sequence[Path]) -> Path:
    """The real path of a file of the collection, with links resolved.

    Args:
        place: Absolute path as in the collection.
        roots: Folders that links may lead to; elsewhere no links are allowed.

    Raises:
        RefusedError: 404: it is missing, or a link leads elsewhere.
    """
    try:
        real = Path(place).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle
        raise RefusedError(404, MISSING) from None
    if real != Path(place) and not any(real.is_relative_to(root) for root in roots):
        raise RefusedError(404, MISSING)
    return real


def open_regular_file(path: Path) -> BinaryIO:
    """Open a regular file at an absolute path without links.

    Each folder is opened relative to the one before, so that nobody can replace a folder by a link between
    a check and its use.

    Raises:
        OSError: It is missing, is not a regular file, or its path has a link.
    """
    folder = os.open(path.anchor, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in path.parts[1:-1]:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        # Not blocking: a pipe of that name would never open.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(path.name, flags, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError("not a regular file")
    return os.fdopen(file, "rb", buffering=0)


def media_type(head: bytes) -> str | None:
    """The media type of a file by its first bytes; None if it is not sent."""
    container = container_of(head)
    if container == "matroska" and b"webm" in head[:64]:
        return "video/webm"
    if container == "ogg" and b"theora" in head[:128]:
        return "video/ogg"
    if container == "mov" and head[8:12] in (b"M4A ", b"M4B "):
        return "audio/mp4"
    return TYPES.get(container or "")


def range_of(header: str | None, size: int) -> ByteRange | None:
    """The range of bytes of a `Range` header (RFC 9110, section 14).

    Returns:
        None to send the complete file: there is no header, it has another form, or it has several ranges,
        which a server may decline to serve.

    Raises:
        RefusedError: 416: it begins after the end.
    """
    unit, _, spec = (header or "").partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or not _digits(first) or not _digits(last):
        return None
    if not first:
        if not last:
            return None
        count = min(int(last), size)
        part = ByteRange(size - count, size - 1)
    else:
        part = ByteRange(int(first), min(int(last), size - 1) if last else size - 1)
        if last and int(last) < int(first):
            return None
    if part.count < 1:
        refused = RefusedError(416, f"The file has {size} bytes: ask for a range inside.")
        refused.headers = {"Content-Range": f"bytes */{size}"}
        raise refused
    return part


def _digits(text: str) -> bool:
    return len(text) <= 18 and (not text or (text.isascii() and text.isdigit()))


async def stream(
    place: str, roots: Sequence[Path], request: Mapping[str, str], *, body: bool = True
) -> Response:
    """The response with a file, or the requested part of it.

    Args:
        place: Absolute path as in the collection.
        roots: Folders that links may lead to.
        request: The headers of the request, names in lower case.
        body: Whether to send the body, or only the headers (HEAD).

    Raises:
        RefusedError: 404: missing, or a link leads elsewhere; 415: not media; 416: no such range.
    """
    file, head = await asyncio.to_thread(_begin, place, roots)
    try:
        now = os.fstat(file.fileno())
        kind = media_type(head)
        if kind is None:
            raise RefusedError(415, "The file is not a video, sound or picture any more.")
        mark = blake2b(
            f"{now.st_dev} {now.st_ino} {now.st_size} {now.st_mtime_ns}".encode(), digest_size=12
        )
        headers = {
            "ETag": f'"{mark.hexdigest()}"',
            "Last-Modified": formatdate(now.st_mtime, usegmt=True),
            "Accept-Ranges": "bytes",
            "Cache-Control": "private, no-cache",
            "Content-Security-Policy": MEDIA_POLICY,
            "Content-Disposition": "inline",
        }
        if _unchanged(request, headers["ETag"]):
            file.close()
            return Response(status_code=304, headers=headers)
        part = range_of(request.get("range"), now.st_size) if _current(request, headers) else None
    except BaseException:
        file.close()
        raise
    if part is not None:
        headers["Content-Range"] = f"bytes {part.first}-{part.last}/{now.st_size}"
    status = 200 if part is None else 206
    part = part or ByteRange(0, now.st_size - 1)
    headers["Content-Length"] = str(part.count)
    if not body:
        file.close()
        return Response(status_code=status, headers=headers, media_type=kind)
    return _FileResponse(file, part, status, headers, kind)


def _begin(place: str, roots: Sequence[Path]) -> tuple[BinaryIO, bytes]:
    real = within(place, roots)
    try:
        file = open_regular_file(real)
    except OSError:
        raise RefusedError(404, MISSING) from None
    try:
        return file, file.read(HEAD)
    except OSError:
        file.close()
        raise RefusedError(404, MISSING) from None


def _unchanged(request: Mapping[str, str], tag: str) -> bool:
    tags = [t.strip().removeprefix("W/") for t in request.get("if-none-match", "").split(",")]
    return "*" in tags or tag in tags


def _current(request: Mapping[str, str], headers: Mapping[str, str]) -> bool:
    """Whether the client has a part of this version of the file, which a range can continue."""
    condition = request.get("if-range")
    if condition is None or condition == headers["ETag"]:
        return True
    try:
        return parsedate_to_datetime(condition) == parsedate_to_datetime(headers["Last-Modified"])
    except (TypeError, ValueError):
        return False


class _FileResponse(StreamingResponse):
    """A part of an open file, which is always closed in the end."""

    def __init__(
        self, file: BinaryIO, part: ByteRange, status: int, headers: Mapping[str, str], kind: str
    ) -> None:
        super().__init__(_chunks(file, part), status, headers, kind)
        self.file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.file.close()


async def _chunks(file: BinaryIO, part: ByteRange) -> AsyncIterator[bytes]:
    at, end = part.first, part.last + 1
    while at < end:
        chunk = await asyncio.to_thread(os.pread, file.fileno(), min(CHUNK, end - at), at)
        if not chunk:  # the file became shorter: the client sees that bytes are missing
            return
        yield chunk
        at += len(chunk)
