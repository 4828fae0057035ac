"""Files that clients search with: kept for minutes, in their own folder, with random names."""

import asyncio
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request

from trichord.media.decoder import Decoder
from trichord.media.probe import USABLE, Probe, Status
from trichord.search.filters import Kind
from trichord.service.allowance import Allowance
from trichord.service.errors import RefusedError

FIELD = "file"
FIELDS = 8
"""Fields of a form beside the file; the page sends none."""
FIELD_BYTES = 4096
"""Size of each of them: they are kept in memory."""
PREFIX = "trichord-uploads-"
UNREADABLE: Mapping[Status, str] = {
    "unsupported": (
        "The file is not a video, sound or picture that can be read: send another format, such as "
        "MP4, WAV or JPEG."
    ),
    "corrupt": "The file is damaged or incomplete: try another copy of it.",
    "too_big": "The file has too many pixels or streams: send a smaller version.",
    "timeout": "The file took too long to open: send a shorter part of it.",
}
"""What is wrong with a file, by its status."""
YOUNG = 60.0
"""Seconds in which a new folder may not yet be locked by its service."""
PROBES = 2
"""Threads that wait for the probe of a file."""


@dataclass(slots=True)
class Upload:
    """A file that a client has sent; `used` is the time of its last use."""

    name: str
    path: Path
    size: int
    kind: Kind
    seconds: float
    used: float


class Uploads:
    """The files that clients have sent, in a folder that the service deletes."""

    def __init__(
        self,
        decoder: Decoder,
        allowance: Allowance,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the folder.

        Args:
            decoder: Probes files, in a child process that can be killed.
            allowance: How many files and bytes, and for how long.
            clock: Gives seconds.
        """
        remove_abandoned(Path(tempfile.gettempdir()))
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))  # only for this user
        self._folder_lock = _lock(self.folder)
        self.decoder = decoder
        self.allowance = allowance
        self.clock = clock
        self._uploads: dict[str, Upload] = {}
        self._receiving = 0
        # Its own threads: a file that takes long to open must not delay other work.
        self._probes = ThreadPoolExecutor(PROBES, thread_name_prefix="trichord-upload")

    def __len__(self) -> int:
        return len(self._uploads)

    async def take(self, request: Request) -> Upload:
        """Receive the file of a form and probe it.

        Raises:
            RefusedError: 429: there are too many already; 415: it is not a video, sound or picture;
                507: the disk is full; others as for `receive_file`.
        """
        self.sweep()
        self._require_room()
        name = secrets.token_hex(16)
        path = self.folder / name
        self._receiving += 1
        try:
            size = await receive_file(request, path)
            upload = await self._probe(name, path, size)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise RefusedError(507, "The server has no room for the file.") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._receiving -= 1
        self._uploads[name] = upload
        return upload

    def find(self, name: str) -> Upload:
        """An upload by its id; this extends its lifetime.

        Raises:
            RefusedError: 404: there is none, or it was deleted.
        """
        self.sweep()
        if (upload := self._uploads.get(name)) is None:
            raise RefusedError(404, "The uploaded file does not exist any more: send it again.")
        upload.used = self.clock()
        return upload

    def sweep(self) -> None:
        """Delete uploads that were not used for long."""
        last = self.clock() - self.allowance.upload_lifetime
        for name in [name for name, upload in self._uploads.items() if upload.used < last]:
            with suppress(OSError):
                self._uploads.pop(name).path.unlink()

    def close(self) -> None:
        """Delete all uploads."""
        self._probes.shutdown(wait=False, cancel_futures=True)
        self._uploads.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._folder_lock is not None:
            os.close(self._folder_lock)
            self._folder_lock = None

    def _require_room(self) -> None:
        full = len(self._uploads) + self._receiving >= self.allowance.uploads
        # Files that are being received may become as large as allowed.
        size = sum(upload.size for upload in self._uploads.values())
        size += (self._receiving + 1) * self.allowance.upload_bytes
        if full or size > self.allowance.uploads_bytes:
            oldest = min((upload.used for upload in self._uploads.values()), default=self.clock())
            wait = max(1, round(oldest + self.allowance.upload_lifetime - self.clock()))
            raise RefusedError(
                429, "Too many uploaded files are kept: try again later.", retry=wait, close=True
            )

    async def _probe(self, name: str, path: Path, size: int) -> Upload:
        loop = asyncio.get_running_loop()
        probe = await loop.run_in_executor(self._probes, self.decoder.probe, path)
        if probe.status not in USABLE:
            raise RefusedError(415, UNREADABLE.get(probe.status, UNREADABLE["unsupported"]))
        used = self.clock()
        return Upload(name, path, size, kind_of(probe), probe.duration or 0.0, used)


async def receive_file(request: Request, path: Path) -> int:
    """Write the form's file to a new file that only this user can read.

    Args:
        request: Its body is already limited in size and time (`RequestLimits`).
        path: The new file.

    Returns:
        Its size in bytes.

    Raises:
        HTTPException: 400: the form is incomplete or malformed, has no file, or too many or too large
            fields; 415: it is not a form.
        OSError: The disk is full, or `path` exists.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise RefusedError(415, f"Send the file as multipart/form-data, in a field '{FIELD}'.")
    limits = {"max_files": 1, "max_fields": FIELDS, "max_part_size": FIELD_BYTES}
    try:
        async with request.form(**limits) as form:
            file = form.get(FIELD)
            if not isinstance(file, UploadFile):
                raise RefusedError(
                    400, f"The upload broke off or holds no file: send one, in a field '{FIELD}'."
                )
            # The client's name of the file is ignored: its content decides what it is.
            return await asyncio.to_thread(_copy, file.file, path)
    except ClientDisconnect:
        raise RefusedError(400, "The upload broke off: send it again.", close=True) from None


def _copy(source: Any, path: Path) -> int:
    # Starlette's file has no name, but the decoding process needs one.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        return file.tell()


def remove_abandoned(place: Path) -> None:
    """Delete folders of uploads that killed services left."""
    for folder in place.glob(f"{PREFIX}*") if os.name == "posix" else ():
        with suppress(OSError):
            stats = folder.lstat()
            old = time.time() - stats.st_mtime > YOUNG
            # The folder of another user, or a link, may be a trap.
            own = stat.S_ISDIR(stats.st_mode) and stats.st_uid == os.geteuid()
            if old and own and (lock := _lock(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """A lock on a folder, released with the process; None if another process has it."""
    if os.name != "posix":  # there the folder of a killed service stays
        return None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def kind_of(probe: Probe) -> Kind:
    """The kind of a file, by its content."""
    if probe.video is None:
        return "audio"
    return "video" if probe.duration else "image"
