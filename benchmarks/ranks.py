"""Ranks of 20,000 queries among 20,000 items, both ways, against a bare product in float32.

    python benchmarks/ranks.py [--rows 20000] [--width 512] [--rounds 3]

Both ways are ranked in one reading: where the clip of each text stands among all clips, and where the
text of each clip stands among all texts. The bare product multiplies the same vectors once, in blocks
of the same size into the same memory, so that neither side pays for a whole matrix of scores; in
float64, which is what the ranks are by definition, it is told beside. Two models: a trained one (the
right item is nearly always the first) and a weak one (it is the 1,000th of 20,000 or so), for which more
scores are in doubt. The ways take turns; the least of the rounds is told, in processor seconds over all
threads. Operations: 2 x rows² x width. Bytes that must be moved: the vectors, once for each row of
blocks. Writes benchmarks/results/ranks.json.
"""

import argparse
import os
import resource
import time
from collections.abc import Callable
from typing import Any

# As the commands set it: threads that spin would count as work, of either way.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import numpy as np
from record import record

from trichord.evaluation.ranks import CHUNK, Products, rank_both

ROWS = 20_000
MODELS = {"trained": 2.0, "weak": 9.0}
"""Noise of texts, in spreads of what they share with their clips."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=ROWS)
    options.add_argument("--width", type=int, default=512)
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    result: dict[str, object] = {
        "protocol": f"least of {asked.rounds} rounds, ways in turn, processor seconds",
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
    ways: dict[str, Callable[[], Any]] = {
        "bare product float32": lambda: multiply(texts, clips),
        "bare product float64": lambda: multiply(scores.queries, scores.gallery),
        "ranks both ways": lambda: rank_both(scores, answers),
    }
    before = peak()
    taken: dict[str, list[float]] = {way: [] for way in ways}
    waited: dict[str, list[float]] = {way: [] for way in ways}
    given: dict[str, Any] = {}
    for _ in range(rounds):
        for way, work in ways.items():
            start, begun = time.process_time(), time.perf_counter()
            given[way] = work()
            taken[way].append(time.process_time() - start)
            waited[way].append(time.perf_counter() - begun)
    least = {way: min(times) for way, times in taken.items()}
    forward, _ = given["ranks both ways"]
    operations = 2 * rows**2 * width
    return {
        "median rank": float(np.median(forward.rank())),
        "processor seconds": least,
        "seconds by the clock": {way: min(times) for way, times in waited.items()},
        "ranks / bare product float32": least["ranks both ways"] / least["bare product float32"],
        "ranks / bare product float64": least["ranks both ways"] / least["bare product float64"],
        "operations a processor second": {
            way: operations / seconds for way, seconds in least.items()
        },
        "MiB at most": {"before": before, "after": peak()},
    }


def multiply(left: np.ndarray, right: np.ndarray) -> None:
    block = np.empty((CHUNK, CHUNK), left.dtype)
    for row in range(0, len(left), CHUNK):
        for column in range(0, len(right), CHUNK):
            some, others = left[row : row + CHUNK], right[column : column + CHUNK]
            np.matmul(some, others.T, out=block[: len(some), : len(others)])


def peak() -> float:
    """The most memory this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
