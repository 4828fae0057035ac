"""Gradients of a large mini-batch, some clips at a time, beside the whole mini-batch at once.

A small CLIP in the proportions of ViT-B/32 (49 patches of 32 pixels and a class token, width 192, six
layers; texts of 16 tokens, width 192, two layers), random weights, random input that lies in memory
before the clock runs. Both ways take the gradient of the same mini-batch of one text and one frame
a clip: `plain` at once, `cached` CHUNK clips at a time (Gao et al., 2021).

Time: processor seconds of a step at BATCH clips on one thread, the ways in turns, the median of ROUNDS.
The bound: a step is a forward and a backward of twice its work, the cached one a forward more, so 4/3.
Memory: each way and size in a process of its own; the peak of what is resident during one step above
what was resident before it, so that input and weights do not count, gradients do.
Gradients: the largest difference of any value, and the length of the difference beside the gradient's.

    python studies/cached_gradients.py
"""

import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from record import record

from trichord.config import ClipAudio, ClipText, ClipVision, Draw, InfoNCE, Stage, TriModal
from trichord.features.source import Captions, Source
from trichord.models.embedder import Toward
from trichord.training.learner import Learner
from trichord.training.loop import choose_what_trains
from trichord.training.sampler import Sample
from trichord.training.steps import backward, cached_step, data_parallel, read_batch
from trichord.types import Clip, Modality
from trichord.types.tensors import Batch, Padded
from trichord_world.small import SmallClip, build_clip

BATCH, CHUNK, ROUNDS, TOKENS = 64, 16, 7, 16
SIZES = (64, 128, 256)


def plain(learner: Learner, stage: Stage) -> Callable[..., Any]:
    """Steps that take all clips at once."""
    module = data_parallel(learner)

    def step(source: Source, sample: Sample) -> Any:
        loss = module(*read_batch(learner, source, sample))
        backward(learner, loss)
        return loss

    return step


def cached(learner: Learner, stage: Stage) -> Callable[..., Any]:
    """Steps that take some clips at a time."""
    return partial(cached_step, learner, stage)


WAYS = {"plain": plain, "cached": cached}
TOWER = SmallClip(
    side=224, patch=32, width=192, inner=768, layers=6, text_inner=768, text_layers=2, dim=128
)


class Drawn:
    """Random clips, of which mini-batches are views."""

    read: tuple[Modality, ...] = ()

    def __init__(self, count: int, vocabulary: int) -> None:
        random = torch.Generator().manual_seed(0)
        self.clips: Sequence[Clip] = [Clip(id=str(i), path="/") for i in range(count)]
        self.captions = Captions.of(self.clips)
        self._frames = torch.randn(count, 1, 3, TOWER.side, TOWER.side, generator=random)
        self._ids = torch.randint(2, vocabulary, (count, 1, TOKENS), generator=random)
        self._there = torch.ones(count, 1, dtype=torch.bool)

    def batch(
        self,
        clips: Int[np.ndarray, " row"],
        captions: Int[np.ndarray, " row"] | None,
        masking: int | None = None,
    ) -> Batch:
        """Neighbouring clips."""
        rows = slice(int(clips[0]), int(clips[-1]) + 1)
        return Batch(
            ids=tuple(str(i) for i in clips),
            text=Padded(self._ids[rows], self._there[rows]),
            vision=Padded(self._frames[rows], self._there[rows]),
        )

    def texts(self, captions: Int[np.ndarray, " row"], toward: Toward) -> Padded:
        """The tokens of these captions, whichever the tower."""
        rows = torch.from_numpy(captions)
        return Padded(self._ids[rows], self._there[rows])


def stood_up(folder: Path, clips: int) -> tuple[Learner, Stage, Drawn, Sample]:
    """Towers that train, and one mini-batch."""
    stage = Stage(
        name="s",
        trains=("text", "vision"),
        towers=("text", "vision"),
        draws=(Draw(terms=("vt",)),),
        criterion=(),
        batch_size=clips,
        chunk=CHUNK,
    )
    torch.set_num_threads(1)
    torch.manual_seed(0)
    name = str(folder)
    model = TriModal(
        text=ClipText(name=name), vision=ClipVision(name=name), audio=ClipAudio(name=name)
    ).build()
    choose_what_trains(model, stage)
    learner = Learner(model, InfoNCE().build(("vt",)), stage).train()
    rows = torch.ones(clips, dtype=torch.bool)
    sample = Sample(np.arange(clips), None, {"vt": rows}, {"vt": 1.0}, place=(0, 0, 1, 0))
    return learner, stage, Drawn(clips, len(model.text.tokenizer)), sample


def gradients(learner: Learner) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in learner.parameters() if p.grad is not None])


def times(folder: Path) -> dict[str, object]:
    """Processor seconds of a step, and how far the gradients are apart."""
    learner, stage, source, sample = stood_up(folder, BATCH)
    steps = {name: way(learner, stage) for name, way in WAYS.items()}
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    found: dict[str, torch.Tensor] = {}
    for number in range(ROUNDS + 1):
        for name, step in steps.items():
            begun = time.process_time()
            step(source, sample)
            if number:  # the first is for warming up
                taken[name].append(time.process_time() - begun)
            found[name] = gradients(learner)
            learner.zero_grad(set_to_none=True)
    median = {name: statistics.median(each) for name, each in taken.items()}
    apart = found["plain"] - found["cached"]
    return {
        "processor seconds of a step": {name: round(each, 3) for name, each in median.items()},
        "ratio of time": round(median["cached"] / median["plain"], 3),
        "bound of the ratio": round(4 / 3, 3),
        "largest difference of a gradient": float(apart.abs().max()),
        "length of the difference": float(apart.norm() / found["plain"].norm()),
    }


def megabytes(folder: Path, way: str, clips: int) -> float:
    """Peak of a step above what was resident before; in a process that has done nothing else."""
    learner, stage, source, sample = stood_up(folder, clips)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    WAYS[way](learner, stage)(source, sample)
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 1e6, 1)


def main() -> None:
    spawned = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        build_clip(TOWER, ("a dog barks", "a bell rings"), folder, seed=0).save_pretrained(folder)
        memory: dict[str, dict[str, float]] = {}
        for way in WAYS:
            for clips in SIZES:
                with spawned.Pool(1) as alone:
                    peak = alone.apply(megabytes, (folder, way, clips))
                memory.setdefault(way, {})[f"{clips} clips"] = peak
        result = {
            "protocol": __doc__,
            "clips": BATCH,
            "clips at once": CHUNK,
            **times(folder),
            "megabytes of a step": memory,
        }
    record("cached_gradients", json.loads(json.dumps(result)))


if __name__ == "__main__":
    main()
