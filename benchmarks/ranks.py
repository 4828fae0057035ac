"""Ranks of 20,000 queries among 20,000 items, both ways, against a bare product in float32.

    python benchmarks/ranks.py [--rows 20000] [--width 512] [--rounds 3]

Both ways are ranked in one reading: where the clip of each text stands among all clips, and where the
text of each clip stands among all texts. The bare product multiplies the same vectors once, in blocks
of the same size into the same memory, so that neither side pays for a whole matrix of scores; in
float64, which is what the ranks are by definition, it is told beside. A shared machine is now fast and
now slow, so the ways take turns by rows of blocks: before each, the reading is stopped, and the same
texts are multiplied bare. Two models: a trained one (the right item is nearly always the first) and a
weak one (it is the 1,000th of 20,000 or so), for which more scores are in doubt. Told are means over
the rounds, in processor seconds over all threads and by the clock. Operations: 2 x rows² x width. Bytes
that must be moved: the vectors, once for each row of blocks. Writes benchmarks/results/ranks.json.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

# As the commands set it: threads that spin would count as work, of either way.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import numpy as np
from record import record

from trichord.evaluation.narrow import Narrow, Room
from trichord.evaluation.ranks import CHUNK, Products, rank_both

ROWS = 20_000
SINGLE, DOUBLE, RANKS = "bare product float32", "bare product float64", "ranks both ways"
Given = TypeVar("Given")
MODELS = {"trained": 2.0, "weak": 9.0}
"""Noise of texts, in spreads of what they share with their clips."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=ROWS)
    options.add_argument("--width", type=int, default=512)
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    result: dict[str, object] = {
        "protocol": f"ways in turn by rows of blocks; means of {asked.rounds} rounds",
        "rows": asked.rows,
        "width": asked.width,
        "chunk": CHUNK,
        "operations": 2 * asked.rows**2 * asked.width,
        "MiB of a whole matrix, float32": asked.rows**2 * 4 / 2**20,
    }
    for name, noise in MODELS.items():
        result[name] = measure(asked.rows, asked.width, noise, asked.rounds)
    record("ranks" if asked.rows == ROWS else f"ranks-{asked.rows}", result)


def measure(rows: int, width: int, noise: float, rounds: int) -> dict[str, object]:
    """Times and memory of ranking one model's vectors."""
    rng = np.random.default_rng(0)
    clips = rng.standard_normal((rows, width), np.float32)
    answers = rng.permutation(rows)
    texts = clips[answers] + np.float32(noise) * rng.standard_normal((rows, width), np.float32)
    scores = Products.cosines(texts, clips)
    del texts, clips
    turns = Turns(scores)
    before, ranked, median = memory("VmRSS"), Spent(), 0.0
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    for _ in range(rounds):
        with patch.object(Room, "product", turns.product):
            (forward, _), whole = timed(lambda: rank_both(scores, answers))
        ranked += whole
        median = float(np.median(forward.rank()))
    ways = turns.taken | {RANKS: ranked - turns.paused}
    mean = {way: Spent(one.processor / rounds, one.clock / rounds) for way, one in ways.items()}
    operations = 2 * rows**2 * width
    return {
        "median rank": median,
        "processor seconds": {way: spent.processor for way, spent in mean.items()},
        "seconds by the clock": {way: spent.clock for way, spent in mean.items()},
        "ranks / bare product float32": mean[RANKS].processor / mean[SINGLE].processor,
        "ranks / bare product float32, clock": mean[RANKS].clock / mean[SINGLE].clock,
        "ranks / bare product float64": mean[RANKS].processor / mean[DOUBLE].processor,
        "operations a processor second": {
            way: operations / spent.processor for way, spent in mean.items()
        },
        "MiB beside what was there": memory("VmHWM") - before,
    }


@dataclass(frozen=True)
class Spent:
    """Seconds of the processor, over all threads, and by the clock."""

    processor: float = 0.0
    clock: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.processor + other.processor, self.clock + other.clock)

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.processor - other.processor, self.clock - other.clock)


def timed(work: Callable[[], Given]) -> tuple[Given, Spent]:
    start, begun = time.process_time(), time.perf_counter()
    given = work()
    return given, Spent(time.process_time() - start, time.perf_counter() - begun)


class Turns:
    """Stops a reading before each row of blocks, for the bare products of the same texts."""

    def __init__(self, scores: Products) -> None:
        self.scores = scores
        self.rows: slice | None = None
        self.taken = {SINGLE: Spent(), DOUBLE: Spent()}
        self.block = {kind: np.ones((CHUNK, CHUNK), kind) for kind in (np.float32, np.float64)}
        self.own = Room.product

    @property
    def paused(self) -> Spent:
        """How long the reading stood still."""
        return sum(self.taken.values(), Spent())

    @property
    def product(self) -> Callable[..., np.ndarray]:
        """What stands in for the reading's own product."""

        def product(room: Room, narrow: Narrow, rows: slice, columns: slice) -> np.ndarray:
            if rows != self.rows:
                self.rows = rows
                single, double = (narrow.queries, narrow.gallery), self.scores
                self.multiply(SINGLE, single[0][rows], single[1])
                self.multiply(DOUBLE, double.queries[rows], double.gallery)
            return self.own(room, narrow, rows, columns)

        return product

    def multiply(self, way: str, left: np.ndarray, right: np.ndarray) -> None:
        """One row of blocks."""
        block = self.block[left.dtype.type]

        def blocks() -> None:
            for column in range(0, len(right), CHUNK):
                some = right[column : column + CHUNK]
                np.matmul(left, some.T, out=block[: len(left), : len(some)])

        self.taken[way] += timed(blocks)[1]


def memory(kind: str) -> float:
    """MiB that this process holds, or has held at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


if __name__ == "__main__":
    main()
