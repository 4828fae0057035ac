"""A training step at full size: ViT-B/32 towers with random weights, the model of the logged run.

Counts parameters beside the published ones and measures what one step of two clips (12 frames and 16
sound segments each, everything training) needs of memory. For a GPU there is `gpu.py`.

    python studies/step.py [FOLDER]
"""

import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from gpu_models import BASE, write_clip
from record import record
from torch import nn

from trichord.config import BertAdam, ClipAudio, Cross, Experiment
from trichord.experiments.clip4vla import as_published, retrieval
from trichord.models.embedder import Embedder
from trichord.training.learner import autocast
from trichord.training.loop import choose_what_trains
from trichord.training.optimizers import build_optimizer, set_rate
from trichord.types.tensors import Batch, Padded

PUBLISHED = {"audio tower": 87_851_520, "model of the logged run": 256_466_178}
VOCABULARY = 49_411


def folder_of_random_towers(place: Path) -> Path:
    """A `transformers` folder of CLIP ViT-B/32 with the published vocabulary and random weights."""
    return write_clip(replace(BASE, vocabulary=VOCABULARY), place / "vit-b-32")


def named(experiment: Experiment, towers: Path) -> Experiment:
    """The experiment with these towers."""
    model = experiment.model
    name = str(towers)
    assert isinstance(model.audio, ClipAudio)
    return replace(
        experiment,
        model=replace(
            model,
            text=replace(model.text, name=name),
            vision=replace(model.vision, name=name),
            audio=replace(model.audio, name=name),
        ),
    )


def parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def clips(count: int, frames: int, segments: int, device: str) -> Batch:
    """Random pictures and sounds, texts of 32 tokens."""
    ids = torch.randint(2, VOCABULARY, (count, 1, 32))
    ids[:, :, -1] = 1
    there = torch.ones(count, 1, dtype=torch.bool)
    return Batch(
        ids=tuple(map(str, range(count))),
        text=Padded(ids, there),
        audio=Padded(torch.randn(count, segments, 1, 224, 224), there.expand(-1, segments)),
        vision=Padded(torch.randn(count, frames, 3, 224, 224), there.expand(-1, frames)),
        masked=Padded(torch.randn(count, segments, 1, 224, 224), there.expand(-1, segments)),
        audio_type=torch.rand(count),
    ).to(device)


def step(experiment: Experiment, model: Embedder, batch: Batch) -> float:
    """Take one step of the experiment's stage; the loss."""
    stage = experiment.stages[0]
    objective = experiment.objective.build(experiment.terms).to(model.device)
    choose_what_trains(model, stage)
    optimizer = build_optimizer(stage, model.train(), objective)
    if "aa" not in experiment.terms:
        batch = replace(batch, masked=None)
    rows = torch.ones(len(batch.ids), dtype=torch.bool)
    with autocast(stage, model.device):
        embeddings = model(batch)
    loss = sum(objective(embeddings, dict.fromkeys(experiment.terms, rows)).values())
    set_rate(optimizer, stage.optimizer, 0, 100)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def main() -> None:
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "step")
    towers = folder_of_random_towers(place)
    logged = as_published(retrieval("logged", Cross(form="bert")))
    logged = named(logged, towers)
    assert isinstance(logged.stages[0].optimizer, BertAdam)
    model = logged.model.build()
    objective = logged.objective.build(logged.terms)
    counted = {
        "audio tower": parameters(model.audio),
        "model of the logged run": parameters(model, objective),
    }
    begun = time.monotonic()
    loss = step(logged, model, clips(2, 12, 16, "cpu"))
    result = {
        "parameters": counted,
        "published": PUBLISHED,
        "step of two clips": {
            "loss": round(loss, 4),
            "seconds, one step on a CPU, loaded machine": round(time.monotonic() - begun, 1),
            "peak resident GiB": round(
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, 2
            ),
        },
    }
    record("step", result)


if __name__ == "__main__":
    main()
