"""Stages of work that overlap: each in a thread of its own, at most so many items ahead."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Given = TypeVar("Given")

GLANCE_SECONDS = 0.1
"""How often a stage that waits looks whether it is still wanted."""
PATIENCE_SECONDS = 2.0
"""How long stages may go on with their items once they are unwanted; then they end by themselves."""


@dataclass(frozen=True, slots=True)
class _Made(Generic[Item]):
    item: Item


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


_Slots = Queue[_Made[Item] | _End]


class EndedError(Exception):
    """The chain has ended before its items did."""


class Pipeline:
    """A chain of stages. Use it as a context manager: leaving it, for whatever reason, ends them all.

    A stage that is in the middle of an item ends with that item. It is not waited for longer than
    `PATIENCE_SECONDS`: what a decoder has at work ends when the decoder is closed.
    """

    def __init__(self) -> None:
        self._unwanted = Event()
        self._threads: list[Thread] = []

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._unwanted.set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def ahead(self, items: Iterator[Item], room: int) -> Iterator[Item]:
        """The same items in the same order, made by a thread while the caller is busy.

        What goes wrong in making them is raised here. Once the chain has been ended, taking another
        raises `EndedError`.

        Args:
            items: Made in the other thread only, and closed there if it can be; they may come from
                another stage of this chain.
            room: Items made ahead of the caller.
        """
        slots: _Slots[Item] = Queue(room)
        # A daemon: a stage that hangs in an item must not keep the interpreter from ending.
        maker = Thread(target=self._make, args=(items, slots), name="trichord-stage", daemon=True)
        self._threads.append(maker)
        maker.start()
        return self._taken(slots)

    def _taken(self, slots: "_Slots[Item]") -> Iterator[Item]:
        while not self._unwanted.is_set():
            try:
                # A queue cannot wait for an item and for the chain's end at once.
                got = slots.get(timeout=GLANCE_SECONDS)
            except Empty:
                continue
            if isinstance(got, _End):
                if got.error is not None:
                    raise got.error
                return
            yield got.item
        raise EndedError  # not as if there were no more: what was begun is not to be finished

    def _make(self, items: Iterator[Item], slots: "_Slots[Item]") -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not self._put(slots, _Made(item)):
                    break
        except BaseException as caught:  # whatever it is belongs to whoever takes the items
            error = caught
        close = getattr(items, "close", None)
        if close is not None:
            with suppress(Exception):
                close()
        self._put(slots, _End(error))

    def _put(self, slots: "_Slots[Item]", made: "_Made[Item] | _End") -> bool:
        """Wait for room as long as the items are wanted; says whether it was put."""
        while not self._unwanted.is_set():
            with suppress(Full):
                slots.put(made, timeout=GLANCE_SECONDS)
                return True
        return False


def parallel_map(
    work: Callable[[Given], Item], items: Iterator[Given], threads: int
) -> Iterator[Item]:
    """What is made of each item, in the items' order, by several threads at once.

    What goes wrong with an item is raised in its place. Closing it ends the threads with the items
    they are at.

    Args:
        work: Called in the threads.
        items: Taken in the caller's thread, one more than there are threads ahead of what is given.
        threads: How many.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="trichord-side-by-side")
    begun: deque[Future[Item]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
