"""A run in short: its experiment, and how far each of its stages came."""

from collections.abc import Sequence
from html import escape
from typing import Any

from trichord.config import Experiment
from trichord.types.notebook import Html, curve

Numbers = dict[str, Any]
"""The metrics of an epoch."""


def stages_of(metrics: Sequence[Numbers]) -> list[list[Numbers]]:
    """Numbers of epochs by stage; each begins with epoch 0, and several may have the same name."""
    stages: list[list[Numbers]] = []
    for numbers in metrics:
        if numbers["epoch"] == 0:
            stages.append([])
        stages[-1].append(numbers)
    return stages


def run_summary(
    experiment: Experiment, metrics: Sequence[Numbers], *, complete: bool, curves: bool = False
) -> dict[str, object]:
    """The facts of a run, by name.

    Args:
        experiment: Of the run.
        metrics: Of every epoch so far.
        complete: Whether training has ended.
        curves: Draw the criterion of each stage, as `Html`; the training loss where there is none.
    """
    done = stages_of(metrics)
    facts: dict[str, object] = {
        "experiment": experiment.system,
        "state": "finished" if complete else "not finished",
    }
    split = "SELECTION ON TEST: test" if experiment.select_on_test else "validation"
    for number, stage in enumerate(experiment.stages):
        epochs = done[number] if number < len(done) else []
        text = _reached(epochs, split)
        drawn = Html(f"{escape(text)}<br>{_drawn(epochs)}") if curves else text
        facts[f"stage {number + 1} ({stage.name})"] = drawn
    return facts


def _reached(epochs: Sequence[Numbers], split: str) -> str:
    """The number of epochs, and the best of them."""
    if not epochs:
        return "not begun"
    last = epochs[-1]["epoch"]
    count = "1 epoch" if last == 1 else f"{last} epochs"
    measured = [one for one in epochs if one.get("criterion") is not None]
    if not measured:
        return f"{count}, no {split} clips"
    best = max(measured, key=lambda one: one["criterion"])
    measure = best.get("measure") or "criterion"  # runs of earlier versions do not name it
    return f"{count}, best {split} {measure} {best['criterion']:.3f} (epoch {best['epoch']})"


def _drawn(epochs: Sequence[Numbers]) -> Html:
    criteria = [one.get("criterion") for one in epochs]
    if any(value is not None for value in criteria):
        return curve(criteria)
    return curve([one.get("loss") for one in epochs], lowest=True)
