import asyncio
import threading

import pytest

from trichord.service.batching import Batcher, Lane
from trichord.service.errors import RefusedError


class Doubling:
    """Answers n with 2n, notes batches, and waits while the gate is shut."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, numbers):
        self.gate.wait(10)
        self.batches.append(list(numbers))
        if any(number < 0 for number in numbers):
            raise ValueError("below 0")
        return [2 * number for number in numbers]


def batcher(answer, most=4, waiting=100, seconds=20.0):
    return Batcher(answer, most=most, waiting=waiting, seconds=seconds)


async def crowd(asked, answer, numbers):
    """Ask while the gate is shut, so that all but the first wait together."""
    answer.gate.clear()
    tasks = [asyncio.create_task(asked.ask(number)) for number in numbers]
    await asyncio.sleep(0.05)
    answer.gate.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_a_question_that_comes_alone_is_answered_alone():
    answer = Doubling()
    asked = batcher(answer)
    assert asyncio.run(asked.ask(3)) == 6
    assert answer.batches == [[3]]
    asked.close()


def test_what_waits_together_is_answered_together():
    answer = Doubling()
    asked = batcher(answer)
    found = asyncio.run(crowd(asked, answer, range(10)))
    assert found == [2 * n for n in range(10)]
    assert [len(batch) for batch in answer.batches] == [4, 4, 2]
    asked.close()


def test_one_bad_question_does_not_spoil_the_others():
    answer = Doubling()
    asked = batcher(answer)
    one, bad, three = asyncio.run(crowd(asked, answer, [1, -1, 3]))
    assert (one, three) == (2, 6)
    assert isinstance(bad, ValueError)
    asked.close()


def test_a_line_has_an_end_and_moves_on():
    answer = Doubling()
    asked = batcher(answer, waiting=3)

    async def overload():
        found = await crowd(asked, answer, range(10))
        return found, await asked.ask(7)

    found, after = asyncio.run(overload())
    assert found[:3] == [0, 2, 4]
    assert all(isinstance(one, RefusedError) and one.status_code == 503 for one in found[3:])
    assert found[3].headers == {"Retry-After": "1"}
    assert after == 14
    asked.close()


def test_a_question_is_not_waited_for_without_end():
    answer = Doubling()
    asked = batcher(answer, seconds=0.05)

    async def late():
        answer.gate.clear()
        with pytest.raises(RefusedError) as refused:
            await asked.ask(1)
        answer.gate.set()
        return refused.value.status_code, await asked.ask(2)

    assert asyncio.run(late()) == (503, 4)
    asked.close()


def test_a_question_nobody_waits_for_is_not_asked():
    answer = Doubling()
    asked = batcher(answer, most=1)

    async def gone():
        answer.gate.clear()
        tasks = [asyncio.create_task(asked.ask(number)) for number in (1, 2, 3)]
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        await asyncio.sleep(0)
        answer.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    one, two, three = asyncio.run(gone())
    assert (one, three) == (2, 6)
    assert isinstance(two, asyncio.CancelledError)
    assert answer.batches == [[1], [3]]
    asked.close()


def test_a_lane_has_an_end_and_passes_errors_on():
    lane = Lane(threads=1, waiting=2)
    answer = Doubling()

    async def overload():
        answer.gate.clear()
        tasks = [asyncio.create_task(lane.run(answer, [n])) for n in (1, 2, 3)]
        await asyncio.sleep(0.05)
        answer.gate.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        with pytest.raises(ValueError, match="below 0"):
            await lane.run(answer, [-1])
        return found

    one, two, three = asyncio.run(overload())
    assert (one, two) == ([2], [4])
    assert isinstance(three, RefusedError)
    lane.close()
