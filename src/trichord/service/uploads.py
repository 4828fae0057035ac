"""Files that clients search with: kept for minutes, in a folder of their own, found by a random name."""

import asyncio
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from trichord.media.decoder import Decoder
from trichord.media.probe import USABLE, Probe
from trichord.service.allowance import Allowance
from trichord.service.catalogue import Kind
from trichord.service.errors import RefusedError
from trichord.service.receiving import receive_file

PREFIX = "trichord-uploads-"
YOUNG = 60.0
"""Seconds in which a folder may not have been claimed yet by the service that made it."""
LOOKERS = 2
"""Threads that wait for what a child says of a file."""


@dataclass(slots=True)
class Upload:
    """A file that a client has sent; `used` is when it was last asked for."""

    name: str
    path: Path
    size: int
    kind: Kind
    seconds: float
    used: float


class Uploads:
    """The files that clients have sent, in a folder that goes with the service."""

    def __init__(
        self,
        decoder: Decoder,
        allowance: Allowance,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the folder.

        Args:
            decoder: Looks into files, in a child that can be killed.
            allowance: How many files and bytes, and for how long.
            clock: Seconds.
        """
        remove_abandoned(Path(tempfile.gettempdir()))
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))  # only for this user
        self._claim = _claimed(self.folder)
        self.decoder = decoder
        self.allowance = allowance
        self.clock = clock
        self._held: dict[str, Upload] = {}
        self._coming = 0
        # Its own: a file that takes long to open must not hold up what other threads are there for.
        self._lookers = ThreadPoolExecutor(LOOKERS, thread_name_prefix="trichord-upload")

    def __len__(self) -> int:
        return len(self._held)

    async def take(self, request: Request) -> Upload:
        """Receive a form's file and look what it is.

        Raises:
            RefusedError: 429: there are too many already; 415: it is no video, sound or picture;
                507: no room on the disk; others as for `receive_file`.
        """
        self.sweep()
        self._require_room()
        name = secrets.token_hex(16)
        path = self.folder / name
        self._coming += 1
        try:
            size = await receive_file(request, path)
            upload = await self._looked_at(name, path, size)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise RefusedError(507, "The server has no room for the file.") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._coming -= 1
        self._held[name] = upload
        return upload

    def find(self, name: str) -> Upload:
        """A file by the name that its client was given; it is kept for longer then.

        Raises:
            RefusedError: 404: there is none, or no longer.
        """
        self.sweep()
        if (upload := self._held.get(name)) is None:
            raise RefusedError(404, "The uploaded file is not there any more: send it again.")
        upload.used = self.clock()
        return upload

    def sweep(self) -> None:
        """Delete what has not been used for long."""
        last = self.clock() - self.allowance.upload_lifetime
        for name in [name for name, one in self._held.items() if one.used < last]:
            with suppress(OSError):
                self._held.pop(name).path.unlink()

    def close(self) -> None:
        """Delete everything."""
        self._lookers.shutdown(wait=False, cancel_futures=True)
        self._held.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def _require_room(self) -> None:
        full = len(self._held) + self._coming >= self.allowance.uploads
        # What is coming may become as large as allowed.
        there = sum(one.size for one in self._held.values())
        there += (self._coming + 1) * self.allowance.upload_bytes
        if full or there > self.allowance.uploads_bytes:
            oldest = min((one.used for one in self._held.values()), default=self.clock())
            wait = max(1, round(oldest + self.allowance.upload_lifetime - self.clock()))
            raise RefusedError(
                429, "Too many uploaded files are kept: try again later.", retry=wait, close=True
            )

    async def _looked_at(self, name: str, path: Path, size: int) -> Upload:
        loop = asyncio.get_running_loop()
        probe = await loop.run_in_executor(self._lookers, self.decoder.probe, path)
        if probe.status not in USABLE:
            raise RefusedError(
                415, f"The file is no video, sound or picture that can be read ({probe.status})."
            )
        used = self.clock()
        return Upload(name, path, size, kind_of(probe), probe.duration or 0.0, used)


def remove_abandoned(place: Path) -> None:
    """Delete what services that were killed have left of their clients' files."""
    for folder in place.glob(f"{PREFIX}*") if os.name == "posix" else ():
        with suppress(OSError):
            there = folder.lstat()
            old = time.time() - there.st_mtime > YOUNG
            # Another user's may be a trap, and so may a link.
            if old and stat.S_ISDIR(there.st_mode) and there.st_uid == os.geteuid():
                _remove_unclaimed(folder)


def _remove_unclaimed(folder: Path) -> None:
    claim = _claimed(folder)
    if claim is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(claim)


def _claimed(folder: Path) -> int | None:
    """A lock on a folder, which goes with the process; None where another one has it."""
    if os.name != "posix":  # where a killed service leaves its folder behind
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
    """What a file is, by what it holds."""
    if probe.video is None:
        return "audio"
    return "video" if probe.duration else "image"
