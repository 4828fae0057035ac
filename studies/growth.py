"""How indexing grows: many small files indexed, and indexed again without work.

    python studies/growth.py [--files 2000 20000]

Protocol: of every ten files four are JPEGs of 96 x 64 pixels, four are WAVs of one second, two are MP4s of
two seconds; no two are equal. Each number of files is indexed by `trichord index` into a new archive, with
the small towers of the generated world, and then indexed again when nothing has changed. Each command
is a process of its own. Told are seconds of the processor (with its children), seconds by the clock, the
largest memory of the process and of any one child (resident), and how all of them grow from the first
number of files to the last. Writes studies/results/growth.json.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import av
import numpy as np
from PIL import Image
from record import record

MODEL = "world-clip-clap"
RATE = 16_000


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--files", type=int, nargs="+", default=[2000, 20_000])
    asked = options.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    for count in asked.files:
        with tempfile.TemporaryDirectory() as name:
            media, archive = Path(name) / "media", Path(name) / "archive"
            write_files(media, count)
            line = ["index", str(media), str(archive), "--model", MODEL]
            results[f"{count} files"] = {
                "indexed": measured(line),
                "again, without work": measured(line),
                "size": {"archive, MB": megabytes(archive), "media, MB": megabytes(media)},
            }
            print(count, results[f"{count} files"], flush=True)
    first, last = asked.files[0], asked.files[-1]
    growth = {
        step: {
            figure: round(value / results[f"{first} files"][step][figure], 2)
            for figure, value in results[f"{last} files"][step].items()
            if results[f"{first} files"][step][figure]
        }
        for step in ("indexed", "again, without work")
    }
    record(
        "growth",
        {
            "protocol": " ".join((__doc__ or "").split("Protocol: ")[1].split()),
            **results,
            f"growth from {first} to {last} files, {last / first:g} times as many": growth,
        },
    )


def write_files(folder: Path, count: int) -> None:
    """Small files that differ, a hundred a folder."""
    for number in range(count):
        place = folder / f"{number // 100:03}"
        place.mkdir(parents=True, exist_ok=True)
        kind = number % 10
        if kind < 4:
            Image.fromarray(picture(number)).save(place / f"{number:05}.jpg")
        elif kind < 8:
            write_sound(place / f"{number:05}.wav", number)
        else:
            write_movie(place / f"{number:05}.mp4", number)


def picture(number: int) -> np.ndarray:
    """A picture of 96 x 64 pixels: a gradient and blocks drawn by its number."""
    draw = np.random.default_rng(number)
    blocks = draw.integers(0, 256, (4, 6, 3), np.uint8)
    return blocks.repeat(16, axis=0).repeat(16, axis=1)


def tone(number: int, seconds: float) -> np.ndarray:
    """A tone with some noise, by its number."""
    times = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(number).standard_normal(len(times)) / 50
    return (0.3 * np.sin(2 * np.pi * (200 + number % 3000) * times) + noise).astype(np.float32)


def write_sound(path: Path, number: int) -> None:
    """A WAV of one second."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        file.writeframes((tone(number, 1.0) * 32767).astype("<i2").tobytes())


def write_movie(path: Path, number: int) -> None:
    """An MP4 of two seconds with five pictures a second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=5, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        for step in range(10):
            frame = av.VideoFrame.from_ndarray(picture(10 * number + step), format="rgb24")
            container.mux(video.encode(frame))
        samples = tone(number, 2.0)
        for start in range(0, len(samples), 1024):
            piece = np.ascontiguousarray(samples[None, start : start + 1024])
            sound = av.AudioFrame.from_ndarray(piece, "fltp", "mono")
            sound.sample_rate, sound.pts = RATE, start
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def measured(line: list[str]) -> dict[str, float]:
    """Run a command in a process that tells what it and its children took."""
    began = time.monotonic()
    code = (
        "import json, resource as r, sys\n"
        "from trichord.cli import main\n"
        "if main(sys.argv[1:]): sys.exit('failed')\n"
        "own, children = (r.getrusage(w) for w in (r.RUSAGE_SELF, r.RUSAGE_CHILDREN))\n"
        "cpu = sum(u.ru_utime + u.ru_stime for u in (own, children))\n"
        "print(json.dumps([cpu, own.ru_maxrss, children.ru_maxrss]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    cpu, own, child = (float(part) for part in done.stdout.splitlines()[-1][1:-1].split(","))
    return {
        "processor seconds": round(cpu, 1),
        "clock seconds": round(time.monotonic() - began, 1),
        "process, MB": round(own / 1024),
        "largest child, MB": round(child / 1024),
    }


def megabytes(folder: Path) -> float:
    """Bytes of all files below, in millions."""
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


if __name__ == "__main__":
    main()
