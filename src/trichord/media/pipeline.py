"""Pipelines: stages that run at the same time, each in its own thread, a few items ahead."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")
Input = TypeVar("Input")

POLL_SECONDS = 0.1
"""How often a waiting stage checks whether the pipeline has stopped."""
PATIENCE_SECONDS = 2.0
"""How long leaving a pipeline waits for the current items of its stages."""


_Slots = Queue[Future[Item] | None]
"""Items, or the error in place of one; None is the end."""


class EndedError(Exception):
    """The pipeline was closed before its items ended."""


class Pipeline:
    """Stages that end together. Use it as a context manager: leaving it stops all of them.

    A stage in the middle of an item ends after that item. Leaving waits for it no longer than
    `PATIENCE_SECONDS`: requests of a decoder end when the decoder is closed.
    """

    def __init__(self) -> None:
        self._stopped = Event()
        self._threads: list[Thread] = []

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def ahead(self, items: Iterator[Item], room: int) -> Iterator[Item]:
        """The same items in the same order, computed by a thread while the caller is busy.

        An error of that thread is raised here. After the pipeline is left, the next item raises
        `EndedError`.

        Args:
            items: Iterated in the other thread only, and closed there if possible; may be the output
                of another stage.
            room: Items computed ahead of the caller.
        """
        slots: _Slots[Item] = Queue(room)
        # A daemon, so that a stage that hangs does not keep the interpreter running.
        thread = Thread(target=self._make, args=(items, slots), name="trichord-stage", daemon=True)
        self._threads.append(thread)
        thread.start()
        return self._items(slots)

    def _items(self, slots: "_Slots[Item]") -> Iterator[Item]:
        while not self._stopped.is_set():
            try:
                # A queue cannot wait for an item and for an event at the same time.
                slot = slots.get(timeout=POLL_SECONDS)
            except Empty:
                continue
            if slot is None:
                return
            yield slot.result()
        raise EndedError  # not StopIteration: the items are incomplete

    def _make(self, items: Iterator[Item], slots: "_Slots[Item]") -> None:
        try:
            for item in items:
                slot: Future[Item] = Future()
                slot.set_result(item)
                if not self._put(slots, slot):
                    break
        except BaseException as error:  # raised again in the thread that takes the items
            failed: Future[Item] = Future()
            failed.set_exception(error)
            self._put(slots, failed)
        close = getattr(items, "close", None)
        if close is not None:
            with suppress(Exception):
                close()
        self._put(slots, None)

    def _put(self, slots: "_Slots[Item]", slot: "Future[Item] | None") -> bool:
        """Wait for room until the pipeline stops; return whether the slot was put."""
        while not self._stopped.is_set():
            with suppress(Full):
                slots.put(slot, timeout=POLL_SECONDS)
                return True
        return False


def parallel_map(
    work: Callable[[Input], Item], items: Iterator[Input], threads: int, ahead: int
) -> Iterator[Item]:
    """Results of `work` for each item, in the order of the items, by several threads.

    An error is raised in the place of its result. Closing the iterator ends the threads after their
    current items, without waiting for them.

    Args:
        work: Called in the threads.
        items: Iterated in the caller's thread, at most `ahead` items ahead of the results.
        threads: Number of threads.
        ahead: Number of items that are submitted before their results are taken.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="trichord-side-by-side")
    futures: deque[Future[Item]] = deque()
    try:
        for item in items:
            futures.append(pool.submit(work, item))
            if len(futures) >= ahead:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
