"""Caption scores as a picture: a panel for each kind of caption and metric. Needs matplotlib."""

# matplotlib leaves the types of its keyword arguments open; strict mode would report every call.
# pyright: reportUnknownMemberType=false

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from trichord.evaluation.captions.comparison import CaptionComparison
from trichord.evaluation.captions.report import COLUMNS
from trichord.evaluation.figures import DPI, FAINT, GRID, HUES, INK, LETTER
from trichord.types import CaptionKind, UserError
from trichord.types.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# In inches, so that text keeps its size and place whatever the number of rows.
HEAD, FOOT, PANEL, ROW, TITLE, NUMBER = 0.8, 0.7, 1.75, 0.3, 0.38, 0.55


def draw_captions(comparison: CaptionComparison, path: Path) -> None:
    """Draw bars of the four metrics by kind of caption and system, with their spread.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "Figures need matplotlib; install it with `pip install 'trichord[metrics]'`."
        ) from error
    names = [system.heading for system in comparison.systems]
    lines, line = len(comparison.kinds), TITLE + ROW * len(names)
    left = 0.25 + LETTER * max(map(len, names))
    whole = left + len(COLUMNS) * (PANEL + NUMBER)
    tall = HEAD + line * lines + FOOT
    figure = Figure(figsize=(whole, tall), dpi=DPI, facecolor="white")
    figure.subplots_adjust(
        left=left / whole,
        right=1 - NUMBER / whole,
        top=1 - (HEAD + TITLE) / tall,
        bottom=FOOT / tall,
        wspace=NUMBER / PANEL,
        hspace=TITLE / (line - TITLE) if lines > 1 else 0,
    )
    panels = figure.subplots(lines, len(COLUMNS), squeeze=False, sharex="col", sharey=True)
    for row, kind in enumerate(comparison.kinds):
        for column, metric in enumerate(COLUMNS):
            _draw_panel(panels[row][column], comparison, kind, metric)
    for column, metric in enumerate(COLUMNS):
        panels[0][column].set_xlim(0, _most(comparison, metric))
    panels[0][0].set_yticks(range(len(names)), names)
    panels[0][0].set_ylim(len(names) - 0.5, -0.5)
    margin = 0.15 / whole
    figure.text(
        margin, 1 - 0.12 / tall, "Captions, scores x 100",
        fontsize=13, fontweight="bold", color=INK, va="top",
    )  # fmt: skip
    note = f"bar: score, line: {comparison.spread().replace('mean ', '')}"
    figure.text(margin, 1 - 0.4 / tall, note, fontsize=9, color=FAINT, va="top")
    protocol = textwrap.fill(f"Protocol: {comparison.protocol.line()}", int(whole * 17))
    figure.text(margin, 0.08 / tall, protocol, fontsize=6, color=FAINT, va="bottom")
    with replacing(path) as file:
        figure.savefig(file, format="png")


def _draw_panel(
    axes: "Axes", comparison: CaptionComparison, kind: CaptionKind, metric: str
) -> None:
    for row, system in enumerate(comparison.systems):
        cell = system.cells.get(kind, {}).get(metric)
        if cell is None:
            axes.text(0, row, "–", va="center", color=FAINT, fontsize=8)
            continue
        hue = HUES[(row + 3) % len(HUES)]
        low, high = (100 * end for end in cell.span)
        axes.barh(row, 100 * cell.mean, height=0.62, color=hue, alpha=0.85, zorder=2)
        axes.plot([low, high], [row, row], color=INK, linewidth=1.6, clip_on=False, zorder=4)
        axes.annotate(
            f"{100 * cell.mean:.1f}",
            (1.03, row),
            xycoords=("axes fraction", "data"),
            va="center",
            color=INK,
            fontsize=8.5,
        )
    title = f"{metric}, {kind.replace('_', '-')}"
    axes.set_title(title, fontsize=9, color=INK, loc="left", pad=4)
    clips = f"{comparison.protocol.asked[kind].clips} clips"
    axes.set_title(clips, fontsize=7, color=FAINT, loc="right", pad=4)
    axes.tick_params(length=0, labelsize=8, labelcolor=INK)
    axes.grid(visible=True, axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def _most(comparison: CaptionComparison, metric: str) -> float:
    """The end of a metric's scale: the same for all kinds."""
    ends = [
        100 * cells[metric].span[1]
        for system in comparison.systems
        for cells in system.cells.values()
        if metric in cells
    ]
    return max(*ends, 1.0) if ends else 1.0
