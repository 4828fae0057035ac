"""Speed of one GPU, for the GPU kit (`gpu.py`): towers, training, large losses, captions, extraction.

Each part yields names and figures, one measurement after another, so that what was measured before a stop
is kept. Times are medians of rounds after a warm-up, between CUDA events; on a CPU by the clock. Shares are
of the rate of the largest product of matrices that was measured, not of the data sheet's.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from gpu_correctness import Step
from gpu_models import BASE, LARGE, SMALL, Shape, captioned, clips, features, moved, pretrained
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from trichord.losses.info_nce import info_nce
from trichord.media.decoded import Decoded
from trichord.models.beams import Decoding
from trichord.models.decoding import write
from trichord.training.optimizers import build_optimizer, set_rate
from trichord.types import first_line

Figures = dict[str, object]
CLIPS = 2 * 2_084_320
"""Of an epoch: the authors' loader takes as many narrated clips as AudioSet has clips. The paper does not
say how many of AudioSet's 2,084,320 published ones were left."""
EPOCHS = 24
V100_DAYS = 48
"""Of the pretraining, by the paper's Table 6."""
SECONDS = 10.0
"""Of a clip's sound."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large everything is."""

    shapes: tuple[Shape, ...] = (BASE, LARGE)
    matrix: tuple[int, ...] = (4096, 8192, 16_384)
    batch: int = 256
    largest: int = 4096
    """Where the search for the largest batch ends."""
    rows: tuple[int, ...] = (32_768, 131_072)
    tile: tuple[int, ...] = (2048, 8192)
    captions: int = 256
    media: int = 64
    rounds: int = 5
    compiles: bool = True
    """Compiling takes minutes on a CPU: `--tiny` leaves it out."""


FULL = Scale()
TINY = Scale(
    shapes=(SMALL,),
    matrix=(128,),
    batch=4,
    largest=8,
    rows=(256,),
    tile=(64,),
    captions=4,
    media=2,
    rounds=1,
    compiles=False,
)


def seconds(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Median time of some work, after two warm-ups."""
    for _ in range(2):
        work()
    taken: list[float] = []
    for _ in range(rounds):
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            torch.cuda.synchronize()
            taken.append(start.elapsed_time(end) / 1000)
        else:
            began = time.perf_counter()
            work()
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def free(device: torch.device) -> None:
    """Give memory back, and count its peak anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device: torch.device) -> float | None:
    """GB at their highest since `free`; None on a CPU."""
    return torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None


def operations(work: Callable[[], object]) -> int:
    """Floating-point operations of some work's products, two a multiply-add."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def matrix_peak(device: torch.device, scale: Scale) -> Iterator[tuple[str, Figures]]:
    """Square products in bfloat16, float32 and TF32: the peak that shares are of."""
    for name, dtype, fast in (
        ("bfloat16", torch.bfloat16, False),
        ("float32", torch.float32, False),
        ("TF32", torch.float32, True),
    ):
        torch.set_float32_matmul_precision("high" if fast else "highest")
        rates: dict[str, float] = {}
        for size in scale.matrix:
            left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
            taken = seconds(lambda a=left, b=right: a @ b, device, scale.rounds)
            rates[str(size)] = 2 * size**3 / taken / 1e12
        torch.set_float32_matmul_precision("highest")
        yield name, {"TFLOP/s by size": rates, "peak": max(rates.values())}
        free(device)


def share(work: float, peak: float | None) -> float | None:
    """Operations a second as a share of the peak in TFLOP/s; None if it was not measured."""
    return work / 1e12 / peak if peak else None


def towers(
    device: torch.device, scale: Scale, place: Path, peak: float | None
) -> Iterator[tuple[str, Figures]]:
    """Forward of the vision tower in bfloat16: images a second, as it comes and compiled."""
    for shape in scale.shapes:
        tower = pretrained(shape, place)[1].vision.to(device)
        each = operations(partial(forward, tower.trunk, pictures(shape, 2, device))) / 2
        measure = partial(tower_figures, tower.trunk, shape, device, scale.rounds)
        for size, figures in until_largest(measure, scale):
            yield f"{shape.name}, batch {size}", with_share(figures, each, peak)
        if scale.compiles:
            tower.compile_trunk()
            figures = without_failure(measure, scale.batch)
            yield f"{shape.name}, batch {scale.batch}, compiled", with_share(figures, each, peak)
        del tower, measure
        free(device)


def with_share(figures: Figures, each: float, peak: float | None) -> Figures:
    """Figures of a tower with the operations of an image and their share of the peak."""
    rate = figures.get("images a second")
    whole = share(float(rate) * each, peak) if rate else None
    return figures | {"share of the matrix peak": whole, "GFLOP an image": each / 1e9}


def tower_figures(
    trunk: nn.Module, shape: Shape, device: torch.device, rounds: int, size: int
) -> Figures:
    """What is measured of a trunk with so many images."""
    free(device)
    inputs = pictures(shape, size, device)
    taken = seconds(partial(forward, trunk, inputs), device, rounds)
    return {
        "images a second": size / taken,
        "peak memory, GB": peak_memory(device),
        "attention": trunk.model.config._attn_implementation,
    }


def pictures(shape: Shape, count: int, device: torch.device) -> Tensor:
    return torch.randn(count, 3, shape.side, shape.side, device=device)


def forward(trunk: nn.Module, inputs: Tensor) -> Tensor:
    with torch.inference_mode(), torch.autocast(inputs.device.type, torch.bfloat16):
        return trunk(inputs)


class Training:
    """A pretraining step: forward, backward and optimizer, the towers in bfloat16."""

    def __init__(self, shape: Shape, device: torch.device, place: Path) -> None:
        """A model that trains as in pretraining, with two clips."""
        experiment, model = pretrained(shape, place)
        self.shape, self.device = shape, device
        self.module = Step(experiment, model.to(device)).to(device).train()
        self.stage = experiment.stages[0]
        self.optimizer = build_optimizer(self.stage, model, self.module.objective)
        set_rate(self.optimizer, self.stage.optimizer, 300, 1000)
        self.batch = clips(shape, 2, device)

    def __call__(self) -> None:
        """Take a step."""
        self.optimizer.zero_grad(set_to_none=True)
        self.module(self.batch, halved=True).backward()
        self.optimizer.step()

    def set_trunks(self, at_once: int, *, compiled: bool) -> None:
        """Set how many steps a trunk takes in a call. A compiled trunk stays compiled."""
        for tower in (self.module.model.vision, self.module.model.audio):
            tower.batch_size = at_once
            if compiled:
                tower.compile_trunk()

    def timed(self, size: int, rounds: int) -> float:
        """Seconds of a step with so many clips."""
        self.batch = clips(self.shape, 2, self.device)  # the larger batch before need not stay
        self.optimizer.zero_grad(set_to_none=True)
        free(self.device)
        self.batch = clips(self.shape, size, self.device)
        return seconds(self, self.device, rounds)


def pretraining(
    device: torch.device, scale: Scale, place: Path, peak: float | None
) -> Iterator[tuple[str, Figures]]:
    """Pretraining steps: at the published batch, at the largest that fits, and compiled."""
    for shape in scale.shapes:
        step = Training(shape, device, place)
        each = operations(step) / 2
        figures = partial(step_figures, step, each, peak, scale.rounds)
        fitting = 1
        for size, found in until_largest(figures, scale):
            yield f"{shape.name}, batch {size}", found
            fitting = max(fitting, size) if "clips a second" in found else fitting
        # 64 steps are Trichord's default: a fast card may want more of them in a call.
        size = min(fitting, scale.batch)
        for at_once, compiled in ((512, False), (64, True))[: 1 + scale.compiles]:
            step.set_trunks(at_once, compiled=compiled)
            name = f"{shape.name}, batch {size}, {at_once} steps at once"
            yield name + ", compiled" * compiled, without_failure(figures, size)
        del step, figures
        free(device)


def until_largest(measure: Callable[[int], Figures], scale: Scale) -> Iterator[tuple[int, Figures]]:
    """Figures of batches from the published size on: twice as many until they do not fit, or half."""
    size, grows = scale.batch, None
    while 1 <= size <= scale.largest:
        figures = without_failure(measure, size)
        yield size, figures
        fits = "does not fit" not in figures
        grows = fits if grows is None else grows
        if fits != grows or "failed" in figures:
            break
        size = size * 2 if grows else size // 2


def without_failure(measure: Callable[[int], Figures], size: int) -> Figures:
    """Figures, or why there are none: where nothing compiles, the rest is still worth measuring."""
    try:
        return measure(size)
    except torch.OutOfMemoryError:
        return {"does not fit": True}
    except Exception as error:  # compilers raise anything
        return {"failed": f"{type(error).__name__}: {first_line(error)}"}


def step_figures(
    step: Training, each: float, peak: float | None, rounds: int, size: int
) -> Figures:
    """What is measured of steps with so many clips."""
    taken = step.timed(size, rounds)
    return {
        "clips a second": size / taken,
        "seconds a step": taken,
        "share of the matrix peak": share(size / taken * each, peak),
        "GFLOP a clip": each / 1e9,
        "peak memory, GB": peak_memory(step.device),
    }


def projection(found: Mapping[str, Figures], scale: Scale) -> Iterator[tuple[str, Figures]]:
    """Days of one card for the published pretraining, if reading the media costs nothing."""
    yield (
        "assumed",
        {
            "clips an epoch": CLIPS,
            "epochs": EPOCHS,
            "published V100 days": V100_DAYS,
            "clips a second of a V100": CLIPS * EPOCHS / V100_DAYS / 86_400,
        },
    )
    for shape in scale.shapes:
        rates = {
            name: float(one["clips a second"])
            for name, one in found.items()
            if name.startswith(shape.name) and "clips a second" in one
        }
        if rates:
            best = max(rates, key=lambda name: rates[name])
            days = CLIPS * EPOCHS / rates[best] / 86_400
            yield shape.name, {"days of this card": days, "at": best}


def large_losses(
    device: torch.device, scale: Scale, peak: Mapping[str, float]
) -> Iterator[tuple[str, Figures]]:
    """InfoNCE of large batches in tiles, forward and backward, in float32 and with TF32."""
    for rows, tile, name in product(scale.rows, scale.tile, ("float32", "TF32")):
        torch.set_float32_matmul_precision("high" if name == "TF32" else "highest")
        free(device)
        sides = [
            F.normalize(torch.randn(rows, 512, device=device), dim=1).requires_grad_()
            for _ in range(2)
        ]
        taken = seconds(partial(loss_step, *sides, tile), device, min(scale.rounds, 3))
        torch.set_float32_matmul_precision("highest")
        # Scores twice, and a gradient for each side.
        rate = 4 * 2 * rows**2 * 512 / taken
        figures: Figures = {
            "seconds": taken,
            "TFLOP/s": rate / 1e12,
            "share of the matrix peak": share(rate, peak.get(name)),
            "peak memory, GB": peak_memory(device),
            "one copy of the matrix, GB": 4 * rows**2 / 1e9,
        }
        yield f"{rows} rows, tiles of {tile}, {name}", figures


def loss_step(left: Tensor, right: Tensor, tile: int) -> None:
    left.grad = right.grad = None
    info_nce(left, right, torch.tensor(14.3, device=left.device), tile=tile).backward()


def caption_writing(
    device: torch.device, scale: Scale, place: Path
) -> Iterator[tuple[str, Figures]]:
    """Captions of many clips, all of full length: tokens a second."""
    shape = scale.shapes[0]
    _, model = captioned(shape, place)
    model = model.to(device)
    assert model.captioner is not None
    with torch.no_grad():  # with random weights captions may end at once
        model.captioner.bias[model.word_encoder().end] = -1e4
    both = [
        moved(features(model.dim, [steps] * scale.captions, seed), device)
        for seed, steps in enumerate((shape.frames, shape.segments))
    ]
    for beams, halved in product((1, 5), (False, True)):
        decoding = Decoding(beams=beams, longest=shape.tokens, keep=1)
        with torch.autocast(device.type, torch.bfloat16, enabled=halved):
            taken = seconds(partial(write, model, *both, decoding), device, min(scale.rounds, 3))
        tokens = scale.captions * (shape.tokens - 1)
        name = f"{beams} beams, {'bfloat16' if halved else 'float32'}"
        yield name, {"tokens a second": tokens / taken, "captions a second": scale.captions / taken}


def extraction(device: torch.device, scale: Scale, place: Path) -> Iterator[tuple[str, Figures]]:
    """Decoded clips to vectors: preparation on the CPU and towers, as `extract` and `index` do it."""
    shape = scale.shapes[0]
    _, model = pretrained(shape, place)
    model = model.to(device)
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (shape.frames, shape.side, shape.side * 4 // 3, 3), np.uint8)
    wave = random.standard_normal((2, round(SECONDS * model.audio.rate)), np.float32)
    seen = [Decoded(status="ok", end=SECONDS, frames=frames)] * scale.media
    heard = [Decoded(status="ok", end=SECONDS, audio={model.audio.rate: wave})] * scale.media
    prepared = seconds(lambda: model.vision_inputs(seen[0]), device, scale.rounds)
    yield "frames, preparation alone", {"images a second": shape.frames / prepared}
    prepared = seconds(lambda: model.audio_inputs(heard[0]), device, scale.rounds)
    yield "sound, preparation alone", {"seconds of sound a second": SECONDS / prepared}
    for arithmetic in ("float32", "bfloat16"):
        for tower in (model.vision, model.audio):
            tower.set_arithmetic(arithmetic)
        taken = seconds(partial(model.read_media, seen), device, scale.rounds)
        rate = scale.media * shape.frames / taken
        yield f"frames, {arithmetic}", {"images a second": rate}
        taken = seconds(partial(model.read_media, heard), device, scale.rounds)
        rate = scale.media * SECONDS / taken
        yield f"sound, {arithmetic}", {"seconds of sound a second": rate}
