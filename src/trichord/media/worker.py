"""The parent's side of one child process, which can be killed."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from threading import Timer
from typing import cast

from trichord.media.ipc import MALFORMED, Arrays, Header, IpcError, receive, send
from trichord.media.plan import Limits

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
        self.child: subprocess.Popen[bytes] | None = None
        self.expired: subprocess.Popen[bytes] | None = None
        """The last child that was killed at its deadline."""

    def ask(self, request: Header, take: Callable[[Header, Arrays], None]) -> Header:
        """Send a request, pass each partial answer to `take`, return the last one.

        Raises:
            LateError: beyond the limits' wall or processor time.
            CrashedError: the child died, or its answer was malformed.
            ClosedError: `close` was called from another thread.
        """
        child = self.child or self._start()
        requests, answers = (
            cast("BufferedIOBase", child.stdin),
            cast("BufferedIOBase", child.stdout),
        )
        try:
            with self._deadline(child, self.limits.wall_seconds):
                send(requests, request)
                while True:
                    header, arrays = receive(answers, self.limits.memory_bytes)
                    if "end" in header and "span" not in header:
                        return header
                    take(header, arrays)
        except (OSError, *MALFORMED) as error:
            raise self._died(child, error) from None
        except BaseException:
            self.kill()  # an answer read in part cannot be continued
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        if self.closed:
            raise ClosedError
        # Set before it answers, so that `abort` can kill a child that does not start.
        child = self.child = subprocess.Popen(
            [sys.executable, "-I", "-c", BOOT, ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **SINGLE_THREADED, **MALLOC},
            start_new_session=True,  # Ctrl-C goes to the parent, which ends the children
            pipesize=PIPE_BYTES,
        )
        try:
            with self._deadline(child, START_SECONDS):
                limits = dataclasses.asdict(self.limits)
                send(cast("BufferedIOBase", child.stdin), {"limits": limits})
                receive(cast("BufferedIOBase", child.stdout), 0)
        except (IpcError, OSError) as error:
            raise self._died(child, error) from None
        return child

    @contextmanager
    def _deadline(self, child: subprocess.Popen[bytes], seconds: float) -> Generator[None]:
        """Kill a child if the block takes longer."""

        def expire() -> None:
            self.expired = child
            child.kill()

        timer = Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            # It may be killing the child that has just met its deadline: the next request needs another.
            timer.join()
            if self.expired is child:
                self.kill()

    def _died(self, child: subprocess.Popen[bytes], error: Exception) -> Exception:
        """The error for a failed exchange with the child."""
        self.kill()
        if self.closed:
            return ClosedError()
        # Signals of the child's own limits.
        spent = {-getattr(signal, name, 0) for name in ("SIGXCPU", "SIGALRM")}
        if self.expired is child or (child.returncode in spent and child.returncode):
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
        child, self.child = self.child, None
        if child is not None:
            _dispose(child)

    def abort(self) -> None:
        """Kill a busy child; its request raises `ClosedError`."""
        self.closed = True
        child = self.child
        if child is not None:
            child.kill()


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
