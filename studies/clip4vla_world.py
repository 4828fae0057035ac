"""What the tables of CLIP4VLA on the generated world share: clips, pretrained runs, the form of numbers.

Scripts that are given the same folder use what another one has rendered and trained there. `--quick` makes
everything small, to see that a script works from end to end; its figures mean nothing.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from command import trichord

from trichord.checkpoint import Run
from trichord.cli.studies import StudyOptions, run_study, train_on
from trichord.evaluation.comparison import Comparison
from trichord.evaluation.metrics import KS
from trichord.experiments import Study
from trichord_world.studies import COMPONENTS

RENDERED = 900
PRETRAINING = 600
"""Narrated clips, and as many labelled ones, that Table 5 pretrains on: the first of those rendered."""
WORLDS = (
    "howto100m and audioset layouts: {count} clips each of 900, seed 7, 48 phrases; avcaps layout: "
    "300/100/200 clips, seed 0, 48 phrases"
)


@dataclass(frozen=True)
class Place:
    """The folder of these tables, and how much is done in it."""

    folder: Path
    quick: bool

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of training."""
        return (0,) if self.quick else (0, 1, 2)

    def epochs(self, full: int) -> int:
        """As many, or one."""
        return 1 if self.quick else full

    def count(self, full: int) -> int:
        """As many clips, or a fiftieth of them: with fewer, no query asks for speech."""
        return max(12, full // 50) if self.quick else full

    def options(self, epochs: int, **more: object) -> StudyOptions:
        """Of a study."""
        return StudyOptions(seeds=self.seeds, epochs=self.epochs(epochs), **more)  # type: ignore[arg-type]

    def captioned(self) -> Path:
        """The manifest of the captioned clips."""
        world, manifest = self.folder / "captioned", self.folder / "clips.jsonl"
        train, val, test = (self.count(one) for one in (300, 100, 200))
        trichord(f"world {world} --train {train} --val {val} --test {test} --phrases many")
        trichord(f"prepare avcaps {world} {manifest}")
        return manifest

    def pretraining(self, count: int) -> Path:
        """The manifest of the first narrated clips and as many labelled ones."""
        lines: list[str] = []
        for layout in ("howto100m", "audioset"):
            world, manifest = self.folder / layout, self.folder / f"{layout}.jsonl"
            clips = self.count(RENDERED)
            trichord(f"world {world} --layout {layout} --clips {clips} --seed 7 --phrases many")
            trichord(f"prepare {layout} {world} {manifest}")
            lines += manifest.read_text().splitlines(keepends=True)[: self.count(count)]
        joined = self.folder / f"pretraining-{count}.jsonl"
        joined.write_text("".join(lines))
        return joined

    def pretrained(self) -> Path:
        """The pretrained runs of Table 5's last row, a seed each."""
        row = COMPONENTS.rows[-1]
        assert row.pretraining is not None
        runs = self.folder / "components" / row.folder / "pretraining"
        manifest, options = self.pretraining(PRETRAINING), self.options(16)
        for seed in self.seeds:
            train_on(manifest, runs / f"seed-{seed}", row.pretraining, seed, options)
        return runs


def place_of(script: str | None) -> Place:
    """What the command line says, of a script with this docstring."""
    parser = argparse.ArgumentParser(description=script)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo/clip4vla"))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if given.quick:
        os.environ.setdefault("STUDY_RESULTS", str(given.folder / "results"))
    return Place(given.folder, given.quick)


def recalls(table: Comparison) -> dict[str, dict[str, object]]:
    """R@k by row, task and k, a number a seed."""
    return {
        variant.name: {
            "seeds": variant.seeds,
            **{
                task: {str(k): row.cells[f"R@{k}"].values for k in KS}
                for task, row in variant.rows.items()
            },
        }
        for variant in table.systems
    }


def validation(study: Study, folder: Path, seeds: tuple[int, ...]) -> dict[str, list[float]]:
    """The criterion that each run of a study was kept by, by row, a number a seed."""
    return {
        row.name: [
            round(
                max(
                    epoch["criterion"]
                    for epoch in Run(folder / row.folder / f"seed-{seed}").metrics()
                ),
                4,
            )
            for seed in seeds
        ]
        for row in study.rows
    }


def started_table(study: Study, place: Place, epochs: int) -> dict[str, object]:
    """A result file: a study whose rows start from the pretrained runs of Table 5's last row."""
    manifest, start = place.captioned(), place.pretrained()
    folder = place.folder / study.name.removeprefix("world-")
    table = run_study(study, manifest, folder, place.options(epochs, start=start))
    return {
        "command": f"trichord study {study.name} clips.jsonl DIR --start PRETRAINED --epochs {epochs}",
        "worlds": WORLDS.format(count=PRETRAINING),
        "start": "the pretraining of the last row of components.json, of the same seed",
        "seeds": place.seeds,
        "protocol": table.protocol,
        "recall by row, task, k and seed": recalls(table),
    }
