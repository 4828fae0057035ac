"""Cells of a comparison: a generated world with a pair of encoders, and the systems trained on them.

Everything is resumable: what stands in the folder is not made again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from command import trichord

from trichord.evaluation.report import RetrievalReport, read_report
from trichord.experiments.slava import SYSTEMS

TASKS = (
    "visual<-visual", "visual<-audio", "visual<-audio_visual",
    "audio<-audio", "audio<-visual", "audio<-audio_visual", "visual<-sound",
)  # fmt: skip
"""SLAVA's seven, in its order."""
SIZES = "--train 800 --val 200 --test 400 --thing-scale 1.2"
"""Things are as large as in the pictures that these encoders were pretrained on."""
VALIDATION_WORLDS, TEST_WORLDS = (91, 92), (201, 202, 203)
"""Seeds. Everything was chosen on the first two; the others were rendered when nothing could change."""
PAIRS = (0, 1, 2)
SEEDS = (0, 1, 2, 3, 4)
UNTRAINED, OURS = "clip-clap", "trichord"
K = 10
_REPORT = {"test": "evaluation.json", "val": "evaluation-val.json"}


@dataclass(frozen=True)
class Cell:
    """A world and a pair of encoders, below a folder that all cells share."""

    place: Path
    world: int
    pair: int

    @property
    def clips(self) -> Path:
        """The world's manifest."""
        return self.place / f"world-{self.world}.jsonl"

    @property
    def folder(self) -> Path:
        """Where its runs lie."""
        return self.place / f"world-{self.world}-pair-{self.pair}"

    def run(self, system: str) -> Path:
        """Where a system's runs lie, a folder a seed."""
        return self.folder / system

    def towers(self, system: str) -> str:
        """The options that choose this pair of encoders for a system."""
        clip, clap = f"tag-clip-{self.pair}", f"tag-clap-{self.pair}"
        text = {UNTRAINED: f"--model.sound-text.name {clap}", OURS: f"--model.text.clap {clap}"}
        same = f"--model.text.name {clip} --model.vision.name {clip} --model.audio.name {clap}"
        return f"{same} {text.get(system, '')}"

    def prepare(self) -> None:
        """Render the world and read it by the encoders of the paper's systems."""
        world = self.clips.with_suffix("")
        if not self.clips.exists():
            trichord(f"world {world} {SIZES} --seed {self.world}")
            trichord(f"prepare avcaps {world} {self.clips}")
        self.extract(UNTRAINED)

    def extract(self, system: str) -> None:
        """Read the world by the encoders of a system."""
        done = self.folder / f"extracted-{system}"
        if not done.exists():
            trichord(f"extract {self.clips} --model world-{system} {self.towers(system)}")
            done.parent.mkdir(parents=True, exist_ok=True)
            done.touch()

    def train(self, system: str, seeds: Sequence[int] = SEEDS, split: str = "test") -> None:
        """Train and evaluate a system with these seeds, as far as that is not done.

        Args:
            system: Of the paper, without `world-`, or ours.
            seeds: One run each; the system without training has one.
            split: To evaluate on.
        """
        run, file = self.run(system), _REPORT[split]
        seeds = (0,) if system == UNTRAINED else seeds
        missing = [seed for seed in seeds if not (self.seed(system, seed) / file).exists()]
        if not missing:
            return
        several = "" if system == UNTRAINED else f"--seeds {' '.join(map(str, missing))}"
        trichord(f"train world-{system} {self.clips} {run} {several} {self.towers(system)}")
        trichord(f"evaluate {run} {self.clips} --split {split}")

    def seed(self, system: str, seed: int) -> Path:
        """The folder of one run."""
        return self.run(system) if system == UNTRAINED else self.run(system) / f"seed-{seed}"

    def reports(self, system: str, split: str = "test") -> list[RetrievalReport]:
        """A report for each seed."""
        found = sorted(self.run(system).glob(f"**/{_REPORT[split]}"))
        return [read_report(path, RetrievalReport) for path in found]


@dataclass(frozen=True)
class Hits:
    """Hits among the first ten of one system in one cell: (seed, query), and each query's clip."""

    hits: np.ndarray
    clip: np.ndarray

    @classmethod
    def of(cls, reports: Sequence[RetrievalReport], task: str) -> "Hits | None":
        """Of a task; None where the system cannot answer it."""
        if any(task not in report.ranks for report in reports):
            return None
        ranks = [report.ranks[task] for report in reports]
        hits = [
            one.ranks.hit(K, report.protocol.ties)
            for one, report in zip(ranks, reports, strict=True)
        ]
        return cls(np.stack(hits).astype(float), ranks[0].clips)

    @cached_property
    def mean(self) -> float:
        """R@10, averaged over seeds."""
        return float(self.hits.mean())


def cells(place: Path, worlds: Sequence[int], pairs: Sequence[int] = PAIRS) -> Iterator[Cell]:
    """The cells of some worlds with each pair of encoders."""
    for world in worlds:
        for pair in pairs:
            yield Cell(place, world, pair)


def train_all(cell: Cell, systems: Sequence[str] = tuple(SYSTEMS)) -> None:
    """Make a cell: world, features, and the paper's systems with all seeds."""
    cell.prepare()
    for system in systems:
        cell.train(system)
