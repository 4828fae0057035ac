"""SLAVA's Table II on generated worlds: which of the paper's findings hold.

Three worlds, each with three pairs of encoders and five training seeds, for all eight systems. The
encoders were pretrained on tags of other clips (`trichord_world.stand_ins.TAGS`), so that they relate to
the worlds about as CLIP and CLAP do to AVCaps: they know the things, but seldom saw these words, and hardly
any speech. A finding is a difference between two systems. It *holds* where it has the paper's sign in all
nine cells and its interval excludes 0; it *does not hold* where the same is true of the other sign; else
it is *undecided*. The interval is of the mean over cells: clips are drawn within each world (paired
bootstrap), worlds and encoders are as they are.

The learning rate (of 3e-4 and 1e-3), the size of things and the recipe of the encoders were chosen on the
validation split of another world (91) with one pair of encoders. The test split of each world is read once.

    python studies/slava_table.py [FOLDER]

The encoders come with `trichord-world`; `python -m trichord_world.stand_ins FOLDER tag-clip-0
tag-clap-0` makes one pair again (about 20 minutes).
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cells import PAIRS, SEEDS, TASKS, TEST_WORLDS, UNTRAINED, Cell, Hits, cells, train_all
from record import record
from verdicts import MARGIN, RESAMPLES, Difference, Key, difference

from trichord.evaluation.published import TABLE_II
from trichord.experiments.slava import SYSTEMS


@dataclass(frozen=True)
class Finding:
    """A finding of the paper: `better` is above `worse` on a task, or level with it."""

    about: str
    task: str
    better: str
    worse: str
    level: bool = False


TWO = ("wav2clip-frozen-text", "wav2clip-trainable-text")
FINDINGS = (
    *(
        Finding("two stages lose the link of sound and picture", "visual<-sound", better, worse)
        for worse in TWO
        for better in ("audioclip", "slava-a-and-v", "slava-av", "audio-visual")
    ),
    *(
        Finding(
            "captions alone link sound and picture better than two stages",
            "visual<-sound",
            "slava-av-indirect",
            worse,
        )
        for worse in TWO
    ),
    Finding(
        "the audio-visual term adds to captions", "visual<-sound", "slava-av", "slava-av-indirect"
    ),
    Finding(
        "captions of both kinds beat those of sound alone",
        "visual<-sound",
        "slava-a-and-v",
        "audioclip",
    ),
    Finding(
        "captions do not harm the link of sound and picture",
        "visual<-sound",
        "slava-a-and-v",
        "audio-visual",
        level=True,
    ),
    Finding(
        "captions of sound alone harm the search of pictures",
        "visual<-visual",
        "slava-a-and-v",
        "audioclip",
    ),
    Finding(
        "captions of sound alone harm the search of pictures",
        "visual<-audio_visual",
        "slava-a-and-v",
        "audioclip",
    ),
    Finding("a second stage with trainable text helps sound", "audio<-audio", TWO[1], TWO[0]),
    Finding("... and costs pictures", "visual<-visual", TWO[0], TWO[1]),
    Finding(
        "matching captions are best for captions of both",
        "audio<-audio_visual",
        "slava-av-indirect",
        TWO[1],
    ),
    Finding(
        "matching captions are best for captions of both",
        "visual<-audio_visual",
        "slava-av-indirect",
        TWO[1],
    ),
    *(
        Finding(
            "one stage is level with two where text searches",
            task,
            "slava-a-and-v",
            TWO[1],
            level=True,
        )
        for task in TASKS
        if task != "visual<-sound"
    ),
)
"""What section V says of Table II."""


def hits_of(made: Sequence[Cell], system: str, task: str) -> dict[Key, Hits]:
    """Hits of a system on a task, by cell; empty where it cannot answer it."""
    found = {(one.world, one.pair): Hits.of(one.reports(system), task) for one in made}
    return {key: hits for key, hits in found.items() if hits is not None}


def judged(finding: Finding, made: Sequence[Cell]) -> dict[str, Any]:
    """A finding with its difference, interval, verdict, and what it varies with."""
    change = difference(
        hits_of(made, finding.better, finding.task), hits_of(made, finding.worse, finding.task)
    )
    paper = {name: TABLE_II[name].get(finding.task) for name in (finding.better, finding.worse)}
    return {
        "finding": finding.about,
        "task": finding.task,
        "first": finding.better,
        "other": finding.worse,
        "claim": "level" if finding.level else "above",
        "paper": paper,
        **numbers(change),
        "verdict": change.level if finding.level else change.verdict,
    }


def numbers(change: Difference) -> dict[str, Any]:
    """A difference as JSON values."""
    return {
        "difference": round(change.mean, 4),
        "low": round(change.low, 4),
        "high": round(change.high, 4),
        "cells": [round(value, 4) for _, value in sorted(change.cells.items())],
        "standard deviation over": change.spread,
        "clips": change.clips,
        "clips that would decide": change.clips_needed,
    }


def table(made: Sequence[Cell]) -> dict[str, dict[str, float]]:
    """R@10 by system and task: mean over seeds, worlds and encoders."""
    return {
        system: {
            task: round(float(np.mean([one.mean for one in found.values()])), 4)
            for task in TASKS
            if (found := hits_of(made, system, task))
        }
        for system in SYSTEMS
    }


def ceiling(made: Sequence[Cell]) -> dict[str, float]:
    """The best possible R@10 by task, averaged over worlds."""
    rows: dict[str, list[float]] = {task: [] for task in TASKS}
    for report in (one.reports("slava-a-and-v")[0] for one in made):
        for row in report.rows:
            if row.name in rows and row.ceiling:
                rows[row.name].append(row.ceiling["R@10"])
    return {task: round(float(np.mean(values)), 4) for task, values in rows.items() if values}


def first_stages(made: Sequence[Cell]) -> dict[str, Any]:
    """Of the first of two stages: how often it changed anything, and the epochs that it handed over."""
    epochs = [
        _best_epoch(place)
        for cell in made
        for place in sorted(cell.run(TWO[0]).glob("seed-*/metrics.jsonl"))
    ]
    return {
        "runs": len(epochs),
        "handed over what it started with": epochs.count(0),
        "epochs": epochs,
    }


def _best_epoch(metrics: Path) -> int:
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    first = [one for one in lines if one["stage"] == lines[0]["stage"]]
    return max(first, key=lambda one: one["criterion"])["epoch"]


def verdicts(found: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many findings have each verdict."""
    every = [str(one["verdict"]) for one in found]
    return {verdict: every.count(verdict) for verdict in ("holds", "does not hold", "undecided")}


def main(place: Path) -> None:
    """Make all cells and judge the findings."""
    place.mkdir(parents=True, exist_ok=True)
    made = list(cells(place, TEST_WORLDS))
    for cell in made:
        train_all(cell)
    found = [judged(finding, made) for finding in FINDINGS]
    record(
        "slava_table",
        {
            "protocol": " ".join((__doc__ or "").split()),
            "worlds": TEST_WORLDS,
            "pairs of encoders": PAIRS,
            "seeds": SEEDS,
            "resamples": RESAMPLES,
            "margin of level": MARGIN,
            "R@10": table(made),
            "untrained": UNTRAINED,
            "ceiling": ceiling(made),
            "first stages": first_stages(made),
            "verdicts": verdicts(found),
            "findings": {f"f{i}": one for i, one in enumerate(found, start=1)},
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/slava-table"))
