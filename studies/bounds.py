"""What bounds a system on a generated world: its encoders, or what 800 clips can teach its heads.

Our system (`world-trichord`) is trained on a validation world as it is, and with an oracle: the law's own
factors instead of the features of pictures, of sounds, or of both. The captions' text stays what its two
encoders read. What the oracle gains is what the encoders cost; what it still lacks to the ceiling is what
the clips, the text or the loss cost. Numbers are R@10 on the validation split of world 91 with the first
pair of encoders, mean over seeds; the interval is over clips. No test clip is read.

    python studies/bounds.py [FOLDER]
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cells import OURS, PAIRS, TASKS, VALIDATION_WORLDS, Cell, Hits
from command import trichord
from record import record

import trichord as library
from trichord.config import AudioFeatures, EncoderConfig, Experiment, VisionFeatures
from trichord.evaluation.bootstrap import estimates
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


def variants(cell: Cell) -> dict[str, Experiment]:
    """The system as it is, and with oracles."""
    world = cell.clips.with_suffix("")
    base = with_towers(load_experiment(f"world-{OURS}"), cell.pair)
    head: dict[str, Any] = {
        "dim": base.model.text.dim,
        "hidden": base.model.text.hidden,
        "head_dropout": base.model.text.head_dropout,
    }
    seen, heard = cell.folder / "seen.npz", cell.folder / "heard.npz"
    vision: EncoderConfig = VisionFeatures(
        label="factors", files=seen, width=factors(world, SEEN, "dark", seen), **head
    )
    audio: EncoderConfig = AudioFeatures(
        label="factors", files=heard, width=factors(world, HEARD, "silent", heard), **head
    )
    changes: dict[str, dict[str, Any]] = {
        "as it is": {},
        "oracle of pictures": {"vision": vision},
        "oracle of sounds": {"audio": audio},
        "oracle of both": {"vision": vision, "audio": audio},
    }
    return {
        name: replace(base, model=replace(base.model, **change)) for name, change in changes.items()
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


def measured(cell: Cell, name: str, experiment: Experiment) -> dict[str, Any]:
    """R@10 by task of one variant, with its interval over clips."""
    reports = []
    for seed in SEEDS:
        run = cell.run("bounds") / name.replace(" ", "-") / f"seed-{seed}"
        if not (run / "evaluation-val.json").exists():
            library.fit(replace(experiment, seed=seed), cell.clips, run)
            trichord(f"evaluate {run} {cell.clips} --split val")
        reports.append(read_report(run / "evaluation-val.json", RetrievalReport))
    rows: dict[str, Any] = {}
    for task in TASKS:
        hits = Hits.of(reports, task)
        assert hits is not None
        [found] = estimates(hits.hits.mean(0)[:, None], hits.clip)
        rows[task] = {name: round(getattr(found, name), 4) for name in ("value", "low", "high")}
    rows["mean"] = round(float(np.mean([rows[task]["value"] for task in TASKS])), 4)
    ceiling = {row.name: row.ceiling["R@10"] for row in reports[0].rows if row.ceiling}
    return {"R@10": rows, "ceiling": {task: round(ceiling[task], 4) for task in TASKS}}


def main(place: Path) -> None:
    """Measure all variants."""
    cell = Cell(place, VALIDATION_WORLDS[0], PAIRS[0])
    cell.prepare()
    cell.extract(OURS)
    found = variants(cell)
    record(
        "bounds",
        {
            "protocol": " ".join((__doc__ or "").split()),
            "seeds": SEEDS,
            "best of eight, task by task": rivals(cell),
            "variants": {name: measured(cell, name, one) for name, one in found.items()},
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/slava-table"))
