"""How much of what decoding or encoding alone allow indexing keeps, and what bad files cost it.

    python studies/indexing.py [--files 2000] [--few 240] [--rounds 3] [--real 60]

Protocol: 40 generated clips (H.264 + AAC, 8 s, 160 x 120, 12.5 frames a second), copied under other
names with other bytes, two moments of 4 s each. The encoder is a stand-in that waits as long as it
is told to for each batch, as a processor waits for an accelerator; it is as fast as decoding, twice as
fast and half as fast. `decode` reads all moments and throws them away; `encoder` is what the stand-in
allows by itself; `index` is the whole of `indexing.index` into a new collection (content hashes,
thumbnails, vectors, commits, calibration; speech off). They take turns; the fastest of `--rounds`
counts.

`--real` files more: the small CLIP and CLAP of the generated world's shape, on the processor, with one
thread and with two. There decoding and towers share cores, and what they allow together is cores over the
sum of their processor seconds a moment; an index that spends no more than that sum reaches it. So seconds
of the processor are counted (the decoding child's too), which do not depend on other work: `decode` and
`towers` alone, `index`, and the bound's share that `index` can reach: (decode + towers) / index, with the
sum at one thread, which is the least.

Then `--files` files, first all clean and then 5 % of them bad in seven ways (cut off at three places,
without index, empty, noise, text), by a fast encoder: the list of the bad must be exact. Both are also
timed in seconds of the processor (decoder included), which do not depend on what else the machine
does. Writes studies/results/indexing.json, where what a run leaves out keeps its last figures.
"""

import argparse
import json
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import numpy as np
import torch
from record import RESULTS, record

from trichord.config import Clap, ClipText, ClipVision, TriModal
from trichord.media import USABLE, Decoder
from trichord.models.embedder import Embedder, MediaVectors
from trichord.search.cutting import Cut, cut_files
from trichord.search.indexing import Indexed, begin, index
from trichord.search.reading import MOMENTS_AT_ONCE, batches, decode_files
from trichord_world.small import SmallClap, SmallClip, build_clap, build_clip

RESULT = RESULTS / "indexing.json"
CLIPS, SECONDS, FPS, SIZE, RATE = 40, 8, Fraction(25, 2), (160, 120), 16_000
MOMENT = 4.0
BAD = 0.05
TEXTS = ("a red ball bounces on the beach", "a low bell rings slowly", "someone says hello")


def write_clip(path: Path, seed: int) -> None:
    """A square that wanders over noise, and a tone."""
    chance = np.random.default_rng(seed)
    ground = chance.integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8) // 4
    colour, pitch = chance.integers(60, 255, 3, dtype=np.uint8), chance.uniform(150, 2000)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=FPS, options={"g": "25"})
        picture.width, picture.height, picture.pix_fmt = *SIZE, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for step in range(int(SECONDS * FPS)):
            shown = ground.copy()
            left = 2 * step % (SIZE[0] - 40)
            shown[40:80, left : left + 40] = colour
            container.mux(picture.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(picture.encode(None))
        wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(SECONDS * RATE) / RATE)
        for start in range(0, len(wave), 1024):
            piece = wave[None, start : start + 1024].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def fill(folder: Path, clips: list[bytes], files: int) -> None:
    """Copies of clips, each with a box of its own at the end that says nothing."""
    folder.mkdir()
    for n in range(files):
        box = (16).to_bytes(4, "big") + b"free" + n.to_bytes(8, "big")
        (folder / f"clip{n:05}.mp4").write_bytes(clips[n % len(clips)] + box)


def spoil(folder: Path) -> list[str]:
    """Make some files bad; gives their paths."""
    chance = random.Random(0)
    chosen = sorted(
        chance.sample(sorted(folder.iterdir()), round(BAD * len(list(folder.iterdir()))))
    )
    for n, file in enumerate(chosen):
        content = file.read_bytes()
        ways = (
            content[: len(content) // 3], content[: 2 * len(content) // 3], content[:700],
            content.replace(b"moov", b"voom"), b"", chance.randbytes(5_000),
            b"this is no video\n" * (n + 1),
        )  # fmt: skip
        file.write_bytes(ways[n % len(ways)])
    return [str(file) for file in chosen]


def small_towers(folder: Path, *, large: bool) -> TriModal:
    """Random towers: tiny ones for what is not measured, or the shape of the world's stand-ins."""
    side, width, layers = (64, 128, 6) if large else (32, 32, 2)
    clip = SmallClip(
        side=side, patch=16, width=width, inner=2 * width, layers=layers, text_inner=64, dim=64
    )
    build_clip(clip, TEXTS, folder / "clip", seed=1).save_pretrained(folder / "clip")
    clap = SmallClap(rate=RATE, seconds=4, width=width // 2, text_width=32, dim=64, heads=(1, 2))
    build_clap(clap, TEXTS, folder / "clap", seed=2).save_pretrained(folder / "clap")
    pair = str(folder / "clip"), str(folder / "clap")
    text, vision = ClipText(name=pair[0]), ClipVision(name=pair[0])
    return TriModal(text=text, vision=vision, audio=Clap(name=pair[1]))


def small_model(folder: Path, *, large: bool) -> Embedder:
    return small_towers(folder, large=large).build().eval()


def accelerated(model: Embedder, seconds: float) -> Embedder:
    """The model with an encoder that takes this long for a batch and leaves the processor alone."""

    def embed_media(decoded: list[Any], tokens: tuple[float, ...] = ()) -> MediaVectors:
        time.sleep(seconds * len(decoded) / MOMENTS_AT_ONCE)
        dims = model.vision.dim, model.audio.dim
        seen, heard = (np.full((len(decoded), dim), dim**-0.5, np.float32) for dim in dims)
        has_vision = np.array([one.frames is not None for one in decoded])
        has_audio = np.array([bool(one.audio) for one in decoded])
        return MediaVectors(
            vision=seen, has_vision=has_vision, audio=heard[:, None], has_audio=has_audio
        )

    model.embed_media = embed_media
    return model


def decode_alone(model: Embedder, decoder: Decoder, folder: Path) -> float:
    """Moments a second."""
    files = [str(file) for file in sorted(folder.iterdir())]
    begun = time.perf_counter()
    cuts = cut_files(decoder, files, Cut(MOMENT, MOMENT))
    count = sum(1 for _ in decode_files(model.plan_of(("audio", "vision")), decoder, cuts))
    return count / (time.perf_counter() - begun)


def encode_alone(model: Embedder, decoder: Decoder, folder: Path) -> float:
    """Moments a second, of moments that are in memory."""
    files = [str(file) for file in sorted(folder.iterdir())[:64]]
    cuts = cut_files(decoder, files, Cut(MOMENT, MOMENT))
    plan = model.plan_of(("audio", "vision"))
    decoded = [one for _, one in decode_files(plan, decoder, cuts)]
    begun = time.perf_counter()
    for batch in batches(decoded, MOMENTS_AT_ONCE):
        model.embed_media(batch)
    return len(decoded) / (time.perf_counter() - begun)


def index_all(model: Embedder, decoder: Decoder, folder: Path, place: Path) -> list[Indexed]:
    shutil.rmtree(place, ignore_errors=True)
    collection = begin(place, "none", model, MOMENT, MOMENT)
    return list(index(collection, model, decoder, [folder], speech=False))


def indexing(model: Embedder, decoder: Decoder, folder: Path, place: Path) -> float:
    """Moments a second."""
    begun = time.perf_counter()
    done = index_all(model, decoder, folder, place)
    return sum(one.moments for one in done) / (time.perf_counter() - begun)


def kept(
    model: Embedder, decoder: Decoder, folder: Path, place: Path, rounds: int
) -> dict[str, float]:
    """The three ways in turns, the best of each, and what indexing keeps of the slower stage."""
    best = {"decode": 0.0, "encoder": 0.0, "index": 0.0}
    for _ in range(rounds):
        best["decode"] = max(best["decode"], decode_alone(model, decoder, folder))
        best["encoder"] = max(best["encoder"], encode_alone(model, decoder, folder))
        best["index"] = max(best["index"], indexing(model, decoder, folder, place))
    print({name: round(value, 1) for name, value in best.items()}, flush=True)
    ratio = best["index"] / min(best["decode"], best["encoder"])
    return {name: round(value, 1) for name, value in best.items()} | {"kept": round(ratio, 3)}


def ratios(place: Path, clips: list[bytes], chosen: argparse.Namespace) -> dict[str, Any]:
    """What indexing keeps, by how fast the encoder is."""
    fill(place / "few", clips, chosen.few)
    model = small_model(place / "tiny", large=False)
    models = {}
    with Decoder(workers=1) as decoder:
        decode_alone(model, decoder, place / "few")  # starts the child
        batch = MOMENTS_AT_ONCE / decode_alone(model, decoder, place / "few")
        ways = {"encoder as fast": 1.0, "encoder twice as fast": 0.5, "encoder half as fast": 2.0}
        for way, factor in ways.items():
            tiny = small_model(place / "tiny", large=False)
            models[way] = accelerated(tiny, factor * batch)
        return {
            way: kept(one, decoder, place / "few", place / "collection", chosen.rounds)
            for way, one in models.items()
        }


def on_the_processor(place: Path, clips: list[bytes], files: int, rounds: int) -> dict[str, Any]:
    """Processor milliseconds a moment of each stage alone and of indexing; the least of some rounds."""
    fill(place / "real", clips, files)
    model, report, least = small_model(place / "small", large=True), {}, 0.0
    held = 2 * min(files, 64)  # moments of `encode_alone`
    tasks = {"decode": decode_alone, "towers": encode_alone, "index": indexing}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with Decoder(workers=1) as decoder:
            decode_alone(model, decoder, place / "real")  # starts the child
            best = dict.fromkeys(tasks, float("inf"))
            for _ in range(rounds):
                for name, task in tasks.items():
                    more = (place / "collection",) if name == "index" else ()
                    before = processor_seconds(decoder)
                    task(model, decoder, place / "real", *more)
                    took = processor_seconds(decoder) - before
                    if name == "towers":  # of which there are fewer, decoded first
                        took -= held * best["decode"]
                    best[name] = min(best[name], took / (held if name == "towers" else 2 * files))
        least = least or best["decode"] + best["towers"]
        shown = {f"{name}, processor ms a moment": round(1000 * t, 2) for name, t in best.items()}
        shown["share of the bound"] = round(least / best["index"], 3)
        report[f"{threads} threads of torch"] = shown
        print(threads, shown, flush=True)
    torch.set_num_threads(1)
    return report


def processor_seconds(decoder: Decoder) -> float:
    """Of this process and of the children that decode."""
    spent = time.process_time()
    for worker in decoder.workers:
        if worker.child is not None:
            stat = Path(f"/proc/{worker.child.pid}/stat").read_text().rpartition(")")[2].split()
            spent += (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    return spent


def spent() -> tuple[float, float]:
    """Seconds by the clock, and of the processor, by this process and by children that have ended."""
    own, ended = (resource.getrusage(which) for which in (RUSAGE_SELF, RUSAGE_CHILDREN))
    return time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in (own, ended))


def with_bad_files(model: Embedder, place: Path, clips: list[bytes], files: int) -> dict[str, Any]:
    """Times of a clean folder and of one with bad files, and that all of these are listed."""
    report: dict[str, Any] = {"files": files}
    took: dict[str, tuple[float, float]] = {}
    for name in ("clean", "bad"):
        folder = place / name
        fill(folder, clips, files)
        spoiled = spoil(folder) if name == "bad" else []
        begun = spent()
        with Decoder(workers=1) as decoder:
            done = index_all(model, decoder, folder, place / "collection")
        took[name] = spent()[0] - begun[0], spent()[1] - begun[1]
        found = sorted(one.file for one in done if one.status not in USABLE)
        assert found == spoiled, set(found) ^ set(spoiled)
        report["bad files, all listed and no other"] = len(found)
        report[f"files a second, {name}"] = round(files / took[name][0], 1)
        report[f"processor milliseconds a file, {name}"] = round(1000 * took[name][1] / files, 2)
    for i, what in enumerate(("clock", "processor")):
        ratio = took["clean"][i] / took["bad"][i]
        report[f"rate with bad files over clean, by the {what}"] = round(ratio, 3)
    print(report, flush=True)
    return report


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=2000, help="with bad ones; 0: leave them")
    parser.add_argument("--few", type=int, default=240, help="files for the ratios; 0: leave them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--real", type=int, default=60, help="files for real towers; 0: leave them")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    report: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    report["protocol"] = " ".join(__doc__.split("Protocol: ")[1].split())
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for n in range(CLIPS):
            write_clip(place / f"source{n}.mp4", n)
        clips = [(place / f"source{n}.mp4").read_bytes() for n in range(CLIPS)]
        if chosen.few:
            report["moments a second"] = ratios(place, clips, chosen)
        if chosen.real:
            found = on_the_processor(place, clips, max(chosen.real, 32), chosen.rounds)
            report["towers on the processor"] = found
        if chosen.files:
            fast = accelerated(small_model(place / "tiny", large=False), 0.01)
            report["bad files"] = with_bad_files(fast, place, clips, chosen.files)
    record("indexing", report)


if __name__ == "__main__":
    main()
