"""A folder, or a prefix of a bucket, behind one interface."""

import os
import re
import shutil
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from trichord.storage.buckets import Bucket, Lease
from trichord.types import UserError
from trichord.types.files import write_atomically

WAIT = 60.0
"""Seconds to wait for the commit of another writer."""
POLL = 0.01
"""Seconds between attempts to lock a folder."""
LOCKS = (".turn", ".lock")
"""Taken in this order; the first is released once the second is taken: see `Storage.writing`."""


class _FolderLock:
    """A lock of the operating system, which releases it if the process is killed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def renew(self) -> bool:
        return True  # it cannot be lost

    def give_back(self) -> None:
        os.close(self.descriptor)


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

    def take(self, lock: str, deadline: float) -> _FolderLock | None:
        import fcntl  # not on Windows, where searching works without it

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error
        taken = _FolderLock(descriptor)
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return taken
            if time.monotonic() > deadline:
                taken.give_back()
                return None
            time.sleep(POLL)


class Storage:
    """The files of a collection or of cached features, in a folder or below `s3://bucket/prefix`.

    All reads and writes go through here, so that callers need not know about buckets.

    Attributes:
        name: The location as given.
        local: The folder; None for a bucket.
        options: Lance's storage options for a bucket; None for a folder.
        cache: A folder for data that can be computed again; it need not exist yet.
    """

    def __init__(self, location: str | Path) -> None:
        """Name a location, which need not exist yet.

        Args:
            location: A folder, or `s3://bucket/prefix`. Credentials, region and endpoint of a bucket
                come from the usual `AWS_…` variables and files.
        """
        self.name = str(location)
        # `Path` removes one of the slashes.
        bucket = re.fullmatch(r"s3:/+([^/]+)/*(.*?)/*", self.name)
        self._backend: _Folder | Bucket
        if bucket is None:
            self.local: Path | None = Path(location)
            self.options: dict[str, str] | None = None
            self.cache = self.local / "cache"
            self._root = str(self.local)
            self._backend = _Folder(self.local)
        else:
            self.name = self._root = "s3://" + "/".join(filter(None, bucket.groups()))
            self.local = None
            bucket_backend = Bucket(self.name, *bucket.groups())
            self.options = bucket_backend.options
            self.cache = _cache_folder() / blake2b(self.name.encode(), digest_size=8).hexdigest()
            self._backend = bucket_backend
        self._thread_lock = threading.RLock()
        self._lock: _FolderLock | Lease | None = None

    def uri(self, name: str) -> str:
        """The address of a name, for Lance."""
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if it does not exist.

        Raises:
            UserError: It cannot be read.
        """
        return self._backend.read(name)

    def write(self, name: str, content: bytes | str) -> None:
        """Write a file atomically; text as UTF-8.

        Raises:
            UserError: It cannot be written, or the lock was lost; see `writing`.
        """
        self._require_lock()
        self._backend.write(name, content.encode() if isinstance(content, str) else content)

    def remove(self, name: str) -> None:
        """Delete a file, or a folder and all in it; it need not exist.

        Raises:
            UserError: It cannot be deleted, or the lock was lost; see `writing`.
        """
        self._require_lock()
        self._backend.remove(name)

    def names(self) -> list[str]:
        """Names of the files and folders there, sorted."""
        return sorted(self._backend.names())

    def vacant(self) -> bool:
        """Whether it is empty but for hidden files that a killed process left."""
        return all(name in LOCKS or re.fullmatch(r"\..*\.part", name) for name in self.names())

    @contextmanager
    def writing(self) -> Generator[None]:
        """Lock the storage for a commit: a short time, in which no other process commits.

        Waiting writers come first: one that has just released the lock queues behind them. The lock
        ends with its process, killed or not (in a bucket some seconds later). A thread may take it
        again while it holds it.

        A process that is suspended for long may lose its lock on a bucket, and others may change the
        bucket. This is checked before each further change.

        Raises:
            UserError: The storage cannot be written to, others held the lock for a minute, or the lock
                was lost.
        """
        deadline = time.monotonic() + WAIT
        if not self._thread_lock.acquire(timeout=WAIT):
            raise self._busy()
        try:
            if self._lock is not None:
                self._require_lock()
                yield
                return
            self._lock = self._take(deadline)
            try:
                yield
            finally:
                lock, self._lock = self._lock, None
                lock.give_back()
        finally:
            self._thread_lock.release()

    def _require_lock(self) -> None:
        """Refuse to continue if the lock was lost."""
        if (lock := self._lock) is not None and not lock.renew():
            raise UserError(
                f"{self.name} was taken over by another process, because this one was suspended for too "
                "long: nothing was changed since; start again."
            )

    def _take(self, deadline: float) -> _FolderLock | Lease:
        turn = self._backend.take(LOCKS[0], deadline)
        if turn is None:
            raise self._busy()
        try:
            lock = self._backend.take(LOCKS[1], deadline)
        finally:
            turn.give_back()
        if lock is None:
            raise self._busy()
        return lock

    def _busy(self) -> UserError:
        return UserError(
            f"{self.name} has been locked by another process for {WAIT:g} s: wait until it has "
            "finished, or end it."
        )


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: ignore a relative path.
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "trichord"
