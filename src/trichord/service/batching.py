"""Work that takes turns: searches that wait together are answered together, other work beside them."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from trichord.service.errors import RefusedError

Question = TypeVar("Question")
Answer = TypeVar("Answer")
Given = ParamSpec("Given")


def busy() -> RefusedError:
    """That a line is as long as it may be."""
    return RefusedError(503, "The server is busy: try again in a moment.", retry=1)


@dataclass(slots=True)
class _Waiting(Generic[Question, Answer]):
    question: Question
    answer: "asyncio.Future[Answer]"


class Batcher(Generic[Question, Answer]):
    """Answers questions in batches, on a thread of its own.

    Nobody waits for a batch to fill: a question that comes alone is answered alone, and what comes
    meanwhile makes up the next batch.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Question]], Sequence[Answer]],
        *,
        most: int,
        waiting: int,
        seconds: float,
        seen: Callable[[int], Any] = lambda _: None,
    ) -> None:
        """Say how questions are answered.

        Args:
            answer: A batch of them, in order.
            most: In a batch.
            waiting: Questions waiting or being answered, beyond which one is refused.
            seconds: After which a question is given up.
            seen: ManifestNotes the size of each batch.
        """
        self._answer = answer
        self._most = most
        self._room = waiting
        self._seconds = seconds
        self._seen = seen
        self._line: list[_Waiting[Question, Answer]] = []
        self._inside = 0
        self._turns: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trichord-search")

    async def ask(self, question: Question) -> Answer:
        """Wait for the answer to a question.

        Raises:
            RefusedError: 503: too many wait, or it took too long.
        """
        if self._inside >= self._room:
            raise busy()
        self._inside += 1
        waiting = _Waiting[Question, Answer](question, asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        if self._turns is None or self._turns.done():
            self._turns = asyncio.create_task(self._take_turns())
        try:
            async with asyncio.timeout(self._seconds):
                return await waiting.answer
        except TimeoutError:
            raise RefusedError(503, "The search took too long: try again.", retry=5) from None
        finally:
            self._inside -= 1

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _take_turns(self) -> None:
        while self._line:
            batch = [one for one in self._line[: self._most] if not one.answer.done()]
            del self._line[: self._most]
            if batch:
                self._seen(len(batch))
                await self._settle(batch)

    async def _settle(self, batch: list[_Waiting[Question, Answer]]) -> None:
        """Answer a batch; where that fails, each by itself, so that one does not spoil the others."""
        loop = asyncio.get_running_loop()
        try:
            questions = [one.question for one in batch]
            answers = await loop.run_in_executor(self._thread, self._answer, questions)
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    await self._settle([one])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for one, answer in zip(batch, answers, strict=True):
            if not one.answer.done():
                one.answer.set_result(answer)


class Lane:
    """A few threads for work that must not hold up searches, and a line of bounded length."""

    def __init__(self, threads: int, waiting: int) -> None:
        """Open the lane.

        Args:
            threads: Working at once.
            waiting: Pieces of work waiting or being done, beyond which one is refused.
        """
        self._room = waiting
        self._inside = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="trichord-aside")

    async def run(
        self, work: Callable[Given, Answer], *given: Given.args, **named: Given.kwargs
    ) -> Answer:
        """Wait for a piece of work.

        Raises:
            RefusedError: 503: too many wait.
        """
        if self._inside >= self._room:
            raise busy()
        self._inside += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, partial(work, *given, **named))
        finally:
            self._inside -= 1

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
