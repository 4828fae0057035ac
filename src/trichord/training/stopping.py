"""Signals that ask a training to stop: noted when they come, heeded between two steps."""

import signal
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from trichord.distributed import rank, ranks, together

PATIENCE = 2.0
"""Seconds; whoever interrupts a second time after these does not want to wait for the step to end."""


class TerminatedError(SystemExit):
    """SIGTERM came, and the run was saved; the process ends as a shell says that such a one does."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class StopRequest:
    """The signal that asked this process to stop, if one did."""

    def __init__(self) -> None:
        self.signal = 0
        self._came = 0.0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take note of a signal.

        Raises:
            KeyboardInterrupt: It is the second interruption, by somebody who will not wait.
        """
        del frame
        now = time.monotonic()
        if self.signal and number == signal.SIGINT and now - self._came > PATIENCE:
            raise KeyboardInterrupt
        if not self.signal:
            self.signal, self._came = number, now


def stop(number: int) -> None:
    """End as a signal asks for; all processes together, and rank 0 speaks for them.

    Raises:
        TerminatedError: It was SIGTERM.
        KeyboardInterrupt: It was SIGINT.
        SystemExit: It was SIGINT, on another rank than 0.
    """
    together(lambda: None)  # who left at once would close what others still speak through
    if number == signal.SIGTERM:
        raise TerminatedError
    if rank() == 0:
        raise KeyboardInterrupt
    raise SystemExit(128 + signal.SIGINT)


@contextmanager
def stoppable() -> Generator[StopRequest]:
    """Have SIGTERM and SIGINT noted instead of obeyed; outside the main thread they are not ours."""
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
    """Let an error that leaves a training of several processes hold on to nothing of it.

    Its frames would keep the process group until after its end, and to free it then may wait for ever
    for threads of its own.
    """
    try:
        yield
    except BaseException as error:
        if ranks() > 1:
            traceback.clear_frames(error.__traceback__)
        raise
