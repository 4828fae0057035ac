"""Our own system on a generated world: against the paper's, without each of its parts, and with oracles.

`world-trichord` is trained on a validation world with one pair of encoders. It is set against the best of
the paper's eight systems, task by task, chosen on these same clips, which flatters them. *Parts*: the
system without each of them; a part earns its place where the mean over tasks falls without it. *Oracles*:
the law's own factors instead of the features of pictures, of sounds, or of both; what an oracle gains is
what the encoders cost, what it still lacks to the ceiling is what the clips, the text or the loss cost.
Numbers are R@10 on the validation split of world 91 with the first pair of encoders, mean over seeds;
intervals are over clips, those of differences paired. The system was made on this split; no test clip is
read.

    python studies/ours.py [FOLDER]
"""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cells import OURS, PAIRS, TASKS, VALIDATION_WORLDS, Cell, Hits
from command import trichord
from record import record
from verdicts import difference

import trichord as library
from trichord.config import (
    AudioFeatures,
    Clap,
    ClipText,
    EncoderConfig,
    Experiment,
    VisionFeatures,
)
from trichord.evaluation.report import RetrievalReport, read_report
from trichord.experiments import load_experiment
from trichord.experiments.slava import SYSTEMS

SEEDS = (0, 1, 2)
SEEN = ("thing", "colour", "size", "motion", "speed", "background")
HEARD = ("heard", "pitch", "tempo", "phrase", "voice")


def factors(world: Path, names: tuple[str, ...], lacks: str, file: Path) -> int:
    """Write a 1 for each clip's value of each factor, else 0; no steps for a clip that `lacks` the side.

    Returns:
        Numbers of a step.
    """
    scenes = [json.loads(line)["scene"] for line in (world / "truth.jsonl").open()]
    values = [(name, one) for name in names for one in sorted({str(s[name]) for s in scenes})]
    rows: dict[str, Any] = {}
    for scene in scenes:
        row = np.array([[str(scene[name]) == one for name, one in values]], np.float32)
        rows[scene["id"]] = row[:0] if scene[lacks] else row
    np.savez(file, **rows)
    return len(values)


def with_towers(experiment: Experiment, pair: int) -> Experiment:
    """The experiment with a pair of encoders of the worlds."""
    names = {f"stand-in-{one}": f"tag-{one}-{pair}" for one in ("clip", "clap")}
    return replace(experiment, model=experiment.model.renamed(names))


def oracles(cell: Cell, base: Experiment) -> dict[str, Experiment]:
    """The system with the law's factors in place of features."""
    world, seen, heard = (
        cell.clips.with_suffix(""),
        cell.folder / "seen.npz",
        cell.folder / "heard.npz",
    )
    text = base.model.text
    head: dict[str, Any] = {
        "dim": text.dim,
        "head_hidden": text.head_hidden,
        "head_dropout": text.head_dropout,
        "label": "factors",
    }
    vision: EncoderConfig = VisionFeatures(
        files=seen, width=factors(world, SEEN, "dark", seen), **head
    )
    audio: EncoderConfig = AudioFeatures(
        files=heard, width=factors(world, HEARD, "silent", heard), **head
    )
    changes: dict[str, dict[str, Any]] = {
        "of pictures": {"vision": vision},
        "of sounds": {"audio": audio},
        "of both": {"vision": vision, "audio": audio},
    }
    return {
        name: replace(base, model=replace(base.model, **change)) for name, change in changes.items()
    }


def parts(base: Experiment) -> dict[str, Experiment]:
    """The system without each of its parts."""
    model, (stage,) = base.model, base.stages
    assert isinstance(model.audio, Clap)
    text, audio = model.text, model.audio
    clip = ClipText(
        name=text.name, dim=text.dim, head_hidden=text.head_hidden, head_dropout=text.head_dropout
    )
    undropped = {
        "text": replace(text, head_dropout=0.0),
        "audio": replace(audio, head_dropout=0.0),
    }
    one = replace(stage, captions_per_clip=1, draws=(replace(stage.draws[0], weights=()),))
    kinds = load_experiment("world-slava-a-and-v").stages[0].draws
    return {
        "CLAP's text encoder": replace(base, model=replace(model, text=clip)),
        "CLAP's lower layers": replace(
            base, model=replace(model, audio=replace(audio, layers="last"))
        ),
        "CLIP's own head of pictures": replace(
            base,
            model=replace(
                model,
                vision=replace(
                    model.vision,
                    dim=text.dim,
                    head_hidden=text.head_hidden,
                    head_dropout=text.head_dropout,
                ),
            ),
        ),
        "CLAP's new head": replace(base, model=replace(model, audio=Clap(name=audio.name))),
        "dropout": replace(base, model=replace(model, **undropped)),
        "four captions a clip": replace(base, stages=(one,)),
        "composed captions, and all at once": replace(base, stages=(replace(one, draws=kinds),)),
    }


def rivals(cell: Cell) -> dict[str, Any]:
    """The best of the paper's eight systems by task, chosen on these same clips."""
    best: dict[str, Any] = {}
    for system in SYSTEMS:
        cell.train(system, SEEDS, "val")
        for task in TASKS:
            hits = Hits.of(cell.reports(system, "val"), task)
            if hits is not None and hits.mean > best.get(task, {"value": 0.0})["value"]:
                best[task] = {"value": round(hits.mean, 4), "system": system}
    best["mean"] = round(float(np.mean([best[task]["value"] for task in TASKS])), 4)
    return best


def hits_of(cell: Cell, name: str, experiment: Experiment) -> dict[str, Hits]:
    """Hits of one variant by task."""
    reports: list[RetrievalReport] = []
    for seed in SEEDS:
        run = cell.run("ours") / re.sub(r"\W+", "-", name) / f"seed-{seed}"
        if not (run / "evaluation-val.json").exists():
            library.fit(replace(experiment, seed=seed), cell.clips, run)
            trichord(f"evaluate {run} {cell.clips} --split val")
        reports.append(read_report(run / "evaluation-val.json", RetrievalReport))
    return {task: hits for task in TASKS if (hits := Hits.of(reports, task)) is not None}


def summary(found: Mapping[str, Hits]) -> dict[str, float]:
    """R@10 by task, and the mean of the tasks."""
    rows = {task: round(hits.mean, 4) for task, hits in found.items()}
    return rows | {"mean": round(float(np.mean(list(rows.values()))), 4)}


def against(found: Mapping[str, Hits], full: Mapping[str, Hits]) -> dict[str, float]:
    """The mean over tasks less that of the whole system.

    Its interval has the mean of the tasks' ends, as if all tasks failed on the same clips: reports number
    clips by task, so that they cannot be drawn for all tasks together. It is rather too wide than too
    narrow.
    """
    key = (VALIDATION_WORLDS[0], PAIRS[0])
    every = [difference({key: found[task]}, {key: full[task]}) for task in TASKS]
    ends = {"difference": [one.mean for one in every]}
    ends |= {"low": [one.low for one in every], "high": [one.high for one in every]}
    return {name: round(float(np.mean(values)), 4) for name, values in ends.items()}


def main(place: Path) -> None:
    """Measure all variants."""
    cell = Cell(place, VALIDATION_WORLDS[0], PAIRS[0])
    cell.prepare()
    cell.extract(OURS)
    base = with_towers(load_experiment(f"world-{OURS}"), cell.pair)
    full = hits_of(cell, "whole", base)
    ceiling = {row.name: row.ceiling["R@10"] for row in rival_report(cell).rows if row.ceiling}
    without = {name: hits_of(cell, f"no {name}", one) for name, one in parts(base).items()}
    record(
        "ours",
        {
            "protocol": " ".join((__doc__ or "").split()),
            "seeds": SEEDS,
            "best of eight, task by task": rivals(cell),
            "whole": summary(full),
            "ceiling": {task: round(ceiling[task], 4) for task in TASKS},
            "without": {
                name: {"R@10": summary(one), **against(one, full)} for name, one in without.items()
            },
            "oracles": {
                name: summary(hits_of(cell, f"oracle {name}", one))
                for name, one in oracles(cell, base).items()
            },
        },
    )


def rival_report(cell: Cell) -> RetrievalReport:
    """A report of the paper's system with all tasks, which has the ceiling."""
    cell.train("slava-a-and-v", SEEDS, "val")
    return cell.reports("slava-a-and-v", "val")[0]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/slava-table"))
