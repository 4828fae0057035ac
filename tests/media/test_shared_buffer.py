"""Arrays cross from a child over memory that it shares with its parent."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from trichord.media import DecodePlan, Decoder, DecodeRequest, FramePlan
from trichord.media.ipc import IpcError, receive, send
from trichord.media.shared_buffer import BUFFER_BYTES, SharedBuffer, memory_for_buffer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is shared on Linux only")


@pytest.fixture
def ends():
    """The child's and the parent's view of one memory."""
    descriptor = memory_for_buffer()
    yield SharedBuffer(descriptor), SharedBuffer(descriptor)
    os.close(descriptor)


ARRAYS = {
    "frames": np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)[:, ::-1],
    "16000": np.linspace(-1, 1, 5, dtype=np.float32),
    "none": np.zeros((0,), np.float64),
}


def test_what_is_laid_down_is_taken_up_and_nothing_follows_in_the_pipe(ends):
    theirs, ours = ends
    pipe = io.BytesIO()
    send(pipe, {"span": 0}, ARRAYS, theirs)
    length = int.from_bytes(pipe.getvalue()[:4], "big")
    assert len(pipe.getvalue()) == 4 + length
    pipe.seek(0)
    header, got = receive(pipe, 1000, ours)
    assert header == {"span": 0}
    assert got.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(got[name], array)
        assert got[name].dtype == array.dtype


def test_what_was_taken_up_is_the_readers_own(ends):
    theirs, ours = ends
    pipe = io.BytesIO()
    send(pipe, {}, ARRAYS, theirs)
    pipe.seek(0)
    _, got = receive(pipe, 1000, ours)
    theirs.clear()
    theirs.put(memoryview(bytes([255]) * 1000))
    np.testing.assert_array_equal(got["frames"], ARRAYS["frames"])


def test_what_does_not_fit_goes_through_the_pipe(ends):
    theirs, ours = ends
    large = np.arange(BUFFER_BYTES - 100, dtype=np.int64).astype(np.uint8)
    pipe = io.BytesIO()
    send(pipe, {}, {"large": large, "larger": large, "small": ARRAYS["16000"]}, theirs)
    assert len(pipe.getvalue()) == pytest.approx(len(large), abs=200)
    pipe.seek(0)
    _, got = receive(pipe, 3 * BUFFER_BYTES, ours)
    np.testing.assert_array_equal(got["large"], large)
    np.testing.assert_array_equal(got["larger"], large)
    np.testing.assert_array_equal(got["small"], ARRAYS["16000"])


@pytest.mark.parametrize("place", [BUFFER_BYTES - 3, 2**70, -4, "0", 0.0, [0]])
def test_a_place_off_the_tray_is_refused(ends, place):
    text = json.dumps({"arrays": [["a", "<f4", [1], place]]}).encode()
    message = len(text).to_bytes(4, "big") + text
    with pytest.raises(IpcError):
        receive(io.BytesIO(message), 1000, ends[1])


def test_a_place_is_refused_where_there_is_no_tray():
    text = json.dumps({"arrays": [["a", "<f4", [1], 0]]}).encode()
    with pytest.raises(IpcError):
        receive(io.BytesIO(len(text).to_bytes(4, "big") + text), 1000)


def test_a_child_cannot_cut_off_what_its_parent_reads():
    descriptor = memory_for_buffer()
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


@pytest.mark.parametrize("failing", ["os.memfd_create", "os.ftruncate", "fcntl.fcntl"])
def test_where_the_system_refuses_there_is_no_memory_and_nothing_stays_open(failing, monkeypatch):
    def refuse(*_):
        raise OSError("refused")

    before = {*Path("/proc/self/fd").iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr(failing, refuse)
        assert memory_for_buffer() is None
    assert {*Path("/proc/self/fd").iterdir()} == before


def test_many_spans_give_the_same_bits_over_the_tray_the_pipe_and_both(movie, monkeypatch):
    plan = DecodePlan(frames=FramePlan(per_second=4.0, short_side=240), rates=(16_000,))
    spans = [
        (float(start), start + 4.0) for start in range(16)
    ]  # more than the shared buffer has room for
    frames = 16 * 16 * 240 * 320 * 3
    assert frames > BUFFER_BYTES
    with Decoder(1) as pool:
        both, _ = pool.decode_measured(DecodeRequest(path=movie, spans=spans, plan=plan))
        alone = [pool.decode(movie, [span], plan)[0] for span in spans]
    monkeypatch.setattr("trichord.media.worker.memory_for_buffer", lambda: None)
    with Decoder(1) as pool:
        piped, _ = pool.decode_measured(DecodeRequest(path=movie, spans=spans, plan=plan))
        assert pool.workers[0].buffer is None
    for one, other, third in zip(both, alone, piped, strict=True):
        assert one.status == "ok"
        assert sum(len(found.frames) for found in (one, other, third)) == 48
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_array_equal(one.frames, third.frames)
        np.testing.assert_array_equal(one.audio[16_000], third.audio[16_000])
