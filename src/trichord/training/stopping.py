"""Signals that stop a training: recorded when they arrive, handled between two steps."""

import signal
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from trichord.distributed import on_all_ranks, rank, world_size

PATIENCE = 2.0
"""Seconds after which a second interruption stops at once, without waiting for the end of the step."""


class TerminatedError(SystemExit):
    """SIGTERM arrived, and the run is saved; the exit code is that of a shell for SIGTERM."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class StopRequest:
    """The signal that asks this process to stop, if any."""

    def __init__(self) -> None:
        self.signal = 0
        self._came = 0.0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Record a signal.

        Raises:
            KeyboardInterrupt: A second interruption after `PATIENCE`.
        """
        del frame
        now = time.monotonic()
        if self.signal and number == signal.SIGINT and now - self._came > PATIENCE:
            raise KeyboardInterrupt
        if not self.signal:
            self.signal, self._came = number, now


def stop(number: int) -> None:
    """Stop all processes after a signal; rank 0 reports it.

    Raises:
        TerminatedError: It was SIGTERM.
        KeyboardInterrupt: It was SIGINT.
        SystemExit: It was SIGINT, on another rank than 0.
    """
    on_all_ranks(lambda: None)  # a process that ended now would break the others' communication
    if number == signal.SIGTERM:
        raise TerminatedError
    if rank() == 0:
        raise KeyboardInterrupt
    raise SystemExit(128 + signal.SIGINT)


@contextmanager
def stoppable() -> Generator[StopRequest]:
    """Record SIGTERM and SIGINT instead of obeying them; only in the main thread."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {one: signal.signal(one, request.note) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for one, then in before.items():
            signal.signal(one, signal.SIG_DFL if then is None else then)


@contextmanager
def freeing_memory() -> Generator[None]:
    """Clear the frames of an error in distributed training.

    They would keep the process group alive until the interpreter ends, and freeing it then may wait
    forever for its threads.
    """
    try:
        yield
    except BaseException as error:
        if world_size() > 1:
            traceback.clear_frames(error.__traceback__)
        raise
