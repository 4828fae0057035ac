"""Retrieval numbers as pictures: one run as bars, several systems as dots. Needs matplotlib."""

# matplotlib leaves the types of its keyword arguments open; strict mode would report every call.
# pyright: reportUnknownMemberType=false

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trichord.evaluation.comparison import Comparison
from trichord.evaluation.report import Report
from trichord.types import UserError
from trichord.types.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
CEILING = "#2f855a"
SEARCHED = {
    "visual": ("pictures", "#2b6cb0"),
    "audio": ("sounds", "#c05621"),
    "clip": ("clips", "#6b46c1"),
}
"""What a task searches: for people, and the hue of its bar."""
HUES = ("#a0aec0", "#718096", "#d69e2e", "#2b6cb0", "#6b46c1", "#00838f", "#c05621", "#4a5568")
DPI = 160
COLUMNS = 3
# All in inches, so that text keeps its size and place whatever the number of rows.
HEAD, FOOT, ASIDE, LETTER = 0.95, 0.8, 0.45, 0.082
PANEL_WIDTH, PANEL_TITLE, ROW = 2.8, 0.42, 0.26


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """The words around a figure: above it what is shown, beneath it how it was measured."""

    title: str
    note: str
    protocol: str
    ceiling: bool


def draw_report(report: Report, path: Path) -> None:
    """Draw R@10 of every task with its interval, the chance level and, where known, the ceiling.

    Raises:
        UserError: matplotlib is not installed, or no task had anything to ask.
    """
    answered = [(r, found) for r in report.results if (found := r.recall(10)) is not None]
    if not answered:
        raise UserError(f"{report.run}: no task had a query, so there is nothing to draw.")
    names = [
        f"{_spoken(result.name)} ({result.queries} / {result.gallery})" for result, _ in answered
    ]
    caption = Caption(
        title=f"{report.experiment}, seed {report.seed}: R@10 by task",
        note="bar: R@10, line: its 95 % interval (queries / clips searched)",
        protocol=report.protocol.line(),
        ceiling=report.ceiling is not None,
    )
    figure = _figure(names, 5.2, 0.4 * len(names), caption)
    axes = figure.add_subplot()
    for row, (result, found) in enumerate(answered):
        _, hue = SEARCHED[result.name.split("<-")[0]]
        axes.barh(row, found.value, height=0.62, color=hue, alpha=0.85, zorder=2)
        axes.plot(
            [found.low, found.high], [row, row], color=INK, linewidth=1.6, clip_on=False, zorder=4
        )
        _number(axes, row, found.value)
        _level(axes, row, result.chance(10), FAINT, ":")
        _level(axes, row, report.best(result.name, 10), CEILING, "-")
    _dress(axes, names)
    with replacing(path) as file:
        figure.savefig(file, format="png")


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """Draw one panel a task: a dot a system and its spread over seeds, chance, the known ceiling.

    Raises:
        UserError: matplotlib is not installed, or no task had anything to ask.
    """
    tasks = comparison.tasks
    if not tasks:
        raise UserError("No run answers any task, so there is nothing to draw.")
    names = [system.heading for system in comparison.systems]
    lines, columns = -(-len(tasks) // COLUMNS), min(COLUMNS, len(tasks))
    line = PANEL_TITLE + ROW * len(names)
    caption = Caption(
        title=f"R@{comparison.k} by task and system",
        note=f"dot: R@{comparison.k}, line: {comparison.spread().replace('mean ', '')} "
        "(queries / clips searched)",
        protocol=comparison.protocol.line(),
        ceiling=bool(comparison.ceiling),
    )
    width = PANEL_WIDTH * columns + ASIDE * (columns - 1)
    figure = _figure(names, max(width, 5.2), line * lines, caption)
    figure.subplots_adjust(
        wspace=ASIDE / PANEL_WIDTH, hspace=PANEL_TITLE / (line - PANEL_TITLE) if lines > 1 else 0
    )
    panels = list(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes, task in zip(panels, tasks, strict=False):
        _draw_panel(axes, comparison, task)
        _dress(axes, names)
    for number, axes in enumerate(panels):
        axes.set_visible(number < len(tasks))
        # The last panel of a column carries the scale, also above an empty place.
        axes.tick_params(labelbottom=number + columns >= len(tasks))
    with replacing(path) as file:
        figure.savefig(file, format="png")


def _draw_panel(axes: "Axes", comparison: Comparison, task: str) -> None:
    for row, system in enumerate(comparison.systems):
        axes.axhline(row, color=GRID, linewidth=0.8, zorder=0)
        if (cell := system.cells.get(task)) is None:
            axes.text(1.03, row, "–", va="center", color=FAINT, fontsize=8)
            continue
        hue = HUES[row % len(HUES)]
        axes.plot(cell.span, [row, row], color=hue, linewidth=2.4, clip_on=False, zorder=3)
        axes.plot(cell.mean, row, "o", color=hue, markersize=6.5, clip_on=False, zorder=4)
        _number(axes, row, cell.mean)
    axes.axvline(comparison.chance[task], color=FAINT, linestyle=":", linewidth=1.6, zorder=1)
    if (best := comparison.ceiling.get(task)) is not None:
        axes.axvline(best, color=CEILING, linewidth=1.6, zorder=1)
    axes.set_title(_spoken(task), fontsize=9, color=INK, loc="left", pad=4)
    size = f"{comparison.queries[task]} / {comparison.galleries[task]}"
    axes.set_title(size, fontsize=7.5, color=FAINT, loc="right", pad=4)


def _spoken(task: str) -> str:
    """A task's name for people: what is searched, then what it is asked with."""
    gallery, query = task.split("<-")
    searched, _ = SEARCHED[gallery]
    asked = "sounds" if query == "sound" else f"{query.replace('_', '-')} captions"
    return f"{searched} ← {asked}"


def _number(axes: "Axes", row: int, value: float) -> None:
    axes.text(1.03, row, f"{value:.2f}", va="center", ha="left", color=INK, fontsize=8.5)


def _level(axes: "Axes", row: int, value: float | None, hue: str, style: str) -> None:
    """A short upright mark across one bar."""
    if value is not None:
        axes.plot([value, value], [row - 0.42, row + 0.42], style, color=hue, linewidth=2, zorder=3)


def _dress(axes: "Axes", names: Sequence[str]) -> None:
    """A share from 0 to 1 across, the names down, nothing else."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.grid(visible=True, axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def _figure(names: Sequence[str], width: float, height: float, caption: Caption) -> "Figure":
    """An empty figure around panels of `width` x `height` inches, with its caption."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ImportError as error:
        raise UserError(
            "Figures need matplotlib; install it with `pip install 'trichord[metrics]'`."
        ) from error
    left = 0.25 + LETTER * max(map(len, names))
    whole, tall = left + width + ASIDE, HEAD + height + FOOT
    figure = Figure(figsize=(whole, tall), dpi=DPI, facecolor="white")
    figure.subplots_adjust(
        left=left / whole, right=1 - ASIDE / whole, top=1 - HEAD / tall, bottom=FOOT / tall
    )
    margin = 0.15 / whole
    above, below = 1 - 0.12 / tall, 1 - 0.4 / tall
    figure.text(margin, above, caption.title, fontsize=13, fontweight="bold", color=INK, va="top")
    marks = [Line2D([], [], color=FAINT, linestyle=":", linewidth=2, label="chance")]
    if caption.ceiling:
        marks.append(Line2D([], [], color=CEILING, linewidth=2, label="best possible ranking"))
    figure.text(margin, below, caption.note, fontsize=9, color=FAINT, va="top")
    figure.legend(
        handles=marks,
        loc="upper right",
        bbox_to_anchor=(1, below + 0.07 / tall),
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    protocol = textwrap.fill(f"Protocol: {caption.protocol}", int(whole * 17))
    figure.text(margin, 0.1 / tall, protocol, fontsize=7, color=FAINT, va="bottom")
    return figure
