"""Children that die, hang or lie cost a file, and no more."""

import gc
import os
import signal
import threading
import time

import numpy as np
import pytest

from trichord.media import DecodePlan, Decoder, FramePlan, Limits
from trichord.media.worker import ClosedError

NATURAL = FramePlan(rule="rate", per_second=1.0, count=64, short_side=None)
WHOLE = [(0.0, None)]


def test_a_child_that_dies_is_replaced_and_the_file_tried_again(movie):
    plan = DecodePlan(frames=None, rates=(16_000,))
    with Decoder(1) as pool:
        before = pool.decode(movie, [(0.0, 1.0)], plan)
        os.kill(pool.workers[0].child.pid, signal.SIGKILL)
        after = pool.decode(movie, [(0.0, 1.0)], plan)
    np.testing.assert_array_equal(before[0].audio[16_000], after[0].audio[16_000])


def test_a_child_that_dies_at_each_try_costs_one_status(movie):
    with Decoder(1) as pool:
        pool.probe(movie)
        stop = threading.Event()

        def keep_killing():
            while not stop.is_set():
                child = pool.workers[0].child
                if child is not None:
                    child.kill()
                time.sleep(0.001)

        killer = threading.Thread(target=keep_killing)
        killer.start()
        (decoded,) = pool.decode(movie, WHOLE, DecodePlan(frames=NATURAL))
        stop.set()
        killer.join()
        assert decoded.label == "corrupt: decoder crashed"
        assert pool.probe(movie).status == "ok"


def test_a_child_that_hangs_is_killed_and_the_next_file_is_read(movie):
    with Decoder(1, Limits(wall_seconds=1.0)) as pool:
        pool.probe(movie)
        stopped = pool.workers[0].child.pid
        os.kill(stopped, signal.SIGSTOP)
        assert pool.probe(movie).label == "timeout: not done within 1 s"
        assert pool.probe(movie).status == "ok"
        assert pool.workers[0].child.pid != stopped


def test_a_decoder_that_nobody_closes_leaves_no_child(movie):
    pool = Decoder(2)
    list(pool.probe_all([movie, movie, movie]))
    children = [worker.child for worker in pool.workers if worker.child is not None]
    assert children
    del pool
    gc.collect()
    assert all(child.poll() == 0 for child in children)


def test_closing_while_at_work_ends_the_child(movie):
    pool = Decoder(1)
    pool.probe(movie)
    child = pool.workers[0].child
    os.kill(child.pid, signal.SIGSTOP)
    ended = []

    def take():
        try:
            next(pool.probe_all([movie, movie]))
        except ClosedError:
            ended.append(True)

    taker = threading.Thread(target=take)
    taker.start()
    time.sleep(0.2)
    pool.close()
    taker.join(10)
    assert ended == [True]
    assert child.returncode is not None


LIAR = """
import sys; sys.path.append(sys.argv[1])
import numpy as np
from trichord.media.ipc import receive, send
receive(sys.stdin.buffer, 0)
send(sys.stdout.buffer, {"ready": True})
while True:
    receive(sys.stdin.buffer, 0)
    span = {"span": 0, "status": "ok", "reason": "", "start": 0.0, "end": 1.0}
    %s
    send(sys.stdout.buffer, {"end": True, "work": {}})
"""


@pytest.mark.parametrize(
    "lie",
    [
        "sys.stdout.buffer.write(b'nonsense')",
        "send(sys.stdout.buffer, {**span, 'span': 7})",
        "send(sys.stdout.buffer, {**span, 'status': 'fine'})",
        "send(sys.stdout.buffer, span, {'16000': np.zeros(15_999, np.float32)})",
        "send(sys.stdout.buffer, span, {'8000': np.zeros(8_000, np.float32)})",
        "send(sys.stdout.buffer, span, {'frames': np.zeros((3, 4), np.uint8)})",
        "send(sys.stdout.buffer, {'end': True})",
        "send(sys.stdout.buffer, {'end': True, 'status': 'fine', 'reason': ''})",
        "send(sys.stdout.buffer, {'end': True, 'work': {'frames': 'many'}})",
        "send(sys.stdout.buffer, {'end': True, 'work': {'price': 1}})",
        "send(sys.stdout.buffer, {**span, 'end': float('inf')})",
        "send(sys.stdout.buffer, {**span, 'start': 10 ** 400})",
        "for _ in range(2): send(sys.stdout.buffer, span)",
    ],
)
def test_a_child_taken_over_by_a_file_is_not_believed(movie, monkeypatch, lie):
    monkeypatch.setattr("trichord.media.worker.BOOT", LIAR % lie)
    with Decoder(1) as pool:
        (decoded,) = pool.decode(movie, [(0.0, 1.0)], DecodePlan(frames=NATURAL, rates=(16_000,)))
    assert decoded.label == "corrupt: decoder crashed"


TRUTH = {
    "path": "a", "status": "ok", "reason": "", "container": "mov", "size": 9, "duration": 1.0,
    "video": None, "audio": [],
}  # fmt: skip
PICTURE = {
    "codec": "h264", "width": 64, "height": 48, "rotation": 0, "frame_rate": 10.0, "variable": False,
    "pixel_aspect": 1.0,
}  # fmt: skip
FRAMES, TIMES = np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2)


def answering(monkeypatch, header, arrays, end):
    """Put a child's answers in its place: one part, unless it is None, and the end."""

    def ask(worker, message, take):
        if header is not None:
            take(header, dict(arrays))
        return end

    monkeypatch.setattr("trichord.media.worker.Worker.ask", ask)


@pytest.mark.parametrize(
    "lie",
    [
        {"status": "fine"},
        {"duration": float("nan")},
        {"duration": "long"},
        {"duration": 1e9},
        {"duration": -1.0},
        {"size": "large"},
        {"video": {"codec": "h264"}},
        {"video": {**PICTURE, "width": "wide"}},
        {"video": {**PICTURE, "frame_rate": float("inf")}},
        {"audio": [{"codec": "aac"}]},
        {"audio": 7},
    ],
)
def test_a_probe_by_a_child_that_lies_is_not_believed(monkeypatch, lie):
    with Decoder(1) as pool:
        answering(monkeypatch, None, {}, {"probe": TRUTH | {"video": PICTURE}})
        assert pool.probe("a.mp4").label == "ok"
        answering(monkeypatch, None, {}, {"probe": TRUTH | lie})
        assert pool.probe("a.mp4").label == "corrupt: decoder crashed"
        answering(monkeypatch, {"span": 0}, {}, {"probe": TRUTH})
        assert pool.probe("a.mp4").label == "corrupt: decoder crashed"


@pytest.mark.parametrize(
    "lie",
    [
        {"times": TIMES[:1]},
        {"times": TIMES + np.nan},
        {"times": TIMES.astype(np.float32)},
        {"frames": FRAMES.astype(np.float32)},
        {"frames": FRAMES[..., :2]},
        {"frames": np.broadcast_to(FRAMES[:, :1, :1], (2, 8192, 4321, 3))},
        {"preview": FRAMES[0]},
    ],
)
def test_frames_by_a_child_that_lies_are_not_believed(monkeypatch, lie):
    span = {"span": 0, "status": "ok", "reason": "", "start": 0.0, "end": 1.0}
    with Decoder(1) as pool:
        answering(monkeypatch, span, {"frames": FRAMES, "times": TIMES}, {"work": {}})
        assert pool.decode("a.mp4", WHOLE, DecodePlan(frames=NATURAL))[0].label == "ok"
        answering(monkeypatch, span, {"frames": FRAMES, "times": TIMES} | lie, {"work": {}})
        (decoded,) = pool.decode("a.mp4", WHOLE, DecodePlan(frames=NATURAL))
    assert decoded.label == "corrupt: decoder crashed"


@pytest.mark.parametrize(
    "lie",
    [np.zeros((3, 5, 3), np.float32), np.zeros((3, 5), np.uint8), np.zeros((3, 41, 3), np.uint8)],
)
def test_a_preview_by_a_child_that_lies_is_not_believed(monkeypatch, lie):
    span = {"span": 0, "status": "ok", "reason": "", "start": 0.0, "end": 1.0}
    plan = DecodePlan(frames=NATURAL, preview=40)
    arrays = {"frames": FRAMES, "times": TIMES}
    with Decoder(1) as pool:
        answering(monkeypatch, span, arrays | {"preview": FRAMES[0]}, {"work": {}})
        assert pool.decode("a.mp4", WHOLE, plan)[0].preview is not None
        answering(monkeypatch, span, arrays | {"preview": lie}, {"work": {}})
        (decoded,) = pool.decode("a.mp4", WHOLE, plan)
    assert decoded.label == "corrupt: decoder crashed"
