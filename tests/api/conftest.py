"""Media files of one kind each: a picture, a sound, a clip with both."""

import wave
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

RATE = 16_000


def beep(seconds=1.0, pitch=440.0):
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("media")
    Image.fromarray(picture()).save(root / "still.png")
    with wave.open(str(root / "beep.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        file.writeframes((beep() * 32767).round().astype("<i2").tobytes())
    with av.open(str(root / "clip.mp4"), "w") as container:
        seen = container.add_stream("libx264", rate=5)
        seen.width, seen.height, seen.pix_fmt = 64, 48, "yuv420p"
        heard = container.add_stream("aac", rate=RATE, layout="mono")
        for step in range(10):
            frame = av.VideoFrame.from_ndarray(picture(step // 5), format="rgb24")
            container.mux(seen.encode(frame))
        container.mux(seen.encode(None))
        for start in range(0, 2 * RATE, 1024):
            piece = beep(2.0)[None, start : start + 1024]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), start
            container.mux(heard.encode(frame))
        container.mux(heard.encode(None))
    (root / "broken.mp4").write_bytes((root / "clip.mp4").read_bytes()[:500])
    return root
