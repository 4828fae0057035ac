"""Processes that take work from the end of a row while this one takes it from the front."""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Generic, TypeVar

from trichord.training.stopping import stop, stoppable
from trichord.types import UserError

Item = TypeVar("Item")

GLANCE_SECONDS = 0.1
"""How often whoever waits for the neighbours looks whether a signal asks to stop."""

ENDING_SECONDS = 5.0
"""How long one that has closed its line is waited for."""

SAVING_SECONDS = 10.0
"""What a neighbour has to save its work once nobody waits for it any more."""


class StoppedError(Exception):
    """A neighbour was asked to stop, and has saved what it was at."""


class Neighbours(Generic[Item]):
    """A row of items: neighbours take from its end, whoever goes through it from its front.

    Use it as a context manager. Leaving it ends what the neighbours are still at: they are asked to
    stop, and save.
    """

    def __init__(
        self, work: Callable[[Item], None], items: Iterable[Item], told: Callable[[Item], None]
    ) -> None:
        """Nothing starts before `call`.

        Args:
            work: What is to be done with an item: a function of a module, called in another process.
                It heeds SIGTERM.
            items: The row.
            told: Called with an item that a neighbour has done, in a thread of this process.
        """
        self.work = work
        self.row = deque(items)
        self.told = told
        self._errors: list[BaseException] = []
        self._called = False
        self._taken: dict[Neighbour, Item] = {}
        self._taking = Lock()
        """Held while an item passes from the row to who takes it: it is always in one of both."""

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._taking:
                if not self.row:
                    return
                item = self.row.popleft()
            yield item

    def call(self, count: int) -> None:
        """Have so many neighbours take part, once; those that an earlier row called come at once."""
        if self._called:
            return
        self._called = True
        for one in [neighbour(number) for number in range(min(count, len(self.row)))]:
            Thread(target=self._serve, args=(one,), daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether a neighbour is still at an item; one that is only being started is not waited for."""
        with self._taking:
            return bool(self._taken)

    def finish(self) -> None:
        """Wait for what the neighbours have begun.

        Raises:
            UserError: One met it, or died.
            TerminatedError: SIGTERM came; what they were at is saved.
            KeyboardInterrupt: The same of SIGINT.
        """
        with stoppable() as request:
            while self.busy and not request.signal:
                time.sleep(GLANCE_SECONDS)
            if request.signal:
                self._stop()
                stop(request.signal)
        if self._errors:
            raise self._errors[0]

    def __enter__(self) -> "Neighbours[Item]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        with self._taking:
            self.row.clear()
            at_work = list(self._taken)
        for one in at_work:
            one.stop()
        while self.busy:
            time.sleep(GLANCE_SECONDS)

    def _serve(self, one: "Neighbour") -> None:
        try:
            one.ask(_ready, None)  # no item waits for a process that is still being started
        except UserError:  # whoever goes through the row does without it
            return
        try:
            while self._take(one):
                one.ask(self.work, self._taken[one])
                self.told(self._taken[one])
        except BaseException as error:  # it belongs to whoever owns the row
            self._errors.append(error)
        with self._taking:
            self._taken.pop(one, None)

    def _take(self, one: "Neighbour") -> bool:
        with self._taking:
            if not self.row:
                return False
            self._taken[one] = self.row.pop()
            return True


@dataclass(eq=False)
class Neighbour:
    """One process, seen from here."""

    process: BaseProcess
    line: Connection
    turn: Lock = field(default_factory=Lock)

    def ask(self, work: Callable[[Item], None], item: Item) -> None:
        """Have something done and wait for it; what goes wrong there is raised here.

        Raises:
            UserError: It met one, or the process died.
            StoppedError: It was asked to stop.
        """
        try:
            with self.turn:
                self.line.send((Path.cwd(), work, item))
                error = self.line.recv()
        except (EOFError, OSError) as broken:
            self.process.join(ENDING_SECONDS)
            raise UserError(
                "A process that trained a seed beside this one died; what it saved is whole: repeat the "
                "command, with --at-once 1 if memory is short."
            ) from broken
        if error is not None:
            raise error

    def stop(self) -> None:
        """Ask it to stop what it is at."""
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGTERM)


_STARTED: dict[int, Neighbour] = {}


def neighbour(number: int) -> Neighbour:
    """The process of a number; it stays for the next row, and ends with this process."""
    one = _STARTED.get(number)
    if one is None or not one.process.is_alive():
        one = _STARTED[number] = _start()
    return one


def _start() -> Neighbour:
    # Spawned, not forked: this process holds threads, of Lance and of the decoder.
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=_live, args=(theirs,), daemon=True)
    with _interruptions_ignored():  # which the process inherits: Ctrl-C is for who called it
        process.start()
    theirs.close()
    return Neighbour(process, ours)


@contextmanager
def _interruptions_ignored() -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _live(line: Connection) -> None:
    """Do what is asked for until nobody can ask any more, or SIGTERM asks to end."""
    Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            folder, work, item = line.recv()
            os.chdir(folder)  # of who asks: paths may be relative
            line.send(_tried(work, item))


def _tried(work: Callable[[Any], None], item: Any) -> Exception | None:
    """What went wrong, as something that can be sent."""
    try:
        work(item)
    except UserError as error:
        return UserError(str(error))
    except (KeyboardInterrupt, SystemExit):
        return StoppedError()
    except Exception:  # a mistake of ours: to be read where it can be seen
        return RuntimeError(traceback.format_exc())
    return None


def _ready(_: None) -> None:
    """Nothing: that it is done says that the process is there."""


def _end_with_parent() -> None:
    """Save and end: another may soon be called to write what we are writing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SAVING_SECONDS)
        os._exit(1)
