"""InfoNCE of a large batch, forward and backward: memory and time, beside three other ways.

Each way runs in a process of its own, so that the peak of its memory is its own: the resident set at
its highest less what the process holds when its code is imported; inputs and
gradients are part of it. Processor time, on one thread: the ways take turns, the best of the rounds
counts. All start from the same unit vectors, 8192 x 512, whose partners are near, at scale 14.3; loss
and gradients are compared with those of the full matrix in double precision.

- tiled: `losses.info_nce`
- full matrix: `losses.info_nce`, by autograd
- checkpointed rows: the same in chunks of 1024 rows, and of columns, whose logits are computed anew
- transformers: `image_text_contrastive_loss` of its CLIP, as its model calls it
- products: the four products of matrices that two sweeps cannot do without, and nothing else

    python studies/loss.py [--tiles] [--large]

With --tiles also tiles of other sizes; with --large also 32,768 x 512, without the others (4.3 GB a
copy of the matrix).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from record import record
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trichord.losses.info_nce import info_nce

ROWS, LARGE, DIM = 8192, 32_768, 512
SCALE = 14.3
ROUNDS = 2
TILES = (256, 512, 1024, 4096)
DEFAULT = 2048
CHUNK = 1024
MB = 1e6

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def checkpointed(left: Tensor, right: Tensor, scale: Tensor) -> Tensor:
    """Both directions in chunks of rows whose logits the backward computes anew."""

    def part(asking: Tensor, answering: Tensor, first: int) -> Tensor:
        partners = torch.arange(first, first + len(asking))
        return F.cross_entropy(scale * asking @ answering.T, partners, reduction="sum")

    total = torch.zeros(())
    for asking, answering in ((left, right), (right, left)):
        for first in range(0, len(left), CHUNK):
            rows = asking[first : first + CHUNK]
            total = total + checkpoint(part, rows, answering, first, use_reentrant=False)
    return total / (2 * len(left))


def of_transformers(left: Tensor, right: Tensor, scale: Tensor) -> Tensor:
    """As CLIPModel.forward puts it; left are texts."""
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    return image_text_contrastive_loss(torch.matmul(left, right.t()) * scale)


def tiled(tile: int) -> Loss:
    return lambda left, right, scale: info_nce(left, right, scale, tile=tile)


WAYS: dict[str, Loss] = {
    "full matrix": info_nce,
    "checkpointed rows": checkpointed,
    "transformers": of_transformers,
    "tiled": tiled(DEFAULT),
}
OTHER_TILES: dict[str, Loss] = {f"tiled, {tile} x {tile}": tiled(tile) for tile in TILES}


def products(left: Tensor, right: Tensor) -> None:
    """Scores twice, and a gradient for each side, in tiles."""
    scores = left.new_empty(DEFAULT, DEFAULT)
    found = torch.zeros_like(left), torch.zeros_like(right)
    for sweep in range(2):
        for first in range(0, len(left), DEFAULT):
            rows = left[first : first + DEFAULT]
            for start in range(0, len(right), DEFAULT):
                columns = right[start : start + DEFAULT]
                torch.mm(rows, columns.T, out=scores)
                if sweep:
                    found[0][first : first + DEFAULT].addmm_(scores, columns)
                    found[1][start : start + DEFAULT].addmm_(scores.T, rows)


def vectors(rows: int, dtype: torch.dtype) -> list[Tensor]:
    """Left and right, made in place: nothing else may count as their memory."""
    random = torch.Generator().manual_seed(0)
    left = torch.randn(rows, DIM, generator=random).to(dtype)
    right = torch.randn(rows, DIM, generator=random).mul_(0.8).to(dtype).add_(left)
    for side in (left, right):
        side /= side.norm(dim=1, keepdim=True)
    return [side.requires_grad_() for side in (left, right)]


def resident() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return int(sizes["VmRSS"][0]) * 1024


def serve(way: str, rows: int, folder: Path) -> None:
    """A child: a round for each line of input, one line of figures for each."""
    torch.set_num_threads(1)
    loss_of = (WAYS | OTHER_TILES).get(way, info_nce)
    loss_of(
        *vectors(2, torch.float32), torch.tensor(SCALE)
    ).backward()  # what it imports is not its own
    before = resident()
    left, right = vectors(rows, torch.float64 if way == "double" else torch.float32)
    scale = torch.tensor(SCALE, dtype=left.dtype, requires_grad=True)
    for _ in sys.stdin:
        left.grad = right.grad = scale.grad = None
        began, loss = time.process_time(), None
        if way == "products":
            with torch.no_grad():
                products(left, right)
        else:
            loss = loss_of(left, right, scale)
            loss.backward()
        taken = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        found = {"seconds": taken, "peak": peak, "loss": None if loss is None else loss.item()}
        if loss is not None:
            # After the peak was read.
            torch.save([left.grad, right.grad, scale.grad], folder / f"{way}.pt")
        print(json.dumps(found), flush=True)


class Child:
    """A way in a process of its own."""

    def __init__(self, way: str, rows: int, folder: Path) -> None:
        script = [
            sys.executable,
            __file__,
            "--way",
            way,
            "--rows",
            str(rows),
            "--into",
            str(folder),
        ]
        one_thread = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(script, env=one_thread, **pipes)
        self.rounds: list[dict[str, float]] = []

    def take_turn(self) -> None:
        """Take one round and note its figures."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.rounds.append(json.loads(self.process.stdout.readline()))

    def end(self) -> dict[str, float]:
        """Best time, highest memory of the first round, the loss."""
        self.process.communicate()
        seconds = min(one["seconds"] for one in self.rounds)
        return {"seconds": seconds, "peak": self.rounds[0]["peak"], "loss": self.rounds[0]["loss"]}


def measured(ways: list[str], rows: int, rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    """Ways taking turns."""
    children = {way: Child(way, rows, folder) for way in ways}
    for number in range(rounds):
        for way, child in children.items():
            child.take_turn()
            print(rows, way, number + 1, child.rounds[-1], file=sys.stderr, flush=True)
    return {way: child.end() for way, child in children.items()}


def errors(way: str, found: dict, truth: dict, folder: Path) -> dict[str, float]:
    """Relative to double precision: of the loss, and of the gradients by their lengths."""
    ours, exact = torch.load(folder / f"{way}.pt"), torch.load(folder / "double.pt")
    apart = [float((a.double() - b).norm() / b.norm()) for a, b in zip(ours, exact, strict=True)]
    return {
        "loss": abs(found["loss"] - truth["loss"]) / truth["loss"],
        "gradients of left, right and scale": apart,
    }


def beside(ways: list[str], folder: Path) -> dict[str, object]:
    """Ways taking turns, what they need and how exact they are."""
    found = measured([*ways, "products"], ROWS, ROUNDS, folder)
    truth = measured(["double"], ROWS, 1, folder)["double"]
    full, bare, ours = found["full matrix"], found.pop("products"), found["tiled"]
    flops = 2 * ROWS * ROWS * DIM
    return {
        "rows": ROWS,
        "inputs and their gradients, MB": 4 * ROWS * DIM * 4 / MB,
        "ways": {
            way: {
                "peak memory, MB": one["peak"] / MB,
                "processor seconds": one["seconds"],
                "memory / full matrix": one["peak"] / full["peak"],
                "time / full matrix": one["seconds"] / full["seconds"],
                "error": errors(way, one, truth, folder),
            }
            for way, one in found.items()
        },
        "bounds": {
            "operations": f"4 products of 2 x {ROWS}^2 x {DIM} (scores twice, a gradient each side); "
            "autograd on a kept matrix needs 3",
            "bytes": "inputs twice and gradients once a tile's width: no bound",
            "gigaflops of the bare products": 4 * flops / bare["seconds"] / 1e9,
            "share of the bare products' rate that we reach": bare["seconds"] / ours["seconds"],
        },
    }


def large(folder: Path) -> dict[str, object]:
    found = measured(["tiled"], LARGE, 1, folder)["tiled"]
    return {
        "rows": LARGE,
        "peak memory, MB": found["peak"] / MB,
        "inputs and their gradients, MB": 4 * LARGE * DIM * 4 / MB,
        "one copy of the full matrix, MB": LARGE**2 * 4 / MB,
        "processor seconds": found["seconds"],
        "gigaflops": 4 * 2 * LARGE**2 * DIM / found["seconds"] / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="32,768 rows, too")
    parser.add_argument("--tiles", action="store_true", help="other sizes of tiles, too")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        serve(asked.way, asked.rows, asked.into)
        return
    with tempfile.TemporaryDirectory() as folder:
        ways = [*WAYS, *OTHER_TILES] if asked.tiles else [*WAYS]
        found = beside(ways, Path(folder))
        result = {"protocol": " ".join(__doc__.split()), "side by side": found}
        if asked.large:
            result["large"] = large(Path(folder))
    record("loss", result)


if __name__ == "__main__":
    main()
