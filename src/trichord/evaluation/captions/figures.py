"""Caption scores as a picture: a panel for each kind of caption and metric. Needs matplotlib."""

# matplotlib leaves the types of its keyword arguments open; strict mode would report every call.
# pyright: reportUnknownMemberType=false

from pathlib import Path
from typing import TYPE_CHECKING

from trichord.evaluation import drawing
from trichord.evaluation.captions.comparison import CaptionComparison
from trichord.evaluation.captions.report import COLUMNS
from trichord.evaluation.drawing import FAINT, HUES, INK, LETTER
from trichord.types import CaptionKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# In inches, so that text keeps its size and place whatever the number of rows.
HEAD, FOOT, PANEL, ROW, TITLE, NUMBER = 0.8, 0.7, 1.75, 0.3, 0.38, 0.55


def draw_captions(comparison: CaptionComparison, path: Path) -> None:
    """Draw bars of the four metrics by kind of caption and system, with their spread.

    Raises:
        UserError: matplotlib is not installed.
    """
    names = [system.heading for system in comparison.systems]
    lines, line = len(comparison.kinds), TITLE + ROW * len(names)
    left = 0.25 + LETTER * max(map(len, names))
    whole = left + len(COLUMNS) * (PANEL + NUMBER)
    tall = HEAD + line * lines + FOOT
    figure = drawing.new_figure(whole, tall)
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
    drawing.name_rows(panels[0][0], names)
    note = f"bar: score, line: {comparison.spread().replace('mean ', '')}"
    protocol = comparison.protocol.line()
    drawing.add_words(figure, "Captions, scores x 100", note, protocol, points=6.0, bottom=0.08)
    drawing.save(figure, path)


def _draw_panel(
    axes: "Axes", comparison: CaptionComparison, kind: CaptionKind, metric: str
) -> None:
    for row, system in enumerate(comparison.systems):
        cell = system.cells.get(kind, {}).get(metric)
        if cell is None:
            axes.text(0, row, "–", va="center", color=FAINT, fontsize=8)
            continue
        hue = HUES[(row + 3) % len(HUES)]
        low, high = cell.span
        drawing.add_bar(axes, row, 100 * cell.mean, (100 * low, 100 * high), hue)
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
    drawing.plain_axes(axes, 8.0)


def _most(comparison: CaptionComparison, metric: str) -> float:
    """The end of a metric's scale: the same for all kinds."""
    ends = [
        100 * cells[metric].span[1]
        for system in comparison.systems
        for cells in system.cells.values()
        if metric in cells
    ]
    return max(*ends, 1.0) if ends else 1.0
