"""The table of `natural_start.py`: accuracies, and paired differences with intervals over clips."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from trichord.evaluation.bootstrap import estimates

RESAMPLES = 2000
NONE = "none"
"""The row without pretraining."""
HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"
Condition = tuple[str, str, str, int]
"""Frozen or tuned, row of pretraining, start, training clips."""
Found = dict[Condition, dict[int, dict[str, float]]]
"""Whether each clip's class was found, by condition and seed; whole seeds alone."""


def verdict(low: float, high: float) -> str:
    """What an interval says of a claim that the difference is positive."""
    return HOLDS if low > 0 else FAILS if high < 0 else OPEN


def gathered(cells: Iterable[tuple[dict[str, Any], dict[str, Any]]], folds: int = 5) -> Found:
    """The answers of cells, of the seeds of which every fold is there."""
    answers: dict[Condition, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    done: dict[tuple[Condition, int], int] = defaultdict(int)
    for key, values in cells:
        condition = key["kind"], key.get("row", NONE), key["start"], key["size"]
        answers[condition][key["seed"]].update(values["right"])
        done[condition, key["seed"]] += 1
    return {
        condition: whole
        for condition, seeds in answers.items()
        if (whole := {s: right for s, right in seeds.items() if done[condition, s] == folds})
    }


def by_clip(seeds: dict[int, dict[str, float]], chosen: Iterable[int]) -> np.ndarray:
    """The share of seeds that found each clip's class, in the order of the clips' ids."""
    return np.mean([[seeds[s][clip] for clip in sorted(seeds[s])] for s in chosen], axis=0)


def difference(found: Found, *pairs: tuple[Condition, Condition]) -> dict[str, Any] | None:
    """The second less the first of a pair, paired over clips and seeds; of two pairs, theirs subtracted.

    None if a condition has no whole seed that the others have too.
    """
    conditions = [one for pair in pairs for one in pair]
    common = set.intersection(*(set(found.get(one, {})) for one in conditions))
    if not common:
        return None
    values = [by_clip(found[one], sorted(common)) for one in conditions]
    change = values[1] - values[0] - (values[3] - values[2] if len(pairs) > 1 else 0)
    [whole] = estimates(change[:, None], np.arange(len(change)), resamples=RESAMPLES, seed=0)
    return {
        "accuracies": [round(float(one.mean()), 4) for one in values],
        "difference": round(whole.value, 4),
        "low": round(whole.low, 4),
        "high": round(whole.high, 4),
        "seeds": sorted(common),
        "clips": len(change),
        "verdict": verdict(whole.low, whole.high),
    }


def starts(found: Found) -> dict[str, Any]:
    """Initial against scratch, for each way to learn, row of pretraining and size."""
    table: dict[str, Any] = {}
    for kind, row, start, size in found:
        if start == "initial":
            pair = (kind, row, "scratch", size), (kind, row, start, size)
            if one := difference(found, pair):
                table.setdefault(kind, {}).setdefault(row, {})[str(size)] = one
    return table


def rows(found: Found, order: tuple[str, ...], size: int) -> dict[str, Any]:
    """Each row of pretraining against the row before it, and the last against none."""
    table: dict[str, Any] = {}
    steps = [*zip((NONE, *order), order, strict=False), (NONE, order[-1])]
    for kind in ("frozen", "tuned"):
        for start in ("scratch", "initial"):
            for before, after in steps:
                pair = (kind, before, start, size), (kind, after, start, size)
                if one := difference(found, pair):
                    of_kind = table.setdefault(kind, {}).setdefault(start, {})
                    of_kind[f"{after} less {before}"] = one
    return table


def carried(found: Found) -> dict[str, Any]:
    """The advantage of the initial start when everything trains, less that when frozen, by size."""
    table: dict[str, Any] = {}
    for size in sorted({condition[3] for condition in found}):
        frozen, tuned = (
            ((kind, NONE, "scratch", size), (kind, NONE, "initial", size))
            for kind in ("frozen", "tuned")
        )
        if one := difference(found, tuned, frozen):
            table[str(size)] = one
    return table


def accuracies(found: Found) -> dict[str, Any]:
    """Of each condition, a number a seed."""
    table: dict[str, Any] = {}
    for (kind, row, start, size), seeds in found.items():
        by_seed = {str(s): round(float(by_clip(seeds, [s]).mean()), 4) for s in sorted(seeds)}
        table.setdefault(kind, {}).setdefault(row, {}).setdefault(start, {})[str(size)] = by_seed
    return table


def table(
    cells: Iterable[tuple[dict[str, Any], dict[str, Any]]], pretrainings: tuple[str, ...], size: int
) -> dict[str, Any]:
    """All of it; `size` is that of the training sets after pretraining."""
    found = gathered(cells)
    return {
        "intervals": f"95 %, paired percentile bootstrap over clips, {RESAMPLES:,} draws, each clip's "
        "answers averaged over seeds; no correction for their number",
        "verdicts": f"'{HOLDS}': the interval lies above 0, which is the paper's direction; '{FAILS}': it "
        f"lies below 0; '{OPEN}': it includes 0",
        "initial less scratch": starts(found),
        "tuned advantage less frozen advantage": carried(found),
        "pretraining": rows(found, pretrainings, size),
        "accuracy by row, start, size and seed": accuracies(found),
    }
