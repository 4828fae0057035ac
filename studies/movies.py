"""Rendered movies for the benchmarks of decoding: real codecs, sizes and keyframe distances."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

MARGIN = 256
"""Pixels by which the scenery is larger than the picture that pans over it."""
LOOP_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Movie:
    """H.264 with B-frames and AAC in MP4: a pan over coloured noise, a block that runs through it."""

    size: tuple[int, int]
    fps: int
    group: int
    """Frames from keyframe to keyframe."""
    seconds: int = 20
    rate: int = 48_000

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.size[1]}p, {self.seconds} s, a keyframe in {self.group} frames.mp4"


LONG_GROUPS = (
    Movie(size=(640, 360), fps=30, group=60),
    Movie(size=(854, 480), fps=25, group=250),
    Movie(size=(1280, 720), fps=24, group=48),
)
TEN_MINUTES = Movie(size=(426, 240), fps=25, group=250, seconds=600, rate=16_000)


def render(movie: Movie, folder: Path) -> Path:
    """The movie's file in a folder, rendered where it is not there yet."""
    path = folder / movie.name
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    begun = path.with_suffix(".part")
    with av.open(str(begun), "w", format="mp4") as container:
        picture = container.add_stream("libx264", rate=movie.fps)
        picture.width, picture.height = movie.size
        picture.pix_fmt = "yuv420p"
        keys = f"keyint={movie.group}:min-keyint={movie.group}:scenecut=0"
        picture.options = {"preset": "veryfast", "crf": "26", "x264-params": keys}
        sound = container.add_stream("aac", rate=movie.rate, layout="mono")
        scenery, hiss = _scenery(*movie.size), _hiss(movie.rate)
        for number in range(movie.seconds * movie.fps):
            container.mux(picture.encode(_frame(movie, scenery, number)))
        for start in range(0, movie.seconds * movie.rate, 1024):
            container.mux(sound.encode(_samples(movie, hiss, start)))
        for stream in (picture, sound):
            container.mux(stream.encode(None))
    begun.rename(path)
    return path


def _scenery(width: int, height: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 4 + 64, width // 4 + 64, 3)).astype(np.uint8)
    size = (width + MARGIN, height + MARGIN)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def _frame(movie: Movie, scenery: np.ndarray, number: int) -> av.VideoFrame:
    (width, height), time = movie.size, number / movie.fps
    x, y = (int(MARGIN / 2 * (1 + 0.9 * turn)) for turn in (np.sin(0.7 * time), np.cos(0.5 * time)))
    picture = np.ascontiguousarray(scenery[y : y + height, x : x + width])
    left = int(60 * time) % (width - 40)
    picture[int(0.4 * height) : int(0.6 * height), left : left + 40] = (255, 40, 40)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame.pts, frame.time_base = number, Fraction(1, movie.fps)
    return frame


def _hiss(rate: int) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal((1, rate * LOOP_SECONDS))
    return (0.1 * noise).astype(np.float32)


def _samples(movie: Movie, hiss: np.ndarray, start: int) -> av.AudioFrame:
    at = start % (hiss.shape[1] - 1024)
    piece = np.ascontiguousarray(hiss[:, at : at + 1024])
    frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = movie.rate, start, Fraction(1, movie.rate)
    return frame
