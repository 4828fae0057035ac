import threading
import time
from contextlib import closing

import pytest

from trichord.media import pipeline as module
from trichord.media.pipeline import EndedError, Pipeline, parallel_map


def ended(name="trichord-stage"):
    """Whether all stages, or other threads of a name, end within a few seconds."""
    deadline = time.monotonic() + 10
    while (found := [one for one in threading.enumerate() if name in one.name]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.01)
    return not found


def test_items_come_in_order_through_several_stages():
    with Pipeline() as pipeline:
        squares = (n * n for n in pipeline.ahead(iter(range(200)), 3))
        assert list(pipeline.ahead(squares, 1)) == [n * n for n in range(200)]
    assert ended()


def test_a_stage_works_ahead_by_its_room_and_no_further():
    made, third = [], threading.Event()

    def items():
        for n in range(10):
            made.append(n)
            if n == 3:
                third.set()
            yield n

    with Pipeline() as pipeline:
        found = pipeline.ahead(items(), 3)
        assert third.wait(10)  # three wait for the caller, the fourth waits for room
        time.sleep(3 * module.POLL_SECONDS)
        assert made == [0, 1, 2, 3]
        assert list(found) == list(range(10))


def test_what_goes_wrong_in_a_stage_is_raised_where_its_items_are_taken():
    def items():
        yield 1
        raise LookupError("two is missing")

    with Pipeline() as pipeline:
        found = pipeline.ahead(pipeline.ahead(items(), 5), 5)
        assert next(found) == 1
        with pytest.raises(LookupError, match="two is missing"):
            next(found)
    assert ended()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, GeneratorExit, ValueError])
def test_leaving_the_chain_ends_all_stages_and_closes_what_they_read(stop):
    closed = []

    def endless():
        try:
            n = 0
            while True:
                yield n
                n += 1
        finally:
            closed.append(True)

    def read():
        with Pipeline() as pipeline:
            for n in pipeline.ahead((n for n in pipeline.ahead(endless(), 2)), 2):
                if n == 5:
                    raise stop

    with pytest.raises(stop):
        read()
    assert ended()
    assert closed == [True]


def test_a_chain_that_ended_looks_to_no_stage_as_if_its_items_had():
    sums = []

    def added(items):
        sums.append(sum(items))
        yield sums[-1]

    def endless():
        while True:
            yield 1

    with Pipeline() as pipeline:
        total = pipeline.ahead(added(pipeline.ahead(endless(), 2)), 2)
    assert ended()
    assert sums == []
    with pytest.raises(EndedError):
        next(total)


def test_a_stage_that_is_long_busy_is_left_behind(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.1)
    release = threading.Event()

    def slow():
        release.wait(20)
        yield 1

    with Pipeline() as pipeline:
        pipeline.ahead(slow(), 1)
    assert [one.name for one in threading.enumerate()].count("trichord-stage") == 1
    release.set()
    assert ended()


def test_a_reader_that_stops_in_the_middle_leaves_nothing_running():
    def read():
        with Pipeline() as pipeline:
            yield from pipeline.ahead(iter(range(1000)), 2)

    with closing(read()) as items:
        assert next(items) == 0
    assert ended()


def test_items_made_side_by_side_come_in_their_order():
    both, made = threading.Barrier(2, timeout=10), []

    def work(n):
        if n < 2:
            both.wait()  # two are at work at the same time
        if n == 2:
            time.sleep(0.1)
        made.append(n)
        return n * n

    assert list(parallel_map(work, iter(range(8)), 2, 3)) == [n * n for n in range(8)]
    assert sorted(made) == list(range(8))
    assert made.index(3) < made.index(2)


def test_what_goes_wrong_side_by_side_is_raised_in_its_place():
    def work(n):
        if n == 1:
            raise LookupError("one is missing")
        return n

    found = parallel_map(work, iter(range(5)), 3, 4)
    assert next(found) == 0
    with pytest.raises(LookupError, match="one is missing"):
        next(found)


def test_closing_what_works_side_by_side_leaves_the_rest_undone():
    made = []

    def work(n):
        made.append(n)
        return n

    with closing(parallel_map(work, iter(range(100)), 2, 3)) as found:
        assert next(found) == 0
    assert ended("side-by-side")
    assert len(made) <= 4
