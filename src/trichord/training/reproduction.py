"""Comparison of a run with its repetition, epoch by epoch and tensor by tensor, bit for bit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from trichord.checkpoint import Run
from trichord.evaluation.tables import plain_table

NUMBERS = ("loss", "criterion", "validation", "scales", "weights")
"""Compared numbers of an epoch; the first runs have no counts of skipped steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """An epoch's numbers in both runs; empty if a run lacks the epoch."""

    stage: str
    number: int
    original: Mapping[str, Any]
    repetition: Mapping[str, Any]

    @property
    def exact(self) -> bool:
        """Whether all of its numbers are the same, to the last bit."""
        # As JSON every digit counts, and NaN equals itself.
        one, other = (
            json.dumps({name: numbers.get(name) for name in NUMBERS}, sort_keys=True)
            for numbers in (self.original, self.repetition)
        )
        return one == other

    @property
    def difference(self) -> float:
        """The larger difference of loss and criterion; infinite if one run lacks it."""
        pairs = [(self.original.get(name), self.repetition.get(name)) for name in NUMBERS[:2]]
        return max(_distance(one, other) for one, other in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """The comparison of a run and its repetition.

    Attributes:
        epochs: Of all stages, in order.
        tensors: Number of tensors of the runs.
        differences: Largest difference of each tensor that is not equal bit for bit; infinite if one
            run lacks the tensor, or has another shape or type.
    """

    epochs: tuple[Epoch, ...]
    tensors: int
    differences: dict[str, float]

    @property
    def exact(self) -> bool:
        """Whether both runs are equal bit for bit."""
        return not self.differences and all(epoch.exact for epoch in self.epochs)


def compare_runs(original: Run, repetition: Run) -> RunComparison:
    """Compare a complete run with its repetition.

    Raises:
        UserError: The weights or the metrics of one are damaged.
    """
    before, after = _by_epoch(original), _by_epoch(repetition)
    places = sorted({**before, **after}, key=lambda place: (place[0], place[2]))
    one, other = original.weights()[0], repetition.weights()[0]
    distances = {
        name: difference
        for name in sorted({*one, *other})
        if (difference := _between(one.get(name), other.get(name))) is not None
    }
    return RunComparison(
        epochs=tuple(
            Epoch(
                stage=place[1],
                number=place[2],
                original=before.get(place, {}),
                repetition=after.get(place, {}),
            )
            for place in places
        ),
        tensors=len({*one, *other}),
        differences=distances,
    )


def _by_epoch(run: Run) -> dict[tuple[int, str, int], Mapping[str, Any]]:
    """Numbers by the stage's index, its name, and the epoch; stages may have equal names."""
    epochs: dict[tuple[int, str, int], Mapping[str, Any]] = {}
    stage = -1
    for numbers in run.metrics():
        stage += numbers["epoch"] == 0
        epochs[stage, numbers["stage"], numbers["epoch"]] = numbers
    return epochs


def _between(one: Tensor | None, other: Tensor | None) -> float | None:
    """Largest difference of two tensors; None if they are equal bit for bit."""
    if one is None or other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
        return float("inf")
    bits = [value.contiguous().reshape(-1).view(torch.uint8) for value in (one, other)]
    if torch.equal(*bits):
        return None
    return float((one.double() - other.double()).abs().max())


def _distance(one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else float("inf")
    return abs(one - other)


def table(comparison: RunComparison, original: Run, repetition: Run) -> Table:
    """A table of both runs' numbers of each epoch, and whether they agree."""
    result = plain_table(f"{original.path} and {repetition.path}", verdict(comparison))
    result.add_column("Stage", no_wrap=True)
    for column in ("Epoch", "Loss", "Again", "Criterion", "Again", "Agree"):
        result.add_column(column, justify="right", no_wrap=True)
    for epoch in comparison.epochs:
        cells = [
            "–" if (value := numbers.get(name)) is None else f"{value:.6f}"
            for name in NUMBERS[:2]
            for numbers in (epoch.original, epoch.repetition)
        ]
        agree = "bit for bit" if epoch.exact else f"apart by {epoch.difference:.1e}"
        result.add_row(epoch.stage, str(epoch.number), *cells, agree)
    return result


def verdict(comparison: RunComparison) -> str:
    """The result in one or two sentences."""
    same = sum(epoch.exact for epoch in comparison.epochs)
    epochs = f"Epochs whose numbers agree bit for bit: {same} of {len(comparison.epochs)}."
    weights = f"Tensors: {comparison.tensors - len(comparison.differences)} of {comparison.tensors}"
    if not comparison.differences:
        return f"{epochs} {weights}."
    worst = max(comparison.differences, key=lambda name: comparison.differences[name])
    return (
        f"{epochs} {weights}, the others up to {comparison.differences[worst]:.1e} apart ({worst})."
    )
