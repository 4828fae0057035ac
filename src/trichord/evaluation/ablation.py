"""Ablations: the same measurement of several variants, seed by seed, as table, JSON and figure."""

# matplotlib leaves the types of its keyword arguments open; strict mode would report every call.
# pyright: reportUnknownMemberType=false

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from trichord.evaluation import drawing
from trichord.evaluation.drawing import FAINT, HUES, INK
from trichord.evaluation.protocol import difference
from trichord.evaluation.report import Report
from trichord.evaluation.seeds import grouped, in_one_line
from trichord.types import UserError
from trichord.types.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RECALLS = (1, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One variant's numbers on one task: a value a seed for each R@k and for the median rank."""

    recall: dict[int, tuple[float, ...]]
    median_rank: tuple[float, ...]
    queries: int
    gallery: int
    ceiling: float | None
    """The best possible R@10, where it is known."""

    def spread(self, k: int) -> tuple[float, float]:
        """Mean and standard deviation of R@k over seeds (0 with one seed)."""
        values = self.recall[k]
        return mean(values), stdev(values) if len(values) > 1 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row: what was varied, and its numbers by task."""

    name: str
    seeds: tuple[int, ...]
    cells: dict[str, Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """Variants side by side, in the order in which they were measured."""

    title: str
    protocol: str
    variants: tuple[Variant, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task that a variant answers."""
        return tuple(dict.fromkeys(task for one in self.variants for task in one.cells))


def variant(name: str, reports: Sequence[Report], tasks: Sequence[str] = ()) -> Variant:
    """The numbers of one variant, a report a seed.

    Args:
        name: What was varied.
        reports: One a seed.
        tasks: Those to keep; all that were asked if empty.

    Raises:
        UserError: The reports were measured in different ways, or are on runs that differ in more than
            their seeds, or none of the tasks was asked.
    """
    for other in grouped(reports)[1:]:
        raise UserError(
            f"{name}: {reports[0].run} and {other.reports[0].run} are no seeds of one experiment "
            f"({in_one_line(other.experiment, other.told)}): measure them apart."
        )
    for report in reports[1:]:
        if told := difference(reports[0].protocol, report.protocol):
            raise UserError(f"{name}: its seeds were measured differently ({told[0]}).")
    asked = [r for r in reports[0].results if r.forward and (not tasks or r.name in tasks)]
    if not asked:
        raise UserError(
            f"{name}: the clips allow none of its tasks ({', '.join(tasks)}): add captions or media."
        )
    return Variant(
        name=name,
        seeds=tuple(report.seed for report in reports),
        cells={result.name: _cell(reports, result.name) for result in asked},
    )


def _cell(reports: Sequence[Report], task: str) -> Cell:
    results = [next(r for r in report.results if r.name == task) for report in reports]
    found = [result.forward for result in results if result.forward is not None]
    return Cell(
        recall={k: tuple(one.recall[k].value for one in found) for k in RECALLS},
        median_rank=tuple(one.median_rank for one in found),
        queries=results[0].queries,
        gallery=results[0].gallery,
        ceiling=reports[0].best(task, 10),
    )


def write_ablation(ablation: Ablation, path: Path) -> None:
    """Write every number of every seed as JSON."""
    write_atomically(path, json.dumps(asdict(ablation), indent=1) + "\n")


def table(ablation: Ablation) -> Table:
    """Variants down; R@1, R@5, R@10 and median rank of each task across, mean ± deviation."""
    seeds = ablation.variants[0].seeds
    shown = Table(
        title=ablation.title,
        caption=f"Mean ± standard deviation over seeds {', '.join(map(str, seeds))}. "
        f"Protocol: {ablation.protocol}",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    shown.add_column("", no_wrap=True)
    shown.add_column("task", no_wrap=True)
    for name in ("asked", "clips", "R@1", "R@5", "R@10", "best R@10", "median rank"):
        shown.add_column(name, justify="right")
    for one in ablation.variants:
        for task, cell in one.cells.items():
            recalls = ["{:.3f} ± {:.3f}".format(*cell.spread(k)) for k in RECALLS]
            best = "–" if cell.ceiling is None else f"{cell.ceiling:.2f}"
            shown.add_row(
                one.name, task, str(cell.queries), str(cell.gallery), *recalls, best,
                f"{mean(cell.median_rank):.1f}",
            )  # fmt: skip
    return shown


def draw_rows(ablation: Ablation, path: Path) -> None:
    """A panel a task: a dot a variant with a line to either side, its deviation over seeds."""
    tasks, variants = ablation.tasks, ablation.variants
    figure, axes = _panels(len(tasks), height=0.9 + 0.34 * len(variants))
    for axis, task in zip(axes, tasks, strict=True):
        for row, one in enumerate(variants):
            if (cell := one.cells.get(task)) is None:
                continue
            middle, off = cell.spread(10)
            axis.plot([middle - off, middle + off], [row, row], color=HUES[3], linewidth=2.4)
            axis.plot(cell.recall[10], [row] * len(cell.recall[10]), "|", color=FAINT)
            axis.plot(middle, row, "o", color=HUES[3], markersize=6.5)
        drawing.name_rows(axis, [one.name for one in variants])
        axis.set_xlabel("R@10", color=INK, fontsize=9)
        title = f"{task}\n{_sizes(ablation, task)}"
        axis.set_title(title, fontsize=9, color=INK, loc="left")
        drawing.add_grid(axis)
    _finish(figure, ablation, path)


def draw_curves(curves: dict[str, Ablation], path: Path) -> None:
    """R@10 against the mixing ratio, one curve an ablation with its band over seeds (Figure 4)."""
    figure, (axis,) = _panels(1, height=3.6)
    for number, (name, ablation) in enumerate(curves.items()):
        places = [float(one.name) for one in ablation.variants]
        task = ablation.tasks[0]
        spreads = [one.cells[task].spread(10) for one in ablation.variants]
        middle = [value for value, _ in spreads]
        low = [value - off for value, off in spreads]
        high = [value + off for value, off in spreads]
        hue = HUES[2:][number % 6]
        axis.fill_between(places, low, high, color=hue, alpha=0.18, linewidth=0)
        label = f"{name} ({_sizes(ablation, task)})"
        axis.plot(places, middle, "o-", color=hue, markersize=4, label=label)
    axis.set_xlabel("sound token: 0 verbal ... 1 nonverbal", color=INK, fontsize=9)
    axis.set_ylabel("R@10", color=INK, fontsize=9)
    drawing.add_grid(axis, "both")
    axis.legend(frameon=False, fontsize=9)
    protocols = " | ".join(f"{name}: {ablation.protocol}" for name, ablation in curves.items())
    _finish(figure, Ablation(title="Sound token", protocol=protocols, variants=()), path)


def _sizes(ablation: Ablation, task: str) -> str:
    """Queries and clips of a task; each size where variants have galleries of their own."""
    held = (one.cells[task] for one in ablation.variants if task in one.cells)
    sizes = dict.fromkeys(f"{cell.queries} queries, {cell.gallery} clips" for cell in held)
    return "; ".join(sizes)


def _panels(count: int, *, height: float) -> tuple["Figure", list["Axes"]]:
    figure = drawing.new_figure(max(6.0, 3.4 * count), height + 1.2, layout="constrained")
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False).flat)


def _finish(figure: "Figure", ablation: Ablation, path: Path) -> None:
    figure.suptitle(ablation.title, fontsize=12, fontweight="bold", color=INK, x=0.01, ha="left")
    protocol = drawing.wrap_protocol(ablation.protocol, figure.get_figwidth())
    figure.supxlabel(protocol, fontsize=7, color=FAINT, x=0.01, ha="left")
    drawing.save(figure, path)
