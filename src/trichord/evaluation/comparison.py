"""Runs side by side in the form of SLAVA's Table II: R@10, tasks down, systems across."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter
from rich.table import Table

from trichord.evaluation.bootstrap import Estimate
from trichord.evaluation.metrics import KS
from trichord.evaluation.protocol import Protocol, difference
from trichord.evaluation.report import Report
from trichord.evaluation.retrieval import TASKS, TaskResult
from trichord.evaluation.seeds import Cell, Group, grouped, in_one_line, require_alike, spread
from trichord.evaluation.tables import plain_table
from trichord.types import UserError
from trichord.types.files import write_atomically

K = 10
"""Table II reports R@10."""

ORDER = (
    "wav2clip-frozen-text",
    "wav2clip-trainable-text",
    "audioclip",
    "slava-a-and-v",
    "slava-av-indirect",
    "slava-av",
    "audio-visual",
    "zero-shot",
)
"""Systems in the paper's order; the published pair of towers before training is ours."""

_TABLE_II = (
    (0.84, 0.26, 0.86, 0.35, 0.27, 0.41, 0.22),
    (0.82, 0.29, 0.86, 0.40, 0.29, 0.41, 0.27),
    (0.69, 0.29, 0.75, 0.36, 0.26, 0.37, 0.45),
    (0.81, 0.30, 0.85, 0.37, 0.32, 0.40, 0.52),
    (0.83, 0.29, 0.89, 0.33, 0.32, 0.44, 0.40),
    (0.81, 0.29, 0.86, 0.34, 0.33, 0.45, 0.50),
)
PAPER_TABLE_II: Mapping[str, Mapping[str, float]] = {
    system: {task.name: value for task, value in zip(TASKS[:7], values, strict=True)}
    for system, values in zip(ORDER[:6], _TABLE_II, strict=True)
} | {"audio-visual": {"visual<-sound": 0.50}}
"""R@10 of SLAVA's Table II by system and task (AVCaps, 200 clips); the last is from its prose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """All seeds of one experiment on the same clips; a task without an answer has no cell.

    `differs` is what sets it apart from others of the same name, values by setting; `told` as much of
    that as a heading tells. `cells` hold R@10, `recall` all R@k by task, then k.
    """

    experiment: str
    differs: dict[str, str]
    told: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    cells: dict[str, Cell]
    recall: dict[str, dict[int, Cell]]

    @property
    def heading(self) -> str:
        """Its name, and what sets it apart."""
        return in_one_line(self.experiment, self.told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Systems under one protocol.

    By task: `queries`, `galleries` (clips), and R@10 by `chance` and of the best possible ranking.
    """

    protocol: Protocol
    systems: tuple[System, ...]
    queries: dict[str, int]
    galleries: dict[str, int]
    chance: dict[str, float]
    ceiling: dict[str, float]
    k: int = K

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that at least one system answers, in the paper's order."""
        return tuple(t.name for t in TASKS if any(t.name in s.cells for s in self.systems))

    def spread(self) -> str:
        """What the number beside each mean is, in words."""
        return spread(len(system.seeds) for system in self.systems)


def compare(reports: Sequence[Report]) -> Comparison:
    """Set reports side by side, those on runs that differ in their seeds alone as one system.

    Raises:
        UserError: Fewer than one report, two runs that are the same, or unlike protocols or ceilings;
            the runs and what sets them apart are named.
    """
    require_alike(reports, difference)
    ceiling = _common_ceiling(reports)
    place = {name: number for number, name in enumerate(ORDER)}
    groups = sorted(grouped(reports), key=lambda group: place.get(group.experiment, len(place)))
    counts = _sizes(reports)
    return Comparison(
        protocol=reports[0].protocol,
        systems=tuple(map(_system, groups)),
        queries={name: one.queries for name, one in counts.items()},
        galleries={name: one.gallery for name, one in counts.items()},
        chance={
            name: value for name, one in counts.items() if (value := one.chance(K)) is not None
        },
        ceiling={task: best[K] for task, best in ceiling.items() if K in best},
    )


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write a comparison as JSON; one that was there is replaced whole or not at all."""
    held = TypeAdapter(Comparison).dump_python(comparison, mode="json")
    write_atomically(path, json.dumps(held, indent=1, allow_nan=False) + "\n")


def table(comparison: Comparison) -> Table:
    """Table II's form, with each task's size and chance, its ceiling where that is known, the protocol."""
    shown = _by_task(
        f"R@{comparison.k}, text or sound to media",
        f"Asked: queries; clips: gallery; {comparison.spread()}. Protocol: {comparison.protocol.line()}.",
    )
    for column in ("Asked", "Clips", "Chance"):
        shown.add_column(column, justify="right")
    for system in comparison.systems:
        seeds = len(system.seeds)
        shown.add_column(
            "\n".join(
                [
                    _folded(system.experiment),
                    *(textwrap.fill(one, 14, break_long_words=False) for one in system.told),
                    f"{seeds} seed{'s' * (seeds > 1)}",
                ]
            ),
            justify="right",
            min_width=9,  # of an interval in brackets, which may stand beneath its value
        )
    if comparison.ceiling:
        shown.add_column("ceiling", justify="right")
    for task in (task for task in TASKS if task.name in comparison.tasks):
        cells = [str(system.cells.get(task.name, "–")) for system in comparison.systems]
        if comparison.ceiling:
            best = comparison.ceiling.get(task.name)
            cells.append("–" if best is None else f"{best:.2f}")
        counts = [str(comparison.queries[task.name]), str(comparison.galleries[task.name])]
        chance = f"{comparison.chance[task.name]:.2f}"
        shown.add_row(str(task.number or ""), task.name, *counts, chance, *cells)
    return shown


def paper_table() -> Table:
    """Table II as printed in the paper: another test set, so never in one table with ours."""
    shown = _by_task(
        "SLAVA, Table II as published: R@10",
        "AVCaps test split, 200 clips; one run each, ties and intervals not stated.",
    )
    for system in PAPER_TABLE_II:
        shown.add_column(_folded(system), justify="right")
    for task in TASKS[:7]:
        values = [line.get(task.name) for line in PAPER_TABLE_II.values()]
        cells = ["–" if value is None else f"{value:.2f}" for value in values]
        shown.add_row(str(task.number), task.name, *cells)
    return shown


def _folded(experiment: str) -> str:
    """An experiment's name over several lines, broken at its hyphens, to head a narrow column."""
    return textwrap.fill(experiment, 10)


def _by_task(title: str, caption: str) -> Table:
    """An empty table with a row to come for each task."""
    shown = plain_table(
        title,
        caption,
    )
    shown.add_column("#", justify="right")
    shown.add_column("Task", no_wrap=True)
    return shown


def _common_ceiling(reports: Sequence[Report]) -> dict[str, dict[int, float]]:
    """The ceiling that reports share, if any; refuses unlike ones."""
    bounded = [report for report in reports if report.ceiling]
    for other in bounded[1:]:
        if other.ceiling != bounded[0].ceiling:
            raise UserError(
                f"{bounded[0].run} and {other.run} carry different ceilings; evaluate both again."
            )
    return (bounded[0].ceiling if bounded else None) or {}


def _sizes(reports: Sequence[Report]) -> dict[str, TaskResult]:
    """A result of each task that tells its size: a run that cannot be asked has no queries in it."""
    found: dict[str, TaskResult] = {}
    for result in (result for report in reports for result in report.results):
        if result.name not in found or result.queries > found[result.name].queries:
            found[result.name] = result
    return found


def _system(group: Group[Report]) -> System:
    recall = {
        task.name: {k: cell for k in KS if (cell := Cell.of(_recalls(task.name, k, group.reports)))}
        for task in TASKS
    }
    return System(
        experiment=group.experiment,
        differs=group.differs,
        told=group.told,
        seeds=tuple(report.seed for report in group.reports),
        runs=tuple(report.run for report in group.reports),
        cells={name: by_k[K] for name, by_k in recall.items() if by_k},
        recall={name: by_k for name, by_k in recall.items() if by_k},
    )


def _recalls(task: str, k: int, reports: Sequence[Report]) -> list[Estimate]:
    return [
        recall
        for report in reports
        for result in report.results
        if result.name == task and (recall := result.recall(k)) is not None
    ]
