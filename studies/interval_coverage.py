"""How often do 95 % intervals of shares hold the true share? Simulated, beside the percentile bootstrap.

    python studies/interval_coverage.py [--rounds 2000] [--seed 0]
    python studies/interval_coverage.py --tables

Clips are drawn whose captions hit with a known probability: of one caption a clip, of five, and of one to
nine. Captions of a clip have a correlation from 0 to 1. It comes about in two ways: `beta`, each clip has
a probability of its own from a beta distribution; `probit`, each clip is of some normal difficulty, and a
caption hits where its own normal luck beats it. Each round draws clips anew and asks both intervals,
`evaluation/proportions.py` and `evaluation/bootstrap.py` (1,000 resamples, as reports had them before
metrics 2), about the same hits. A cell is the share of rounds in which the interval holds the truth.
Tables have the lowest over correlations and ways; every cell of one caption a clip has a single one.
Writes studies/results/coverage.json. With `--tables` nothing is simulated: the rows of the tables in
docs/explanation/protocols.md are printed, as the results have them.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from statistics import NormalDist

import numpy as np
from numpy import ndarray
from record import RESULTS, record

from trichord.evaluation.bootstrap import Estimate, estimates
from trichord.evaluation.proportions import proportions

CLIPS = (20, 50, 74, 200, 1000)
SHARES = (0.02, 0.1, 0.3, 0.5, 0.9, 0.98)
CORRELATIONS = (0.0, 0.1, 0.3, 0.6, 1.0)
CAPTIONS: dict[str, tuple[int, int]] = {
    "1 caption": (1, 1),
    "5 captions": (5, 5),
    "1 to 9 captions": (1, 9),
}
"""Of a clip: the fewest and the most, all between equally likely."""
AT_ONCE = 100
"""Rounds that share the numbers of captions and the draws of the bootstrap, to save time."""
INTERVALS: dict[str, Callable[[ndarray, ndarray, int], tuple[Estimate, ...]]] = {
    "Wilson": lambda hits, clip, _: proportions(hits, clip),
    "bootstrap": lambda hits, clip, seed: estimates(hits, clip, seed=seed),
}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=2000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--tables", action="store_true")
    asked = options.parse_args()
    if asked.tables:
        print_tables()
        return
    begun = time.perf_counter()
    every = {
        captions: {
            f"{clips} clips": cells(captions, clips, asked.rounds, asked.seed) for clips in CLIPS
        }
        for captions in CAPTIONS
    }
    record(
        "coverage",
        {
            "protocol": f"{asked.rounds} rounds a cell, share of intervals that hold the true share",
            "seed": asked.seed,
            "seconds": round(time.perf_counter() - begun),
            "lowest over correlations": {name: lowest(of) for name, of in every.items()},
            "lowest": {
                name: {interval: least(of, interval) for interval in INTERVALS}
                for name, of in every.items()
            },
            "mean width": {
                name: {interval: mean_width(of, interval) for interval in INTERVALS}
                for name, of in every.items()
            },
            "all": {
                name: {interval: holds(of, interval) for interval in INTERVALS}
                for name, of in every.items()
            },
        },
    )


def print_tables() -> None:
    """The lowest over correlations, per cent, as a page of the documentation shows them."""
    held = json.loads((RESULTS / "coverage.json").read_text())
    for captions, rows in held["lowest over correlations"].items():
        print(f"\n{captions} a clip:\n")
        print("| true share | " + " | ".join(map(name_of, SHARES)) + " |")
        print("|---" * (len(SHARES) + 1) + "|")
        for label, cells_of in rows.items():
            values = " | ".join(f"{100 * value:.0f}" for value in cells_of.values())
            print(f"| `{label}` | {values} |")


Cells = dict[str, dict[str, dict[str, dict[str, float]]]]
"""By share, then correlation, then interval: how often it holds the truth, and its mean width."""


def cells(captions: str, clips: int, rounds: int, seed: int) -> Cells:
    """Every share and correlation for so many clips."""
    found: Cells = {}
    for share in SHARES:
        found[name_of(share)] = {
            name: held(captions, clips, share, draw, rounds, seed)
            for name, draw in ways(share, single=captions == "1 caption")
        }
        print(captions, clips, share, found[name_of(share)], flush=True)
    return found


def name_of(share: float) -> str:
    return f"{share:g}".removeprefix("0")


Draw = Callable[[np.random.Generator, tuple[int, int]], ndarray]
"""Probabilities of clips, of such a shape."""


def ways(share: float, *, single: bool) -> Iterator[tuple[str, Draw]]:
    """How clips come by their probabilities, by name."""
    yield "0", lambda _, shape: np.full(shape, share)
    for correlation in () if single else CORRELATIONS[1:-1]:
        yield f"{correlation:g}, beta", beta(share, correlation)
        yield f"{correlation:g}, probit", probit(share, correlation)
    if not single:
        yield "1", lambda random, shape: (random.random(shape) < share).astype(float)


def beta(share: float, correlation: float) -> Draw:
    """Captions of a clip have exactly this correlation."""
    spread = (1 - correlation) / correlation
    return lambda random, shape: random.beta(share * spread, (1 - share) * spread, shape)


def probit(share: float, correlation: float) -> Draw:
    """The normal numbers behind the captions of a clip have this correlation, the hits a lower one."""
    easy, luck = NormalDist().inv_cdf(share), (1 - correlation) ** 0.5
    below = np.vectorize(NormalDist().cdf)
    table = np.linspace(-8, 8, 4001)  # the distribution function, looked up: there are many clips
    values = below(table)

    def drawn(random: np.random.Generator, shape: tuple[int, int]) -> ndarray:
        difficulty = random.standard_normal(shape) * correlation**0.5
        return np.interp((easy - difficulty) / luck, table, values)

    return drawn


def held(
    captions: str, clips: int, share: float, draw: Draw, rounds: int, seed: int
) -> dict[str, dict[str, float]]:
    """How often each interval holds the share, and how wide it is in the mean."""
    random = np.random.default_rng(seed)
    fewest, most = CAPTIONS[captions]
    hold = dict.fromkeys(INTERVALS, 0)
    width = dict.fromkeys(INTERVALS, 0.0)
    for first in range(0, rounds, AT_ONCE):
        some = min(AT_ONCE, rounds - first)
        clip = np.repeat(np.arange(clips), random.integers(fewest, most + 1, clips))
        probability = draw(random, (clips, some))[clip]
        hits = (random.random(probability.shape) < probability).astype(float)
        for name, interval in INTERVALS.items():
            for one in interval(hits, clip, seed + first):
                hold[name] += one.low <= share <= one.high
                width[name] += one.high - one.low
    return {
        name: {"holds": hold[name] / rounds, "width": round(width[name] / rounds, 4)}
        for name in INTERVALS
    }


def lowest(of: dict[str, Cells]) -> dict[str, dict[str, float]]:
    """By interval and clips, then share: the lowest over correlations."""
    return {
        f"{interval}, {clips}": {
            share: min(one[interval]["holds"] for one in by_way.values())
            for share, by_way in by_share.items()
        }
        for clips, by_share in of.items()
        for interval in INTERVALS
    }


def holds(of: dict[str, Cells], interval: str) -> dict[str, dict[str, dict[str, float]]]:
    """How often an interval holds the truth, by clips, share and correlation."""
    return {
        clips: {
            share: {way: one[interval]["holds"] for way, one in by_way.items()}
            for share, by_way in by_share.items()
        }
        for clips, by_share in of.items()
    }


def least(of: dict[str, Cells], interval: str) -> float:
    """The lowest of all cells."""
    return min(one["holds"] for one in entries(of, interval))


def mean_width(of: dict[str, Cells], interval: str) -> float:
    """Over all cells."""
    widths = [one["width"] for one in entries(of, interval)]
    return round(sum(widths) / len(widths), 4)


def entries(of: dict[str, Cells], interval: str) -> Iterator[dict[str, float]]:
    for by_share in of.values():
        for by_way in by_share.values():
            yield from (one[interval] for one in by_way.values())


if __name__ == "__main__":
    main()
