"""Threads of the service: waiting searches share a batch, other work runs beside them."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from trichord.service.errors import RefusedError

Item = TypeVar("Item")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


def busy() -> RefusedError:
    """The error for a full queue."""
    return RefusedError(503, "The server is busy: try again in a moment.", retry=1)


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    result: "asyncio.Future[Result]"


class Batcher(Generic[Item, Result]):
    """Processes items in batches, on its own thread.

    It does not wait for a batch to fill: a single item is processed at once, and those that arrive in
    the meantime form the next batch.
    """

    def __init__(
        self,
        process: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        most: int,
        waiting: int,
        seconds: float,
        observe: Callable[[int], Any] = lambda _: None,
    ) -> None:
        """Start the thread.

        Args:
            process: Processes a batch, in order.
            most: Size of the largest batch.
            waiting: Items that may wait or run; further ones are refused.
            seconds: Timeout of an item.
            observe: Called with the size of each batch.
        """
        self._process = process
        self._most = most
        self._limit = waiting
        self._seconds = seconds
        self._observe = observe
        self._queue: list[_Waiting[Item, Result]] = []
        self._count = 0
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trichord-search")

    async def ask(self, item: Item) -> Result:
        """The result of an item.

        Raises:
            RefusedError: 503: too many wait, or it took too long.
        """
        if self._count >= self._limit:
            raise busy()
        self._count += 1
        waiting = _Waiting[Item, Result](item, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            async with asyncio.timeout(self._seconds):
                return await waiting.result
        except TimeoutError:
            raise RefusedError(503, "The search took too long: try again.", retry=5) from None
        finally:
            self._count -= 1

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while self._queue:
            batch = [waiting for waiting in self._queue[: self._most] if not waiting.result.done()]
            del self._queue[: self._most]
            if batch:
                self._observe(len(batch))
                await self._run(batch)

    async def _run(self, batch: list[_Waiting[Item, Result]]) -> None:
        """Process a batch; if that fails, each item by itself, so that one does not fail the others."""
        loop = asyncio.get_running_loop()
        try:
            items = [waiting.item for waiting in batch]
            results = await loop.run_in_executor(self._thread, self._process, items)
        except Exception as error:
            if len(batch) > 1:
                for waiting in batch:
                    await self._run([waiting])
            elif not batch[0].result.done():
                batch[0].result.set_exception(error)
            return
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.result.done():
                waiting.result.set_result(result)


class Lane:
    """Threads for work that must not delay searches, with a queue of limited length."""

    def __init__(self, threads: int, waiting: int) -> None:
        """Start the threads.

        Args:
            threads: How many.
            waiting: Calls that may wait or run; further ones are refused.
        """
        self._limit = waiting
        self._count = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="trichord-aside")

    async def run(
        self,
        work: Callable[Arguments, Result],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Result:
        """The result of a call on one of the threads.

        Raises:
            RefusedError: 503: too many wait.
        """
        if self._count >= self._limit:
            raise busy()
        self._count += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, partial(work, *arguments, **options))
        finally:
            self._count -= 1

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
