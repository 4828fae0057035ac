"""Components of CLIP4VLA's pretraining on the generated world: Table 5, and what is behind its first rows.

Table 5 with 300 captioned clips; with a fifth of them, on short and long schedules; and rows that begin
with weights between those of the vision tower and new ones.

    python studies/components.py [FOLDER] [--quick]
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from clip4vla_world import PRETRAINING, WORLDS, Place, place_of, recalls, validation
from record import record

from trichord.checkpoint import Run, fresh_model
from trichord.checkpoint.run import Progress
from trichord.cli.studies import run_study
from trichord.config import AdamW, ClipAudio, Experiment
from trichord.corpora.manifest import read_manifest, write_manifest
from trichord.experiments import Study
from trichord.experiments.studies import Row
from trichord.types import CaptionKind
from trichord_world.studies import COMPONENTS

CAPTIONS: tuple[CaptionKind, ...] = ("audio", "audio_visual")
STUDY = COMPONENTS.on(CAPTIONS)
SCRATCH, INITIAL, *_ = STUDY.rows
WITH_60 = "with 60 captioned clips"
ALL, BLOCKS = "", r"^layers\."
"""Patterns of the names of a trunk's parameters."""
PARTS = {
    "positions": "positions",
    "positions and patches": "positions|patches",
    "positions, patches and attention": "positions|patches|self_attn",
    "all but the blocks": r"^(?!layers\.)",
    "the blocks": BLOCKS,
    "first block": r"^layers\.layers\.0\.",
    "first block's attention": r"^layers\.layers\.0\.self_attn",
    "everything (scratch)": ALL,
}
"""What of the audio trunk is drawn anew, the rest being the vision tower's."""


def few_clips(place: Place, manifest: Path) -> Path:
    """The manifest with every fifth of its training clips, the other splits whole."""
    clips = read_manifest(manifest)
    trained = [clip for clip in clips if clip.split == "train"][::5]
    few = place.folder / "clips60.jsonl"
    write_manifest(few, [*trained, *(clip for clip in clips if clip.split != "train")])
    return few


def from_pretrained(row: Row, place: Place) -> Row:
    """A row that starts from the runs that Table 5's own rows have pretrained."""
    assert row.experiment is not None
    if row.pretraining is None:
        return row
    start = place.folder / "components" / row.folder / "pretraining"
    return replace(row, pretraining=None, experiment=replace(row.experiment, start=start))


def scheduled(row: Row, epochs: int, warmup: int, lr: float) -> Row:
    """A row in mini-batches of 16; 60 clips are three steps an epoch, the last incomplete one dropped."""
    assert row.experiment is not None
    (stage,) = row.experiment.stages
    assert isinstance(stage.optimizer, AdamW)
    optimizer = replace(stage.optimizer, lr=lr, warmup_steps=warmup)
    stage = replace(stage, batch_size=16, epochs=epochs, patience=1000, optimizer=optimizer)
    return replace(row, experiment=replace(row.experiment, stages=(stage,)))


def at_nonverbal(row: Row) -> Row:
    """A row fine-tuned and measured at the nonverbal token."""
    experiment = row.experiment
    assert experiment is not None
    audio = experiment.model.audio
    assert isinstance(audio, ClipAudio)
    model = replace(experiment.model, audio=replace(audio, token=1.0))
    return replace(
        row,
        name=f"{row.name}, fine-tuned and measured at nonverbal",
        experiment=replace(experiment, system=f"{experiment.system} at nonverbal", model=model),
    )


def partly_new(name: str, pattern: str, kept: float, place: Place) -> Row:
    """The second row, begun with parameters of which only a share is the vision tower's.

    Args:
        name: Of the row.
        pattern: Which parameters of the audio trunk.
        kept: Their share that is the vision tower's; the rest is a new draw.
        place: Where the starts are written, a seed each.
    """
    assert INITIAL.experiment is not None
    assert SCRATCH.experiment is not None
    row = replace(INITIAL, name=name)
    folder = place.folder / "partly-new" / row.folder
    for seed in place.seeds:
        run = Run(folder / f"seed-{seed}")
        if not run.complete:
            initial = replace(INITIAL.experiment, stages=(), seed=seed)
            scratch = replace(SCRATCH.experiment, stages=(), seed=seed)
            write_mixed(run, initial, scratch, pattern, kept)
    experiment = replace(INITIAL.experiment, system=f"retrieval {name}", start=folder)
    return replace(row, experiment=experiment)


@torch.no_grad()
def write_mixed(
    run: Run, initial: Experiment, scratch: Experiment, pattern: str, kept: float
) -> None:
    """Write a run whose audio trunk lies between those of two experiments."""
    model, other = fresh_model(initial), fresh_model(scratch)
    model.audio.own_trunk()
    new = dict(other.audio.trunk.named_parameters())
    for name, weight in model.audio.trunk.named_parameters():
        if re.search(pattern, name):
            weight.copy_(kept * weight + (1 - kept) * new[name])
    run.start(initial, f"{kept:g} of {pattern or 'everything'}")
    run.finish(model, initial.objective.build(), Progress())


def table(
    name: str, rows: Sequence[Row], few: Path, place: Place, seeds: tuple[int, ...] | None = None
) -> dict[str, dict[str, object]]:
    """Rows trained on few clips: recalls, and the criterion on the validation split."""
    study = Study(name=name, title=f"Components, {name}", rows=tuple(rows))
    options = replace(place.options(1000), epochs=1 if place.quick else None)
    if seeds is not None:
        options = replace(options, seeds=seeds)
    folder = place.folder / "few" / name
    found = recalls(run_study(study, few, folder, options))
    criteria = validation(study, folder, options.seeds)
    criterion = "validation, mean R@10 of both tasks"
    return {row: {**values, criterion: criteria[row]} for row, values in found.items()}


def schedules(few: Path, place: Place) -> dict[str, object]:
    """Short and long schedules on 60 clips, and rows that begin with other weights."""
    rows = [from_pretrained(row, place) for row in STUDY.rows]
    blocks = partly_new("+ initial, its blocks drawn anew", BLOCKS, 0.0, place)
    shrunk = {
        kept: partly_new(f"+ initial, {kept:g} of it and {1 - kept:g} drawn anew", ALL, kept, place)
        for kept in (0.4, 0.7)
    }
    nonverbal = at_nonverbal(rows[-1])
    short = [scheduled(r, 12, 6, 1e-3) for r in (*rows, nonverbal, blocks, *shrunk.values())]
    slow = [scheduled(r, 12, 6, 3e-4) for r in (*rows, nonverbal)]
    long = [scheduled(r, 48, 20, 1e-3) for r in (*rows, blocks, shrunk[0.4])]
    parts = [partly_new(what, pattern, 0.0, place) for what, pattern in PARTS.items()]
    nothing = replace(INITIAL, name="nothing")
    anew = table("parts", [scheduled(r, 48, 20, 1e-3) for r in (nothing, *parts)], few, place, (0,))
    return {
        "made by": "the same clips and pretrained runs; mini-batches of 16, rate 0.001; 6 of 36 and 20 of "
        "144 steps are warm-up; the epoch of the best validation",
        "recall by length, row, task, k and seed": {
            "36 steps": table("36-steps", short, few, place),
            "144 steps": table("144-steps", long, few, place),
        },
        "36 steps at a rate of 0.0003": table("36-steps-slow", slow, few, place),
        "parts drawn anew, 144 steps, seed 0, validation": {
            row: values["validation, mean R@10 of both tasks"][0]  # type: ignore[index]
            for row, values in anew.items()
        },
    }


def main(place: Place) -> None:
    """Train, measure, and write the result."""
    manifest, pretraining = place.captioned(), place.pretraining(PRETRAINING)
    whole = run_study(
        STUDY, manifest, place.folder / "components", place.options(16, pretraining=pretraining)
    )
    few = few_clips(place, manifest)
    rows = tuple(from_pretrained(row, place) for row in STUDY.rows)
    study = Study(name="16-steps", title="Components, 16 steps", rows=rows)
    short = run_study(study, few, place.folder / "few" / "16-steps", place.options(16))
    record(
        "components",
        {
            "command": "trichord study world-components clips.jsonl DIR --pretraining pretraining.jsonl "
            f"--epochs 16 --captions {' '.join(CAPTIONS)}",
            "worlds": WORLDS.format(count=PRETRAINING),
            "seeds": place.seeds,
            "protocol": whole.protocol,
            "recall by row, task, k and seed": recalls(whole),
            WITH_60: {
                "made by": "every fifth of the 300 training clips, the other splits whole; each row "
                "fine-tuned for at most 16 epochs from the pretrained runs of the table above; a "
                "mini-batch of 32 is then one step an epoch, so all "
                "of these 16 steps lie within the 20 of warm-up",
                "recall by row, task, k and seed": recalls(short),
            },
            f"{WITH_60}, a schedule for each length": schedules(few, place),
        },
    )


if __name__ == "__main__":
    main(place_of(__doc__))
