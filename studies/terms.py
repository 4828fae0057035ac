"""Whether each newer loss learns on the demo's world: better than its start, and finite, with three seeds.

`make demo` makes the folder. SLAVA's composed experiment (`world-slava-av`) trains its heads for ten epochs
with each loss or setting. `before` and `best` are the mean R@10 of the seven tasks on the 100 validation
clips, before training and at the best epoch; `loss` is the mean of the first and of the last epoch. No test
clip is used, and nothing here says which loss is better: settings are not tuned.

    python studies/terms.py DEMO
"""

import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from record import record

SEEDS, EPOCHS = (0, 1, 2), 10
PAIRS = ("av", "at", "vt")
LOSSES: dict[str, dict[str, Any]] = {
    "info_nce": {"terms": PAIRS},
    "sigmoid": {"terms": ("av-sigmoid", "at-sigmoid", "vt-sigmoid")},
    "volume, with at and vt": {"terms": ("tva-volume", "at", "vt")},
    "area, with at and vt": {"terms": ("tva-area", "at", "vt")},
    "matryoshka 64 and 32": {"terms": PAIRS, "objective": {"matryoshka": (64, 32)}},
    "three captions a clip": {"terms": PAIRS, "stage": {"captions_per_clip": 3}},
    "four hard negatives": {"terms": PAIRS, "stage": {"negatives": 4}},
    "distillation of similarities": {
        "terms": ("av-distil", "at-distil", "vt-distil"),
        "taught": True,
    },
    "distillation of vectors": {"terms": ("a-distil", "v-distil", "t-distil"), "taught": True},
}


def experiment_of(demo: Path, seed: int, how: dict[str, Any]) -> Any:
    from trichord.experiments import load_experiment

    known = load_experiment("world-slava-av")
    (stage,) = known.stages
    (draw,) = stage.draws
    stage = replace(
        stage,
        draws=(replace(draw, terms=how["terms"], weights=()),),
        epochs=EPOCHS,
        patience=EPOCHS,
        **how.get("stage", {}),
    )
    return replace(
        known,
        stages=(stage,),
        objective=replace(known.objective, **how.get("objective", {})),
        teacher=demo / "runs/slava-a-and-v/seed-0" if how.get("taught") else None,
        seed=seed,
    )


def learnt(demo: Path, seed: int, how: dict[str, Any]) -> dict[str, Any]:
    import trichord
    from trichord.checkpoint import Run

    with tempfile.TemporaryDirectory() as folder:
        place = trichord.fit(
            experiment_of(demo, seed, how), demo / "clips.jsonl", Path(folder) / "run"
        )
        epochs = Run(Path(place)).metrics()
    losses = [one["loss"] for one in epochs[1:]]
    criteria = [one["criterion"] for one in epochs]
    return {
        "before": round(criteria[0], 4),
        "best": round(max(criteria[1:]), 4),
        "loss": [round(losses[0], 4), round(losses[-1], 4)],
        "finite": all(map(math.isfinite, [*losses, *criteria])),
        "skipped steps": sum(one["skipped"] for one in epochs),
    }


def main(demo: Path) -> None:
    rows = {name: [learnt(demo, seed, how) for seed in SEEDS] for name, how in LOSSES.items()}
    every = [one for seeds in rows.values() for one in seeds]
    record(
        "terms",
        {
            "protocol": " ".join((__doc__ or "").split()),
            "seeds": SEEDS,
            "epochs": EPOCHS,
            "losses": rows,
            "better than before": sum(one["best"] > one["before"] for one in every),
            "of": len(every),
        },
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python studies/terms.py DEMO    (the folder that 'make demo' made)")
    main(Path(sys.argv[1]))
