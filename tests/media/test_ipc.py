import io
import json

import numpy as np
import pytest

from trichord.media.ipc import IpcError, receive, send


def message(header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return io.BytesIO(len(text).to_bytes(4, "big") + text + content)


def test_what_is_sent_is_received():
    pipe = io.BytesIO()
    arrays = {
        "frames": np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)[:, ::-1],
        "16000": np.linspace(-1, 1, 5, dtype=np.float32),
        "none": np.zeros((0,), np.float64),
    }
    send(pipe, {"path": "a\udcff🎬\n"}, arrays)
    pipe.seek(0)
    header, got = receive(pipe, 1000)
    assert header == {"path": "a\udcff🎬\n"}
    assert got.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(got[name], array)
        assert got[name].dtype == array.dtype
        assert got[name].flags.writeable


@pytest.mark.parametrize(
    "stream",
    [
        io.BytesIO(b""),
        io.BytesIO(b"\0\0"),
        io.BytesIO(b"\xff\xff\xff\xff"),
        io.BytesIO(b"\0\0\0\0"),
        message(b"{"),
        message(b"[1]"),
        message({"no": "arrays"}),
        message({"arrays": [["a", "|O", [1]]]}),
        message({"arrays": [["a", "<f4", [-1]]]}),
        message({"arrays": [["a", "<f4", ["1"]]]}),
        message({"arrays": [["a", "<f4", [1] * 5]]}),
        message({"arrays": [[1, "<f4", [1]]]}),
        message({"arrays": [["a", "<f4"]]}),
        message({"arrays": [["a", "<f4", [2**39, 2**39]]]}),
        message({"arrays": [["a", "<f4", [0, 2**39, 2**39, 2**39]]]}),
        message({"arrays": [["a", "<f4", [251]]]}, bytes(2000)),
        message({"arrays": [["a", "<f4", [2]]]}, bytes(7)),
    ],
)
def test_a_malformed_message_is_refused(stream):
    with pytest.raises(IpcError):
        receive(stream, 1000)
