"""Trains experiments in each of several processes; run by the tests of this folder.

usage: spread_training.py FOLDER NAME...    FOLDER/NAME.json says what; under a launcher's environment
"""

import json
import os
import signal
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter

import trichord.training.session
from trichord.checkpoint import Run, fresh_model
from trichord.config import Experiment
from trichord.distributed import process_group, rank, world_size
from trichord.features.source import FeatureSource, MediaSource
from trichord.features.store import FeatureFolder
from trichord.media import Decoded, Decoder
from trichord.training.fit import fit
from trichord.training.session import Session
from trichord.types import Clip


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to train, of which clips and features, and after how many steps the last process dies."""

    experiment: Experiment
    clips: tuple[Clip, ...]
    features: Path
    sharded: bool = False
    dies_after: int | None = None

    def write(self, path):
        path.write_bytes(TypeAdapter(Task).dump_json(self))

    @classmethod
    def read(cls, path):
        return TypeAdapter(cls).validate_json(path.read_bytes())


class MadeUp(Decoder):
    """Draws what a file holds from its name."""

    def __init__(self):
        super().__init__(workers=1)

    def decode_all(self, requests):
        for request in requests:
            random = np.random.default_rng(zlib.crc32(Path(request.path).stem.encode()))
            frames = random.integers(0, 255, (3, 32, 40, 3), dtype=np.uint8)
            wave = random.normal(0, 0.1, random.integers(4_000, 16_000)).astype(np.float32)
            silent = Path(request.path).stem.startswith("silent")
            yield [
                Decoded(
                    status="ok",
                    frames=frames if request.plan.frames else None,
                    audio={} if silent else dict.fromkeys(request.plan.rates, wave),
                )
            ]


def sources_of(task, model):
    """Towers that train read media, all else the cache."""
    towers = {name for stage in task.experiment.stages for name in stage.towers}
    cached = tuple(name for name in ("text", "audio", "vision") if name not in towers)
    held = []
    for split in ("train", "val"):
        clips = [clip for clip in task.clips if clip.split == split]
        source = FeatureSource(clips, model, FeatureFolder(task.features), cached)
        if towers:
            source = MediaSource(clips, model, MadeUp(), tuple(sorted(towers)), source)
        held.append(source)
    return held


def carry_out(task, run):
    """Train, and give the loss of every step."""
    losses, after_step = [], Session.after_step
    saves = trichord.training.session.SECONDS_BETWEEN_SAVES

    def noted(self, optimizer, loss):
        losses.append(loss)
        after_step(self, optimizer, loss)
        first_try = os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
        if task.dies_after == len(losses) and first_try and rank() == world_size() - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    Session.after_step = noted
    trichord.training.session.SECONDS_BETWEEN_SAVES = -1.0 if task.dies_after else 1e9
    try:
        model = fresh_model(task.experiment)
        sources = sources_of(task, model)
        fit(
            task.experiment,
            model,
            sources,
            Run(run),
            manifest="m",
            after_epoch=lambda numbers: None,
            sharded=task.sharded,
        )
    finally:
        Session.after_step = after_step
        trichord.training.session.SECONDS_BETWEEN_SAVES = saves
    return losses


def main(folder, *names):
    torch.set_num_threads(1)
    with process_group("cpu"):
        for name in names:
            asked = Task.read(folder / f"{name}.json")
            run = folder / f"{name}-{world_size()}"
            losses = carry_out(asked, run)
            (folder / f"{name}-{world_size()}-losses-{rank()}.json").write_text(json.dumps(losses))
    threads = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
    assert not [name for name in threads if "gloo" in name]  # they might outlive the interpreter


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
