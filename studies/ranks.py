"""Ranks of 20,000 texts among 1,000 clips in both directions, against a bare float64 product.

    python studies/ranks.py [--texts 20000] [--clips 1000] [--width 512] [--rounds 5]

Both directions are ranked in one reading of the scores: where the clip of each text stands among all
clips, and where the texts of each clip stand among all texts. The bare product multiplies the same
vectors once, in blocks of the same size. Both take turns, round by round, as a shared machine is now
fast and now slow; medians over the rounds, in processor seconds over all threads and by the clock.
Two models: a trained one (the right clip is nearly always the first) and a weak one. Operations of a
product: 2 x texts x clips x width. Writes studies/results/ranks.json.
"""

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable

# As the commands set it: threads that spin would count as work, of either way.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import numpy as np
from record import record

from trichord.evaluation.ranks import CHUNK, rank_both
from trichord.evaluation.scores import Products

MODELS = {"trained": 2.0, "weak": 9.0}
"""Noise of texts, in standard deviations of what they share with their clips."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--texts", type=int, default=20_000)
    options.add_argument("--clips", type=int, default=1000)
    options.add_argument("--width", type=int, default=512)
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    shape = (asked.texts, asked.clips, asked.width)
    result: dict[str, object] = {
        "protocol": f"ways in turn; medians of {asked.rounds} rounds",
        "texts": asked.texts,
        "clips": asked.clips,
        "width": asked.width,
        "chunk": CHUNK,
        "operations": 2 * asked.texts * asked.clips * asked.width,
        "MiB of a whole matrix, float64": asked.texts * asked.clips * 8 / 2**20,
    }
    for name, noise in MODELS.items():
        result[name] = measure(shape, noise, asked.rounds)
    record("ranks", result)


def measure(shape: tuple[int, int, int], noise: float, rounds: int) -> dict[str, object]:
    """Times and memory of ranking one model's vectors."""
    texts, clips, width = shape
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((clips, width))
    answers = rng.integers(0, clips, texts)
    queries = gallery[answers] + noise * rng.standard_normal((texts, width))
    scores = Products.cosines(queries, gallery)
    ways: dict[str, Callable[[], object]] = {
        "bare product float64": lambda: multiply(scores),
        "ranks in both directions": lambda: rank_both(scores, answers),
    }
    rows: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            rows[way].append(timed(work))
    taken = {way: np.median(rows[way], axis=0) for way in ways}
    bare, ranked = taken["bare product float64"], taken["ranks in both directions"]
    tracemalloc.start()
    forward, _ = rank_both(scores, answers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "median rank": float(np.median(forward.rank())),
        "processor seconds": {way: float(one[0]) for way, one in taken.items()},
        "seconds by the clock": {way: float(one[1]) for way, one in taken.items()},
        "ranks / bare product": float(ranked[0] / bare[0]),
        "ranks / bare product, clock": float(ranked[1] / bare[1]),
        "MiB at most, beside the vectors": peak / 2**20,
    }


def multiply(scores: Products) -> None:
    """All blocks of scores, each thrown away."""
    queries, clips = scores.shape
    for row in range(0, queries, CHUNK):
        for column in range(0, clips, CHUNK):
            scores.block(slice(row, row + CHUNK), slice(column, column + CHUNK))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the processor, over all threads, and by the clock."""
    start, begun = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - start, time.perf_counter() - begun


if __name__ == "__main__":
    main()
