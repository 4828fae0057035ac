"""The parent's side of one child process, which can be killed."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from io import BufferedIOBase
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import cast

from trichord.media.ipc import MALFORMED, Arrays, Header, IpcError, receive, send
from trichord.media.plan import Limits
from trichord.media.shared_buffer import SharedBuffer, buffer_on, memory_for_buffer

START_SECONDS = 60.0
ENDING_SECONDS = 5.0
PIPE_BYTES = 1024**2
BOOT = "import sys; sys.path.append(sys.argv[1]); from trichord.media.child import main; main()"
"""Isolated mode ignores environment and working directory, so the child gets our path as an argument."""
ROOT = str(Path(__file__).resolve().parents[2])
SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Threads of numerical libraries would reserve most of the child's address space."""
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024**2),
}
"""Keep freed memory for the next file: to get it from the system again costs audio a third of its time.
The C library would set the same thresholds after the first array of that size."""


class LateError(Exception):
    """The child took longer than allowed and was killed."""


class CrashedError(Exception):
    """The child died or sent a malformed answer."""


class ClosedError(Exception):
    """The decoder was closed during a request."""


class Worker:
    """Starts a child when needed, sends it one request at a time, kills it when it is late."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.closed = False
        self.expired = False
        self.child: subprocess.Popen[bytes] | None = None
        self.buffer: SharedBuffer | None = None
        self.watchdog: Watchdog | None = None

    def ask(self, request: Header, take: Callable[[Header, Arrays], None]) -> Header:
        """Send a request, pass each partial answer to `take`, return the last one.

        Raises:
            LateError: beyond the limits' wall or processor time.
            CrashedError: the child died, or its answer was malformed.
            ClosedError: `close` was called from another thread.
        """
        child = self._running()
        try:
            with self._deadline(self.limits.wall_seconds):
                return self._exchange(child, request, take)
        except (OSError, *MALFORMED) as error:
            raise self._died(child, error) from None
        except BaseException:
            self.kill()  # an answer read in part cannot be continued
            raise

    def _exchange(
        self,
        child: subprocess.Popen[bytes],
        request: Header,
        take: Callable[[Header, Arrays], None],
    ) -> Header:
        send(cast("BufferedIOBase", child.stdin), request)
        while True:
            header, arrays = receive(
                cast("BufferedIOBase", child.stdout), self.limits.memory_bytes, self.buffer
            )
            if "end" in header and "span" not in header:
                return header
            take(header, arrays)

    def _running(self) -> subprocess.Popen[bytes]:
        if self.child is None:
            self.child = self._start()
        return self.child

    def _start(self) -> subprocess.Popen[bytes]:
        if self.closed:
            raise ClosedError
        shared = memory_for_buffer()
        try:
            # Set before it answers, so that the watchdog can kill a child that does not start.
            child = self.child = _child(shared)
        finally:
            self.buffer = buffer_on(shared)
        try:
            with self._deadline(START_SECONDS):
                limits = dataclasses.asdict(self.limits)
                send(cast("BufferedIOBase", child.stdin), {"limits": limits, "buffer": shared})
                receive(cast("BufferedIOBase", child.stdout), 0)
        except (IpcError, OSError) as error:
            raise self._died(child, error) from None
        return child

    def _deadline(self, seconds: float) -> AbstractContextManager[None]:
        self.expired = False
        if self.watchdog is None:
            self.watchdog = Watchdog(min(START_SECONDS, self.limits.wall_seconds), self._expire)
        return self.watchdog.within(seconds)

    def _expire(self) -> None:
        self.expired = True
        if (child := self.child) is not None:
            child.kill()

    def _died(self, child: subprocess.Popen[bytes], error: Exception) -> Exception:
        """The error for a failed exchange with the child."""
        self.kill()
        if self.closed:
            return ClosedError()
        # Signals of the child's own limits.
        spent = {-getattr(signal, name, 0) for name in ("SIGXCPU", "SIGALRM")}
        if self.expired or (child.returncode in spent and child.returncode):
            return LateError()
        return CrashedError(str(error))

    def kill(self) -> None:
        """End the child at once; the next request starts another."""
        child, self.child = self.child, None
        if child is not None:
            child.kill()
            _dispose(child)

    def close(self) -> None:
        """Let an idle child end by itself."""
        self.closed = True
        self._unwatch()
        child, self.child = self.child, None
        if child is not None:
            _dispose(child)

    def abort(self) -> None:
        """Kill a busy child; its request raises `ClosedError`."""
        self.closed = True
        self._unwatch()
        child = self.child
        if child is not None:
            child.kill()

    def _unwatch(self) -> None:
        if self.watchdog is not None:
            self.watchdog.ended.set()


class Watchdog:
    """Calls `expire` when a deadline passes.

    Its thread checks at least every `period` seconds, the shortest deadline, so that a new deadline
    need not wake it. A thread for each deadline would cost as much as decoding a short audio file.
    """

    def __init__(self, period: float, expire: Callable[[], None]) -> None:
        self.period = period
        self.expire = expire
        self.deadline = math.inf
        self.lock = Lock()
        self.ended = Event()
        Thread(target=self._watch, name="trichord-watchdog", daemon=True).start()

    def _watch(self) -> None:
        wait = self.period
        while not self.ended.wait(wait):
            # Locked while it kills, so that a deadline just met does not end the next request.
            with self.lock:
                left = self.deadline - monotonic()
                if left <= 0:
                    self.deadline = math.inf
                    self.expire()
            wait = min(self.period, left) if left > 0 else self.period

    @contextmanager
    def within(self, seconds: float) -> Generator[None]:
        """Set a deadline for the block."""
        self.deadline = monotonic() + seconds
        try:
            yield
        finally:
            with self.lock:
                self.deadline = math.inf


def _child(shared: int | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-c", BOOT, ROOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **SINGLE_THREADED, **MALLOC},
        pass_fds=[] if shared is None else [shared],
        start_new_session=True,  # Ctrl-C goes to the parent, which ends the children
        pipesize=PIPE_BYTES,
    )


def _dispose(child: subprocess.Popen[bytes]) -> None:
    """Close the pipes, which makes a living child end; kill it if it does not."""
    for pipe in (child.stdin, child.stdout):
        try:
            cast("BufferedIOBase", pipe).close()
        except OSError:  # unsent bytes for a dead child
            continue
    try:
        child.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
