"""Bulk extraction: the same rows whoever makes them, and what overlapping stages gain.

    nice -n 5 python studies/bulk.py [--files 500] [--rounds 3] [--without-ray]

Protocol: `--files` generated files (H.264 + AAC, 20 s, 64 x 48, 4 frames a second), each with 20 clips of
a second: 10,000 clips as a manifest counts them (a file a clip would be ten times the bytes, and no other
code). Random towers of two layers, one decoding process each. Ways: `process` (one process, one piece:
the reference), `two processes` (each with half of 40 shards, into one folder), `two processes, once more`
(over what these left: nothing to do) and `ray` (Ray Data in local mode, two actors). Of each: rows of
both tables, rows with a key that is there twice, keys that are missing, and rows whose origin, status or
bits differ from the reference's. Each is run once, on a machine with other work: its clips a second are
no comparison of the ways.

Overlap: 10 of the files by an encoder that leaves the processor alone for as long as decoding a group
takes, as an accelerator would. `apart` is the loop as it was: decode and prepare a group, read the towers,
store it, then the next group; `overlapping` is `extract_media`. In turns, the best of `--rounds`; `bound`
is the slower stage alone. Writes studies/results/bulk.json after each way.
"""

import argparse
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import numpy as np
import torch
from indexing import TEXTS
from record import record

from trichord.bulk.ray_runner import RayRunner
from trichord.bulk.runner import LocalRunner, Runner, run_extraction
from trichord.bulk.shard_worker import ShardWorker
from trichord.bulk.shards import Shard, WorkerModel, extraction_of, shards_of_clips
from trichord.config import Clap, ClipText, ClipVision, Experiment, TriModal
from trichord.features import extraction
from trichord.features.extraction import ROWS_AT_ONCE, extract_media, trunk_features_of_rows
from trichord.features.store import FeatureFolder, FeatureRow
from trichord.media import Decoder
from trichord.models.embedder import Embedder
from trichord.types import Clip
from trichord_world.small import SmallClap, SmallClip, build_clap, build_clip

SPANS, FPS, RATE, SIZE = 20, 4, 16_000, (64, 48)
DRAWN = 20
SHARDS = 40


def write_file(path: Path, seed: int) -> None:
    """Colours that change, and noise."""
    chance = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=FPS, options={"g": str(2 * FPS)})
        picture.width, picture.height, picture.pix_fmt = *SIZE, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for _ in range(FPS * SPANS):
            shown = np.tile(chance.integers(0, 255, 3, dtype=np.uint8), (SIZE[1], SIZE[0], 1))
            container.mux(picture.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(picture.encode(None))
        wave = chance.normal(0, 0.1, SPANS * RATE).astype(np.float32)
        for start in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def clips_in(folder: Path, files: int) -> list[Clip]:
    """Spans of files, of which `DRAWN` are rendered and the others have their content and a box more."""
    folder.mkdir()
    for n in range(min(DRAWN, files)):
        write_file(folder / f"{n:04}.mp4", n)
    for n in range(DRAWN, files):
        box = (16).to_bytes(4, "big") + b"free" + n.to_bytes(8, "big")
        content = (folder / f"{n % DRAWN:04}.mp4").read_bytes()
        (folder / f"{n:04}.mp4").write_bytes(content + box)
    return [
        Clip(id=f"{n}@{i}", path=str(folder / f"{n:04}.mp4"), start=float(i), end=i + 1.0)
        for n in range(files)
        for i in range(SPANS)
    ]


def small_towers(folder: Path) -> TriModal:
    """Random towers that are quick: what they make is compared, not judged."""
    clip = SmallClip(side=32, patch=16, width=32, inner=64, layers=2, text_inner=64, dim=64)
    build_clip(clip, TEXTS, folder / "clip", seed=1).save_pretrained(folder / "clip")
    clap = SmallClap(rate=RATE, seconds=1, width=16, text_width=32, dim=64, heads=(1, 2))
    build_clap(clap, TEXTS, folder / "clap", seed=2).save_pretrained(folder / "clap")
    sight, sound = str(folder / "clip"), str(folder / "clap")
    text, vision = ClipText(name=sight), ClipVision(name=sight)
    return TriModal(text=text, vision=vision, audio=Clap(name=sound))


def rows_of(folder: FeatureFolder, model: Embedder) -> dict[str, list[dict[str, Any]]]:
    """All rows of both tables, by key."""
    columns = ["key", "origin", "status", "steps", "values"]
    towers = {"vision": model.vision, "audio": model.audio}
    tables = {name: folder.table(name, tower) for name, tower in towers.items()}
    return {n: table.rows(columns).sort_by("key").to_pylist() for n, table in tables.items()}


def compared(held: dict[str, Any], expected: dict[str, Any]) -> dict[str, int]:
    """How many rows there are, and how many are not as they should be, over both tables."""
    found = {"rows": 0, "doubled": 0, "missing": 0, "different": 0}
    for name, rows in held.items():
        by_key = {row["key"]: row for row in rows}
        found["rows"] += len(rows)
        found["doubled"] += len(rows) - len(by_key)
        found["missing"] += sum(row["key"] not in by_key for row in expected[name])
        found["different"] += sum(by_key.get(row["key"], row) != row for row in expected[name])
    return found


def run_shard(runner: Runner, shards: Sequence[Shard]) -> tuple[float, int]:
    """Seconds, and how many clips were not done before."""
    begun, fresh = time.perf_counter(), 0
    with runner:
        for part in run_extraction(runner, shards):
            fresh += sum(status != "done" for status in part.statuses)
    return time.perf_counter() - begun, fresh


def halves(shards: Sequence[Shard]) -> tuple[float, int]:
    """Two processes, each with half of the shards: seconds, and how many clips were read."""
    begun = time.perf_counter()
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        fresh = sum(pool.map(half, (shards[::2], shards[1::2])))
    return time.perf_counter() - begun, fresh


def half(shards: Sequence[Shard]) -> int:
    """How many clips were not done before."""
    with ShardWorker() as hand:
        parts = [part for shard in shards for part in hand.run_shard(shard)]
    return sum(status != "done" for part in parts for status in part.statuses)


def ways(
    place: Path, clips: list[Clip], chosen: argparse.Namespace, report: dict[str, Any]
) -> None:
    """All ways of carrying out the same shards, each into a folder of its own."""
    config = small_towers(place / "towers")
    model, towers = (
        config.build().eval(),
        WorkerModel(model=Experiment(system="tiny", model=config)),
    )
    done: dict[str, Any] = {"clips": len(clips), "shards": SHARDS}

    def shards(name: str, count: int = SHARDS) -> list[Shard]:
        whole = extraction_of(model, FeatureFolder(place / name), ("vision", "audio"), towers)
        return shards_of_clips(whole, clips, count)

    def note(name: str, took: float, fresh: int) -> None:
        held = rows_of(FeatureFolder(place / name.split(",")[0]), model)
        expected.update(expected or held)
        rate = {"clips read": fresh, "clips a second": round(fresh / took, 1)}
        done[name] = {**compared(held, expected), **rate, "seconds": round(took, 1)}
        record("bulk", {**report, "ways": done})

    expected: dict[str, Any] = {}
    with Decoder(workers=1) as decoder:
        note("process", *run_shard(LocalRunner(model, decoder), shards("process", 1)))
    note("two processes", *halves(shards("two processes")))
    note("two processes, once more", *halves(shards("two processes")))
    if not chosen.without_ray:
        note("ray", *run_shard(RayRunner(2), shards("ray")))


class Waiting:
    """Makes towers leave the processor alone for so long for each clip, as an accelerator does."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, tower: Any, rows: list[Any], *_: object) -> list[torch.Tensor]:
        """In the place of `trunk_features_of_rows`."""
        time.sleep(self.seconds * len(rows) / 2)  # of two towers
        return [torch.zeros(len(row), tower.width) for row in rows]


def apart(
    model: Embedder, clips: list[Clip], folder: FeatureFolder, decoder: Decoder, wait: Waiting
) -> None:
    """Extraction as it was: one stage after the other."""
    towers = {"vision": model.vision, "audio": model.audio}
    decoded = decoded_by(model, clips, decoder)
    while group := list(islice(decoded, ROWS_AT_ONCE)):
        for name, tower in towers.items():
            prepare = model.vision_inputs if name == "vision" else model.audio_inputs
            values = wait(tower, [prepare(one) for _, one in group])
            rows = zip(group, values, strict=True)
            folder.table(name, tower).put(
                [FeatureRow(clip.id, "o", one.status, value.numpy()) for (clip, one), value in rows]
            )


def decoded_by(model: Embedder, clips: list[Clip], decoder: Decoder) -> Iterator[tuple[Clip, Any]]:
    return extraction._decode(model.plan_of(("audio", "vision")), clips, decoder)


def pipeline(place: Path, clips: list[Clip], rounds: int) -> dict[str, float]:
    """Clips a second, one stage after the other and with stages that overlap."""
    model = small_towers(place / "tiny").build().eval()
    best: dict[str, float] = {"decode and prepare": 0.0, "apart": 0.0, "overlapping": 0.0}

    def timed(way: str, task: Any) -> None:
        shutil.rmtree(place / "features", ignore_errors=True)
        begun = time.perf_counter()
        task(FeatureFolder(place / "features"))
        best[way] = max(best[way], len(clips) / (time.perf_counter() - begun))

    with Decoder(workers=1) as decoder:

        def decode(_: FeatureFolder) -> None:
            for _, one in decoded_by(model, clips, decoder):
                model.vision_inputs(one)
                model.audio_inputs(one)

        decode(FeatureFolder(place))  # starts the child
        timed("decode and prepare", decode)
        wait = Waiting(1 / best["decode and prepare"])
        extraction.trunk_features_of_rows = wait  # type: ignore[assignment]
        for _ in range(rounds):
            timed("decode and prepare", decode)
            timed("apart", lambda folder: apart(model, clips, folder, decoder, wait))
            timed("overlapping", lambda f: list(extract_media(model, clips, f, decoder)))
        extraction.trunk_features_of_rows = trunk_features_of_rows
    best["encoder"] = 1 / wait.seconds
    bound = min(best["decode and prepare"], best["encoder"])
    report = {f"{name}, clips a second": round(rate, 1) for name, rate in best.items()}
    report["overlapping over apart"] = round(best["overlapping"] / best["apart"], 3)
    report["overlapping over bound"] = round(best["overlapping"] / bound, 3)
    print(report, flush=True)
    return report


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-ray", action="store_true")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    report: dict[str, Any] = {"protocol": " ".join(__doc__.split("Protocol: ")[1].split())}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        clips = clips_in(place / "media", chosen.files)
        report["overlap"] = pipeline(place, clips[: 10 * SPANS], chosen.rounds)
        ways(place, clips, chosen, report)


if __name__ == "__main__":
    main()
