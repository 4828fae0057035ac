"""What it costs to build the models of several seeds on the same pretrained towers, read once or each time.

    python studies/weight_cache.py [--seeds 5] [--rounds 3]

CLIP ViT-B/32 and CLAP of the published sizes with random weights (1.2 GB) are written to a temporary
folder. A command such as `trichord train` or `trichord evaluate` builds SLAVA's model for each seed and
asks its towers for the fingerprints of their cached features; that alone is timed, in the ways in turn:
towers read again for each seed, and shared by all seeds. Processor seconds over all threads
and seconds by the clock, least of the rounds; files are in the page cache. Writes
studies/results/weight_cache.json.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from record import record
from transformers import ClapConfig, ClapModel, CLIPConfig, CLIPModel

from trichord.checkpoint import fresh_model
from trichord.config import Clap, Experiment
from trichord.encoders.weight_cache import shared_towers
from trichord.experiments import EXPERIMENTS
from trichord_world.small import SmallClap, SmallClip, build_clap, build_clip

TEXTS = ("a red ball bounces on the beach", "a low bell rings slowly")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        experiment, size = on_random_towers(Path(place))
        ways: dict[str, Callable[[], Any]] = {
            "read each time": nullcontext,
            "read once": shared_towers,
        }
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        prints: set[str] = set()
        for _ in range(asked.rounds):
            for way, holding in ways.items():
                begun, start = time.perf_counter(), time.process_time()
                with holding():
                    for seed in range(asked.seeds):
                        prints.add(prints_of(replace(experiment, seed=seed)))
                taken[way].append((time.process_time() - start, time.perf_counter() - begun))
    assert len(prints) == 1, "every way has the same weights"
    least = {way: [min(one[i] for one in times) for i in (0, 1)] for way, times in taken.items()}
    once, each = least["read once"], least["read each time"]
    record(
        "weight_cache",
        {
            "protocol": f"least of {asked.rounds} rounds, ways in turn; models and fingerprints alone",
            "seeds": asked.seeds,
            "MB of towers": round(size / 1e6),
            "processor seconds": {way: times[0] for way, times in least.items()},
            "seconds by the clock": {way: times[1] for way, times in least.items()},
            "read once / each time, processor": once[0] / each[0],
            "read once / each time, clock": once[1] / each[1],
        },
    )


def on_random_towers(place: Path) -> tuple[Experiment, int]:
    """SLAVA with towers of the published sizes, and how many bytes these have."""
    clip, clap = place / "clip", place / "clap"
    build_clip(SmallClip(side=224, patch=32), TEXTS, clip, seed=0)  # what goes with the weights
    build_clap(SmallClap(), TEXTS, clap, seed=0)
    CLIPModel(CLIPConfig()).save_pretrained(clip)
    ClapModel(ClapConfig()).save_pretrained(clap)
    experiment = EXPERIMENTS["slava-a-and-v"][1]
    names = {
        tower.name: str(clap if isinstance(tower, Clap) else clip)
        for tower in experiment.model.towers().values()
    }
    size = sum(file.stat().st_size for file in place.glob("*/*.safetensors"))
    return replace(experiment, model=experiment.model.renamed(names)), size


def prints_of(experiment: Experiment) -> str:
    """Fingerprints of a fresh model's towers."""
    return str([tower.fingerprint for tower in fresh_model(experiment).encoders().values()])


if __name__ == "__main__":
    main()
