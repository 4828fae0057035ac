"""Training on 40 clips with 10 to validate on: is an epoch chosen that has learnt something?

    python studies/small_validation.py [FOLDER]

Renders a world like the demo's, shuffles its training and validation clips into five draws that share no
clip, and trains SLAVA_A&V on each with the demo's rates. Ten candidates say nothing by R@10, which is 1
before any training; epochs are chosen by the mean reciprocal rank. What the kept epoch is worth is
measured on 30 test clips, the same for all draws: the mean R@10 of the seven tasks, before and after.
Takes about two minutes on two cores. Writes studies/results/small-validation.json.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from command import trichord
from record import record

from trichord.checkpoint import Run, fresh_model
from trichord.corpora.manifest import read_manifest, select, write_manifest
from trichord.evaluation.retrieval import recalls_at
from trichord.evaluation.vectors import embed_source
from trichord.experiments.slava import ALL_TASKS
from trichord.features.source import FeatureSource
from trichord.features.store import FeatureFolder
from trichord.models.embedder import Embedder
from trichord.training.criteria import selected_epoch
from trichord.types import Clip

SYSTEM = "world-slava-a-and-v"
DRAWS, TRAIN, VAL, TEST = 5, 40, 10, 30
WORLD_SEED, DRAW_SEED, TRAINING_SEED = 0, 0, 0


def drawn(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Clips of each draw: so many to learn from, so many to validate on, none in two draws."""
    random = np.random.default_rng(DRAW_SEED)
    pools = [random.permutation(np.array(select(clips, split))) for split in ("train", "val")]
    return [
        [*pools[0][i * TRAIN : (i + 1) * TRAIN], *pools[1][i * VAL : (i + 1) * VAL]]
        for i in range(DRAWS)
    ]


def worth(model: Embedder, clips: Sequence[Clip], features: Path) -> float:
    """The mean R@10 of the seven tasks."""
    source = FeatureSource(clips, model, FeatureFolder(features))
    reached = recalls_at(10, embed_source(model, source), ALL_TASKS)
    assert set(reached) == set(ALL_TASKS)
    return mean(reached.values())


def train(number: int, clips: list[Clip], test: Sequence[Clip], place: Path) -> dict[str, Any]:
    """One draw: trained, and measured before and after."""
    manifest, features, path = (
        place / f"{number}.jsonl",
        place / "clips.features",
        place / f"{number}",
    )
    write_manifest(manifest, clips)
    trichord(f"train {SYSTEM} {manifest} {path} --features {features} --seed {TRAINING_SEED}")
    run = Run(path)
    epochs = run.metrics()
    kept = selected_epoch([one["criterion"] for one in epochs])
    candidates = epochs[0]["candidates"].values()
    return {
        "measure": epochs[0]["measure"],
        "candidates": [min(candidates), max(candidates)],
        "kept epoch": kept,
        "criterion before": epochs[0]["criterion"],
        "criterion after": epochs[kept]["criterion"],
        "R@10 before": worth(fresh_model(run.experiment()), test, features),
        "R@10 after": worth(run.load(), test, features),
    }


def main(place: Path) -> None:
    """Render, read, draw, train and measure."""
    counts = f"--train {DRAWS * TRAIN} --val {DRAWS * VAL} --test {TEST} --seed {WORLD_SEED}"
    trichord(f"world {place / 'world'} {counts}")
    trichord(f"prepare avcaps {place / 'world'} {place / 'clips.jsonl'}")
    trichord(f"extract {place / 'clips.jsonl'} --model {SYSTEM}")
    clips = read_manifest(place / "clips.jsonl")
    test = select(clips, "test")
    draws = {f"{i}": train(i, held, test, place) for i, held in enumerate(drawn(clips))}
    before, after = (
        mean(one[f"R@10 {when}"] for one in draws.values()) for when in ("before", "after")
    )
    record(
        "small-validation",
        {
            "protocol": f"{SYSTEM}; {DRAWS} draws of {TRAIN} training and {VAL} validation clips, no clip "
            f"in two of them; mean R@10 of the seven tasks on {TEST} test clips, ties pessimistic",
            "seeds": {"world": WORLD_SEED, "draws": DRAW_SEED, "training": TRAINING_SEED},
            "draws": draws,
            "R@10 before": before,
            "R@10 after": after,
        },
    )
    assert after >= 0.7, "an epoch that has learnt something is kept"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
