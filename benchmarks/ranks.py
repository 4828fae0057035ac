"""Ranks of 20,000 queries among 20,000 items, both ways, against the bare matrix products.

    python benchmarks/ranks.py [--rows 20000] [--width 512]

Writes benchmarks/results/ranks.json. The bare products are made block by block as well, so that
neither side pays for 3 GiB of scores.
"""

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trichord.evaluation.ranks import CHUNK, ranks_of_answers, ranks_of_sets, unit

RESULTS = Path(__file__).parent / "results" / "ranks.json"


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=20_000)
    options.add_argument("--width", type=int, default=512)
    asked = options.parse_args()
    rng = np.random.default_rng(0)
    clips = rng.normal(size=(asked.rows, asked.width)).astype(np.float32)
    texts = clips + 2 * rng.normal(size=clips.shape).astype(np.float32)
    answers = rng.permutation(asked.rows)
    texts = texts[answers]
    vectors = 2 * clips.nbytes

    bare32 = seconds(lambda: multiply(texts, clips))
    bare64 = seconds(lambda: multiply(unit(texts, "text"), unit(clips, "clip")))
    before = peak()
    forward = seconds(lambda: ranks_of_answers(texts, clips, answers))
    reverse = seconds(lambda: ranks_of_sets(clips, texts, answers))
    result = {
        "rows": asked.rows,
        "width": asked.width,
        "chunk": CHUNK,
        "processor seconds, best of two": {
            "bare product float32": bare32,
            "bare product float64": bare64,
            "ranks forward": forward,
            "ranks reverse": reverse,
        },
        "both ways / two bare products float32": (forward + reverse) / (2 * bare32),
        "both ways / two bare products float64": (forward + reverse) / (2 * bare64),
        "MiB": {
            "the two sets of vectors, float32": vectors / 2**20,
            "a whole score matrix, float64": asked.rows**2 * 8 / 2**20,
            "peak before ranking": before,
            "peak after ranking": peak(),
        },
        "machine": {
            "cores": os.cpu_count(),
            "load over 1, 5 and 15 minutes": os.getloadavg(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def multiply(left: np.ndarray, right: np.ndarray) -> None:
    for row in range(0, len(left), CHUNK):
        for column in range(0, len(right), CHUNK):
            left[row : row + CHUNK] @ right[column : column + CHUNK].T


def seconds(work: Callable[[], object]) -> float:
    """Processor time over all threads, which other work on the machine disturbs least."""
    taken: list[float] = []
    for _ in range(2):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def peak() -> float:
    """The most memory this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
