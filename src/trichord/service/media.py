"""Media files for players: whole or a range of bytes, opened so that no link leads elsewhere."""

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

from trichord.media.sniff import HEAD, container_of
from trichord.service.errors import RefusedError
from trichord.service.security import MEDIA_POLICY

PORTION = 256 * 1024
"""Bytes read at a time."""
GONE = "The file is not there any more: index the archive again."
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
"""Media types by container, which a file's first bytes tell; no other file is sent."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `first` to `last`, both sent."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """How many bytes."""
        return self.last - self.first + 1


def within(place: str, roots: Sequence[Path]) -> Path:
    """Where a listed file truly lies, links followed.

    Args:
        place: Absolute path as the collection lists it.
        roots: Folders in which a link may end; elsewhere a file must lie where its path says.

    Raises:
        RefusedError: 404: it is gone, or a link leads elsewhere.
    """
    try:
        real = Path(place).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle
        raise RefusedError(404, GONE) from None
    if real != Path(place) and not any(real.is_relative_to(root) for root in roots):
        raise RefusedError(404, GONE)
    return real


def opened(path: Path) -> BinaryIO:
    """Open a regular file at an absolute path on which there is no link.

    Each step is opened from the one before it, so that no folder can be exchanged for a link
    between a check and its use.

    Raises:
        OSError: It is missing, is no regular file, or there is a link on the way.
    """
    folder = os.open(path.anchor, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in path.parts[1:-1]:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        # Not blocking: a pipe by that name would never open.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(path.name, flags, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError("no regular file")
    return os.fdopen(file, "rb", buffering=0)


def media_type(head: bytes) -> str | None:
    """The media type of a file that begins with these bytes; None where it is not sent."""
    container = container_of(head)
    if container == "matroska" and b"webm" in head[:64]:
        return "video/webm"
    if container == "ogg" and b"theora" in head[:128]:
        return "video/ogg"
    if container == "mov" and head[8:12] in (b"M4A ", b"M4B "):
        return "audio/mp4"
    return TYPES.get(container or "")


def range_of(header: str | None, size: int) -> ByteRange | None:
    """The one range of bytes that a `Range` header asks for (RFC 9110, section 14).

    Returns:
        None to send the whole file: no header, one of another form, or several ranges, which a
        server may decline to serve.

    Raises:
        RefusedError: 416: it begins behind the end.
    """
    unit, _, spec = (header or "").partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or not _digits(first) or not _digits(last):
        return None
    if not first:
        if not last:
            return None
        count = min(int(last), size)
        found = ByteRange(size - count, size - 1)
    else:
        found = ByteRange(int(first), min(int(last), size - 1) if last else size - 1)
        if last and int(last) < int(first):
            return None
    if found.count < 1:
        refused = RefusedError(416, f"The file has {size} bytes: ask for a range inside.")
        refused.headers = {"Content-Range": f"bytes */{size}"}
        raise refused
    return found


def _digits(text: str) -> bool:
    return len(text) <= 18 and (not text or (text.isascii() and text.isdigit()))


async def stream(
    place: str, roots: Sequence[Path], asked: Mapping[str, str], *, body: bool = True
) -> Response:
    """The response with a file, or the part of it that is asked for.

    Args:
        place: Absolute path as the collection lists it.
        roots: Folders in which links may end.
        asked: The request's headers, names in lower case.
        body: Whether to send any of it, or just to say what would be sent (HEAD).

    Raises:
        RefusedError: 404: gone or a link to elsewhere; 415: no media; 416: no such range.
    """
    file, head = await asyncio.to_thread(_begin, place, roots)
    try:
        now = os.fstat(file.fileno())
        kind = media_type(head)
        if kind is None:
            raise RefusedError(415, "The file is no video, sound or picture any more.")
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
        if _unchanged(asked, headers["ETag"]):
            file.close()
            return Response(status_code=304, headers=headers)
        part = range_of(asked.get("range"), now.st_size) if _current(asked, headers) else None
    except BaseException:
        file.close()
        raise
    if part is not None:
        headers["Content-Range"] = f"bytes {part.first}-{part.last}/{now.st_size}"
    sent = part or ByteRange(0, now.st_size - 1)
    headers["Content-Length"] = str(sent.count)
    status = 200 if part is None else 206
    if not body:
        file.close()
        return Response(status_code=status, headers=headers, media_type=kind)
    return _FileResponse(file, sent, status, headers, kind)


def _begin(place: str, roots: Sequence[Path]) -> tuple[BinaryIO, bytes]:
    real = within(place, roots)
    try:
        file = opened(real)
    except OSError:
        raise RefusedError(404, GONE) from None
    try:
        return file, file.read(HEAD)
    except OSError:
        file.close()
        raise RefusedError(404, GONE) from None


def _unchanged(asked: Mapping[str, str], tag: str) -> bool:
    known = [one.strip().removeprefix("W/") for one in asked.get("if-none-match", "").split(",")]
    return "*" in known or tag in known


def _current(asked: Mapping[str, str], headers: Mapping[str, str]) -> bool:
    """Whether the client's part of the file is of this version, so that a range continues it."""
    condition = asked.get("if-range")
    if condition is None or condition == headers["ETag"]:
        return True
    try:
        return parsedate_to_datetime(condition) == parsedate_to_datetime(headers["Last-Modified"])
    except (TypeError, ValueError):
        return False


class _FileResponse(StreamingResponse):
    """A part of an open file, which is closed however the sending ends."""

    def __init__(
        self, file: BinaryIO, sent: ByteRange, status: int, headers: Mapping[str, str], kind: str
    ) -> None:
        super().__init__(_portions(file, sent), status, headers, kind)
        self.file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.file.close()


async def _portions(file: BinaryIO, sent: ByteRange) -> AsyncIterator[bytes]:
    at, rest = sent.first, sent.count
    while rest > 0:
        portion = await asyncio.to_thread(os.pread, file.fileno(), min(PORTION, rest), at)
        if not portion:  # it has become shorter: the client sees that bytes are missing
            return
        yield portion
        at, rest = at + len(portion), rest - len(portion)
