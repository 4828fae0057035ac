"""From file to tensors: CLIP4VLA's published preparation beside ours, in one run on the same files.

    python studies/authors_way.py MEDIA_DIR...

What comes out for each clip: 12 frames (12, 3, 224, 224) as CLIP takes them, and the sound as
spectrograms (segment, 3, 224, 224).

Protocol: up to 16 files of each folder. The authors' way, as their code has it: OpenCV fetches one
frame a second by its number, resizes it (short side 224) and writes a JPEG; ffmpeg writes the sound
as 16 kHz WAV in a pass of its own; then the JPEGs are read, 12 chosen by linspace, resized, cropped and
normalised, and librosa computes the log-mel spectrogram of left, mean and right. Ours: `Decoder`
(12 frames at bin centres), CLIP's image processor, `Spectrogram` and `segments`. The ways take turns;
`one worker`: one file after the other, one thread each, median of three rounds, wall clock and
processor time (of this process and its children); `two workers`: two processes each, wall clock.
`again` is the authors' way once JPEGs and WAV are on disk, which they read anew in each epoch; ours
decodes the file again.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
import wave
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path

import cv2
import librosa
import numpy as np
import torch
from PIL import Image
from record import record
from transformers import CLIPImageProcessorPil

from trichord.config import LogMel
from trichord.encoders.spectrogram import Spectrogram, cut_segments
from trichord.media import DecodePlan, Decoder, FramePlan

RATE, SIDE, FRAMES, FILES, ROUNDS = 16_000, 224, 12, 16, 3
PLAN = DecodePlan(
    frames=FramePlan(rule="uniform", count=FRAMES, short_side=SIDE), rates=(RATE,), stereo=True
)
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
Tensors = tuple[torch.Tensor, torch.Tensor]


def unpack(path: Path, folder: Path) -> None:
    """Their first step: JPEGs by OpenCV, WAV by ffmpeg."""
    film = cv2.VideoCapture(str(path))
    count, fps = int(film.get(cv2.CAP_PROP_FRAME_COUNT)), film.get(cv2.CAP_PROP_FPS)
    for second in range(math.ceil(count / fps) + 1):
        film.set(cv2.CAP_PROP_POS_FRAMES, min(second * int(fps), count - 1))
        there, frame = film.read()
        if there:
            scale = SIDE / min(frame.shape[:2])
            size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
            cv2.imwrite(str(folder / f"{second}.jpg"), cv2.resize(frame, size))
    film.release()
    sound = ["-vn", "-ac", "2", "-ar", str(RATE), "-threads", "1", str(folder / "sound.wav")]
    quiet = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-threads", "1"]
    subprocess.run([*quiet, "-i", str(path), *sound], check=True)


def load(folder: Path) -> Tensors:
    """Their second step, at each visit of a clip: JPEGs and WAV to tensors."""
    names = sorted(folder.glob("*.jpg"), key=lambda path: int(path.stem))
    chosen = np.linspace(0, len(names) - 1, FRAMES, dtype=int)
    frames = torch.stack([cropped(Image.open(names[n]).convert("RGB")) for n in chosen])
    with wave.open(str(folder / "sound.wav")) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).T
    left, right = pcm.astype(np.float32) / 2**15
    heard = np.stack([decibels(one) for one in (left, (left + right) / 2, right)])
    gap = SIDE - heard.shape[1] % SIDE
    padded = np.pad(heard, ((0, 0), (0, gap), (0, 0)))
    pictures = padded.reshape(3, -1, SIDE, SIDE).swapaxes(0, 1)
    middle = pictures.mean((-2, -1), keepdims=True)
    spread = pictures.std((-2, -1), keepdims=True)
    return frames, torch.from_numpy((pictures - middle) / (spread + 1e-10))


def cropped(image: Image.Image) -> torch.Tensor:
    scale = SIDE / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    pixels = np.asarray(image.crop((left, top, left + SIDE, top + SIDE)), np.float32) / 255
    return torch.from_numpy(((pixels - MEAN) / DEVIATION).transpose(2, 0, 1))


def decibels(sound: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Empty filters")  # twelve of the published 224
        mel = librosa.feature.melspectrogram(
            y=sound, sr=RATE, n_fft=512, hop_length=128, n_mels=SIDE, fmax=RATE / 2
        )
    return librosa.power_to_db(mel).T


def authors(paths: Sequence[Path]) -> list[Tensors]:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    got: list[Tensors] = []
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            unpack(path, Path(folder))
            got.append(load(Path(folder)))
    return got


def ours(paths: Sequence[Path]) -> list[Tensors]:
    torch.set_num_threads(1)
    with Decoder(1) as decoder:
        return [tensors_of(decoder, path) for path in paths]


def tensors_of(decoder: Decoder, path: Path) -> Tensors:
    (decoded,) = decoder.decode(path, [(0.0, None)], PLAN)
    assert decoded.frames is not None, decoded.label
    frames = PROCESSOR(list(decoded.frames), return_tensors="pt")["pixel_values"]
    left, *right = torch.from_numpy(decoded.audio[RATE])
    # Of one channel, left, mean and right are the same.
    heard = torch.stack([left, (left + right[0]) / 2, right[0]] if right else [left])
    return frames, cut_segments(SPECTROGRAM(heard)).expand(-1, 3, -1, -1)


PROCESSOR = CLIPImageProcessorPil()
SPECTROGRAM = Spectrogram(LogMel())


def spent(way: Callable[[Sequence[Path]], object], paths: Sequence[Path]) -> tuple[float, float]:
    """Wall clock and processor seconds, ended children included."""
    before, began = processor_seconds(), time.perf_counter()
    way(paths)
    return time.perf_counter() - began, processor_seconds() - before


def processor_seconds() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in both)


def usable(folder: Path, decoder: Decoder) -> list[Path]:
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return [path for path in files if decoder.probe(path).status == "ok"][:FILES]


def measured(paths: list[Path]) -> dict[str, object]:
    ways = {"authors": authors, "ours": ours}
    one: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            one[name].append(spent(way, paths))
    middle = {
        name: [statistics.median(times) for times in zip(*rounds, strict=True)]
        for name, rounds in one.items()
    }
    halves = [paths[::2], paths[1::2]]
    two: dict[str, list[float]] = {name: [] for name in ways}
    with get_context("spawn").Pool(2) as pool:
        pool.map(ours, [[paths[0]], [paths[0]]])
        for _ in range(ROUNDS):
            for name, way in ways.items():
                two[name].append(
                    spent(lambda _, way=way: pool.map(lengths, [(way, h) for h in halves]), [])[0]
                )
    return {
        "files": len(paths),
        "one worker": {
            "clips_per_second": {n: round(len(paths) / wall, 2) for n, (wall, _) in middle.items()},
            "processor_ms_a_clip": {
                n: round(1000 * cpu / len(paths), 1) for n, (_, cpu) in middle.items()
            },
            "times_as_fast_wall": round(middle["authors"][0] / middle["ours"][0], 2),
            "times_as_fast_processor": round(middle["authors"][1] / middle["ours"][1], 2),
        },
        "two workers": {
            "clips_per_second": {
                n: round(len(paths) / statistics.median(t), 2) for n, t in two.items()
            },
            "times_as_fast_wall": round(
                statistics.median(two["authors"]) / statistics.median(two["ours"]), 2
            ),
        },
        "again": again(paths),
    }


def lengths(task: tuple[Callable[[Sequence[Path]], list[Tensors]], list[Path]]) -> int:
    way, paths = task
    return len(way(paths))


def again(paths: list[Path]) -> dict[str, float]:
    """Clips a second of the authors' way from JPEGs and WAV alone, and the bytes these take."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / path.stem for path in paths]
        for path, folder in zip(paths, folders, strict=True):
            folder.mkdir()
            unpack(path, folder)
        began = time.perf_counter()
        for folder in folders:
            load(folder)
        seconds = time.perf_counter() - began
        kept = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
    return {
        "authors_clips_per_second": round(len(paths) / seconds, 2),
        "bytes_kept_over_bytes_of_files": round(kept / sum(p.stat().st_size for p in paths), 2),
    }


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]]
    with Decoder(1) as decoder:
        chosen = {folder.name: usable(folder, decoder) for folder in folders}
    protocol = " ".join(str(__doc__).split("Protocol: ")[1].split())
    per_folder = {name: measured(paths) for name, paths in chosen.items()}
    record("authors_way", {"protocol": protocol, "folders": per_folder})


if __name__ == "__main__":
    main()
