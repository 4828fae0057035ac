"""Where tables lie: a folder, or a prefix of a bucket, by the same words."""

import os
import re
import shutil
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Protocol, runtime_checkable

from trichord.storage.buckets import Bucket
from trichord.types import UserError
from trichord.types.files import write_atomically

WAIT = 60.0
"""Seconds to wait for another writer's commit."""
POLL = 0.01
"""Seconds between looks at whether a lock of a folder is free."""
LOCKS = (".turn", ".lock")
"""Taken in this order, the first given back once the second is held: see `Storage.writing`."""


@runtime_checkable
class _Place(Protocol):
    """What a folder and a bucket do in their own way."""

    def read(self, name: str) -> bytes | None: ...
    def write(self, name: str, content: bytes) -> None: ...
    def remove(self, name: str) -> None: ...
    def names(self) -> list[str]: ...
    def take(self, lock: str, deadline: float) -> "_Held | None": ...


@runtime_checkable
class _Held(Protocol):
    """A lock that is held, unless it was lost: one in a bucket may be."""

    def renew(self) -> bool: ...
    def give_back(self) -> None: ...


class Storage:
    """The files of a collection or of cached features, in a folder or below `s3://bucket/prefix`.

    Whatever reads or writes them goes through here, so that a bucket is no other case.

    Attributes:
        name: The place as it was given.
        local: The folder; None for a bucket.
        options: What Lance must know to reach a bucket; None for a folder.
        cache: A folder for what can be made again; it need not exist yet.
    """

    def __init__(self, where: str | Path) -> None:
        """Name a place, which need not exist yet.

        Args:
            where: A folder, or `s3://bucket/prefix`. Credentials, region and endpoint of a bucket
                come from the usual `AWS_…` variables and files.
        """
        self.name = str(where)
        # A path that went through `Path` has lost one of its slashes.
        bucket = re.fullmatch(r"s3:/+([^/]+)/*(.*?)/*", self.name)
        self._place: _Place
        if bucket is None:
            self.local: Path | None = Path(where)
            self.options: dict[str, str] | None = None
            self.cache = self.local / "cache"
            self._root = str(self.local)
            self._place = _Folder(self.local)
        else:
            self.name = self._root = "s3://" + "/".join(filter(None, bucket.groups()))
            self.local = None
            place = Bucket(self.name, *bucket.groups())
            self.options = place.options
            self.cache = _caches() / blake2b(self.name.encode(), digest_size=8).hexdigest()
            self._place = place
        self._mine = threading.RLock()
        self._held: _Held | None = None

    def uri(self, name: str) -> str:
        """How Lance names what lies there under a name."""
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes | None:
        """A file's content; None where it is not there.

        Raises:
            UserError: It cannot be read.
        """
        return self._place.read(name)

    def write(self, name: str, content: bytes | str) -> None:
        """Write a file, whole or not at all; text as UTF-8.

        Raises:
            UserError: It cannot be written, or the place is no longer held; see `writing`.
        """
        self._require_held()
        self._place.write(name, content.encode() if isinstance(content, str) else content)

    def remove(self, name: str) -> None:
        """Delete a file, or a folder and all in it; what is not there is deleted already.

        Raises:
            UserError: It cannot be deleted, or the place is no longer held; see `writing`.
        """
        self._require_held()
        self._place.remove(name)

    def names(self) -> list[str]:
        """Names of the files and folders there, sorted."""
        return sorted(self._place.names())

    def vacant(self) -> bool:
        """Whether nothing is there but what a killed beginning left: hidden files."""
        return all(name in LOCKS or re.fullmatch(r"\..*\.part", name) for name in self.names())

    @contextmanager
    def writing(self) -> Generator[None]:
        """Hold the place for a commit: a short time, in which no one else commits.

        Who waits has the next turn: a writer that has just given the place back queues behind them.
        The lock is gone with the process that holds it, killed or not (in a bucket some seconds
        later). Within a thread it may be taken again.

        The holder of a bucket who stood still for long may have been taken for dead, and others may
        have changed it since. That is noticed before anything more is changed.

        Raises:
            UserError: The place cannot be written to, others held it for a minute, or it was taken
                over from its holder.
        """
        deadline = time.monotonic() + WAIT
        if not self._mine.acquire(timeout=WAIT):
            raise self._busy()
        try:
            if self._held is not None:
                self._require_held()
                yield
                return
            self._held = self._take(deadline)
            try:
                yield
            finally:
                held, self._held = self._held, None
                held.give_back()
        finally:
            self._mine.release()

    def _require_held(self) -> None:
        """Go on only if what was held still is."""
        if (held := self._held) is not None and not held.renew():
            raise UserError(
                f"{self.name} was taken over by another process, because this one stood still for too "
                "long: nothing was changed since; start again."
            )

    def _take(self, deadline: float) -> _Held:
        turn = self._place.take(LOCKS[0], deadline)
        if turn is None:
            raise self._busy()
        try:
            held = self._place.take(LOCKS[1], deadline)
        finally:
            turn.give_back()
        if held is None:
            raise self._busy()
        return held

    def _busy(self) -> UserError:
        return UserError(
            f"{self.name} has been held by another process for {WAIT:g} s: wait until it has "
            "finished, or end it."
        )


class _Folder:
    """A folder of the file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"{self.path / name}: cannot be read: {error.strerror}") from error

    def write(self, name: str, content: bytes) -> None:
        write_atomically(self.path / name, content)

    def remove(self, name: str) -> None:
        path = self.path / name
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be deleted: {error.strerror}") from error

    def names(self) -> list[str]:
        try:
            return [path.name for path in self.path.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read: {error.strerror}") from error

    def take(self, lock: str, deadline: float) -> "_Flock | None":
        import fcntl  # absent on Windows, where searching works nevertheless

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error
        held = _Flock(descriptor)
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return held
            if time.monotonic() > deadline:
                held.give_back()
                return None
            time.sleep(POLL)


class _Flock:
    """A lock of the operating system, which lets go of it where the process is killed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def renew(self) -> bool:
        return True  # nobody can take it

    def give_back(self) -> None:
        os.close(self.descriptor)


def _caches() -> Path:
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The specification: a relative path is to be ignored.
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "trichord"
