"""Retrieval numbers as pictures: one run as bars, several systems as dots. Needs matplotlib."""

# matplotlib leaves the types of its keyword arguments open; strict mode would report every call.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trichord.evaluation import drawing
from trichord.evaluation.comparison import Comparison
from trichord.evaluation.drawing import FAINT, GRID, HUES, INK, LETTER
from trichord.evaluation.report import Report
from trichord.types import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CEILING = "#2f855a"
SEARCHED = {
    "visual": ("pictures", "#2b6cb0"),
    "audio": ("sounds", "#c05621"),
    "clip": ("clips", "#6b46c1"),
}
"""What a task searches: for people, and the hue of its bar."""
COLUMNS = 3
# All in inches, so that text keeps its size and place whatever the number of rows.
HEAD, FOOT, ASIDE = 0.95, 0.8, 0.45
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
        drawing.add_bar(axes, row, found.value, (found.low, found.high), hue)
        _number(axes, row, found.value)
        _level(axes, row, result.chance(10), FAINT, ":")
        _level(axes, row, report.best(result.name, 10), CEILING, "-")
    _dress(axes, names)
    drawing.save(figure, path)


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
    drawing.save(figure, path)


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
    drawing.name_rows(axes, names)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    drawing.plain_axes(axes, 9.0)


def _figure(names: Sequence[str], width: float, height: float, caption: Caption) -> "Figure":
    """An empty figure around panels of `width` x `height` inches, with its caption."""
    left = 0.25 + LETTER * max(map(len, names))
    whole, tall = left + width + ASIDE, HEAD + height + FOOT
    figure = drawing.new_figure(whole, tall)
    figure.subplots_adjust(
        left=left / whole, right=1 - ASIDE / whole, top=1 - HEAD / tall, bottom=FOOT / tall
    )
    drawing.add_words(figure, caption.title, caption.note, caption.protocol)
    from matplotlib.lines import Line2D  # not before `new_figure`, which says what is missing

    marks = [Line2D([], [], color=FAINT, linestyle=":", linewidth=2, label="chance")]
    if caption.ceiling:
        marks.append(Line2D([], [], color=CEILING, linewidth=2, label="best possible ranking"))
    figure.legend(
        handles=marks,
        loc="upper right",
        bbox_to_anchor=(1, 1 - 0.4 / tall + 0.07 / tall),
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    return figure
