"""Scenes as real files: H.264 and AAC in MP4, the same bytes for the same scene.

The bytes are a function of the scene, the difficulty, and the versions of numpy, Pillow, PyAV and
eSpeak NG (numpy may round differently on processors of another kind).
"""

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import OutputContainer
from numpy.typing import NDArray

from trichord.types.files import write_atomically
from trichord_world.difficulty import Difficulty
from trichord_world.drawing import picture
from trichord_world.format import FRAMES_PER_SECOND, RATE, SECONDS, SIDE
from trichord_world.law import Scene
from trichord_world.sound import has_sound_stream, sound

__all__ = [
    "FRAMES_PER_SECOND", "RATE", "SECONDS", "SIDE", "picture", "render", "render_all", "sound",
]  # fmt: skip

_X264 = {
    "preset": "ultrafast",
    "crf": "25",
    "g": str(FRAMES_PER_SECOND),  # a key frame a second: cheap to seek into
    "bf": "0",  # without reordering the first frame is shown at exactly 0
    "threads": "1",  # slices of several threads would make the bytes depend on the machine
    "flags": "+bitexact",
}
_AAC = {"flags": "+bitexact", "threads": "1", "aac_coder": "fast"}
_AAC_BITS_PER_SECOND = 96_000
_CHUNK = 4


def render(scene: Scene, difficulty: Difficulty, path: Path) -> None:
    """Write the scene as an MP4 file of SECONDS seconds, whole or not at all.

    A dark scene's file has no video stream. A silent one's has no sound stream, or a digitally
    silent one: `has_sound_stream` says which. The encoder's delay is in the file's edit list, so
    that after decoding the first sample belongs to time 0, like the first frame.

    Raises:
        UserError: the path cannot be written, or eSpeak NG is missing.
    """
    file = BytesIO()
    frames = None if scene.dark else picture(scene, difficulty)
    wave = sound(scene, difficulty) if has_sound_stream(scene) else None
    with av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        _encode(container, frames, wave)
    write_atomically(path, file.getvalue())


def _encode(
    output: OutputContainer, frames: NDArray[np.uint8] | None, wave: NDArray[np.float32] | None
) -> None:
    container = cast("Any", output)  # PyAV types streams and packets in part only
    # All streams are declared before the first packet: it closes the file's header.
    video = audio = None
    if frames is not None:
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=dict(_X264))
        video.width = video.height = SIDE
        video.pix_fmt = "yuv420p"
    if wave is not None:
        audio = container.add_stream("aac", rate=RATE, layout="mono", options=dict(_AAC))
        audio.bit_rate = _AAC_BITS_PER_SECOND
    if video is not None and frames is not None:
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    if audio is not None and wave is not None:
        block = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(audio.encode(block))
        container.mux(audio.encode(None))


def render_all(
    scenes: Iterable[Scene],
    difficulty: Difficulty,
    paths: Sequence[Path],
    workers: int = 1,
) -> Iterator[Path]:
    """Render each scene to its path; give each path once its file stands.

    A file that exists already is left alone, for none is ever half written: an interrupted call is
    resumed by the same call. With several workers, in processes of their own.

    Raises:
        ValueError: there are not as many paths as scenes.
    """
    pairs = list(zip(scenes, paths, strict=True))
    work = partial(_render_missing, difficulty)
    if workers <= 1:
        yield from map(work, pairs)
        return
    # Spawned, not forked: the caller may hold threads, of torch or of PyAV.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(work, pairs, chunksize=_CHUNK)
    finally:
        pool.shutdown(cancel_futures=True)


def _render_missing(difficulty: Difficulty, pair: tuple[Scene, Path]) -> Path:
    scene, path = pair
    if not path.exists():
        render(scene, difficulty, path)
    return path
