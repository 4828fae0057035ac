"""What a step of training costs: heads alone, low-rank adapters, whole trunks.

CLIP ViT-B/32 with random weights reads one frame of each of 16 clips on two threads, in float32, and learns
by InfoNCE against fixed random texts; one process a row. `seconds` is the median of 5 steps after a first
one, by the clock, and `processor` the processor time; `memory` is by how much the peak of the steps exceeds
resident memory before them; `trained` counts parameters that move; `stored` is the size of what a run keeps
of the trunk and head. A head is also measured on cached features, as `trichord train` trains it. Random
weights cost as much as trained ones. Needs Linux.

    python studies/trunk_training.py
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from record import record
from towers_memory import mebibytes

CLIPS, STEPS = 16, 5
EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""Freed tensors go back to the system, so that resident memory is that of living ones."""
ROWS: dict[str, dict[str, Any]] = {
    "head, cached features": {"cached": True},
    "head, frames read": {},
    "LoRA, rank 8": {"rank": 8},
    "LoRA, rank 8, all linear layers": {"rank": 8, "targets": ("all-linear",)},
    "whole trunk, AdamW": {"whole": True},
    "whole trunk, Muon": {"whole": True, "optimizer": "muon"},
    "whole trunk, Adafactor": {"whole": True, "optimizer": "adafactor"},
}


def stage_of(
    rank: int = 0, targets: tuple[str, ...] = (), optimizer: str = "adamw", **how: bool
) -> Any:
    from trichord.config import Draw, Lora, Stage
    from trichord.config.training import OPTIMIZERS

    trunk = how.get("whole") or rank
    return Stage(
        name="s",
        trains=("vision",),
        towers=("vision",) if trunk else (),
        lora=replace(Lora(), rank=rank, targets=targets) if rank else Lora(),
        draws=(Draw(captions=("visual",), terms=("vt",)),),
        criterion=(),
        optimizer=OPTIMIZERS.find(optimizer)(lr=1e-5),
    )


def measure(row: str, folder: Path) -> dict[str, float]:
    """One row, in a process that has done nothing else."""
    import torch

    from trichord.checkpoint.weights import owned_state
    from trichord.config import AudioFeatures, ClipVision, InfoNCE, TextFeatures, TriModal
    from trichord.losses.info_nce import info_nce
    from trichord.training.loop import choose_what_trains
    from trichord.training.optimizers import build_optimizer, set_rate
    from trichord.types.tensors import Padded

    torch.set_num_threads(2)
    torch.manual_seed(0)
    how = ROWS[row]
    stage = stage_of(**{name: value for name, value in how.items() if name != "cached"})
    towers = {
        "text": TextFeatures(),
        "audio": AudioFeatures(),
        "vision": ClipVision(name=str(folder)),
    }
    model = TriModal(**towers).build()
    objective = InfoNCE().build(("vt",))
    choose_what_trains(model, stage)
    optimizer = build_optimizer(stage, model, objective)
    texts = torch.nn.functional.normalize(torch.randn(CLIPS, model.vision.dim), dim=-1)
    frames = Padded(torch.randn(CLIPS, 1, 3, 224, 224), torch.ones(CLIPS, 1, dtype=torch.bool))
    model.train()
    with torch.no_grad():  # the weights, which are mapped files, are read before memory is measured
        features = model.vision.trunk_features(frames)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before, seconds, processor = mebibytes("VmRSS"), [], []
    for number in range(STEPS + 1):
        began, used = time.perf_counter(), time.process_time()
        set_rate(optimizer, stage.optimizer, number, STEPS + 1)
        steps = features if how.get("cached") else model.vision.trunk_features(frames)
        info_nce(model.vision(steps).pooled, texts, scale=objective.scale("vt")).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
    peak = mebibytes("VmHWM") - before
    stored = owned_state(model, None)
    return {
        "seconds": round(statistics.median(seconds[1:]), 4),
        "processor": round(statistics.median(processor[1:]), 4),
        "memory, MiB": round(peak),
        "trained, millions": round(
            sum(p.numel() for group in optimizer.param_groups for p in group["params"]) / 1e6, 3
        ),
        "stored, MB": round(
            sum(v.nbytes for name, v in stored.items() if ".vision." in f".{name}") / 1e6, 2
        ),
    }


def main() -> None:
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    with tempfile.TemporaryDirectory() as folder:
        CLIPModel(CLIPConfig()).save_pretrained(folder)
        CLIPImageProcessorPil().save_pretrained(folder)
        rows: dict[str, Any] = {}
        for row in ROWS:
            command = [sys.executable, __file__, row, folder]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | EXACT
            )
            rows[row] = json.loads(done.stdout)
    record("trunk_training", {"protocol": " ".join((__doc__ or "").split()), "rows": rows})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
    else:
        main()
