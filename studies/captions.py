"""Captions written on the generated world, from both modalities and from each: Tables 3 and 4 of CLIP4VLA.

python studies/captions.py [FOLDER] [--quick]
"""

import json
from dataclasses import replace
from pathlib import Path

from clip4vla_world import Place, place_of
from command import trichord
from record import record

from trichord.cli.studies import run_study
from trichord_world.studies import FUSION

SYSTEM = "world-clip4vla-caption"
ON_BOTH = "--stages.0.draws.0.captions audio_visual composed"
WAYS = {
    "caption": ("", ""),
    "caption-vision": ("-vision", ""),
    "caption-audio": ("-audio", ""),
    "vision-on-both": ("-vision", ON_BOTH),
}
"""What it is called, with the rest of the experiment's name and its options."""


def retrieval(place: Place) -> Path:
    """The run whose audio tower is taken: global-to-global of the study of fusions, seed 0."""
    alone = replace(FUSION, rows=FUSION.rows[:1])
    options = replace(place.options(12, start=place.pretrained()), seeds=(0,))
    run_study(alone, place.captioned(), place.folder / "fusion", options)
    return place.folder / "fusion" / FUSION.rows[0].folder / "seed-0"


def measured(run: Path, clips: Path) -> dict[str, object]:
    """Scores of a run's captions, and what they say of sounds."""
    trichord(f"evaluate {run} {clips} --captions.kind audio_visual --to audio_visual.json")
    report = json.loads((run / "audio_visual.json").read_text())
    (scores,) = [row["estimates"] for row in report["rows"]]
    empty = sum(not caption["text"] for caption in report["captions"])
    return {
        "scores": scores,
        "clips without a caption": empty,
        "sounds": report["invention"],
        "protocol": report["protocol"],
    }


def main(place: Place) -> None:
    """Render, train, write and score."""
    start = retrieval(place)
    world, clips = place.folder / "captions", place.folder / "captions.jsonl"
    train, val, test = (place.count(one) for one in (1200, 120, 200))
    trichord(f"world {world} --seed 11 --train {train} --val {val} --test {test}")
    trichord(f"prepare avcaps {world} {clips}")
    trichord(f"extract {clips} --model {SYSTEM} --start {start}")
    few = f" --stages.0.epochs {place.epochs(40)}"
    runs = {}
    for name, (suffix, options) in WAYS.items():
        seeds = (0,) if options else place.seeds
        folder = place.folder / "captions-runs" / name
        trained = (
            f"{SYSTEM}{suffix} {clips} {folder} --start {start} --seeds {' '.join(map(str, seeds))}"
        )
        trichord(f"train {trained}{few} {options}")
        for seed in seeds:
            runs[f"{name}/seed-{seed}"] = measured(folder / f"seed-{seed}", clips)
    (protocol, *_) = [run.pop("protocol") for run in runs.values()]
    record(
        "captions",
        {
            "commands": [
                "trichord world world --seed 11 --train 1200 --val 120 --test 200",
                f"trichord train {SYSTEM}[-vision|-audio] clips.jsonl RUN --start RETRIEVAL --seeds 0 1 2",
                "trichord evaluate RUN clips.jsonl --captions.kind audio_visual",
            ],
            "RETRIEVAL": "world-clip4vla-retrieval-g2g, seed 0, 12 epochs, of the study of fusions",
            "vision-on-both": f"{SYSTEM}-vision taught by audio-visual and composed captions ({ON_BOTH})",
            "seeds": place.seeds,
            "runs": runs,
            "protocol": protocol,
        },
    )


if __name__ == "__main__":
    main(place_of(__doc__))
