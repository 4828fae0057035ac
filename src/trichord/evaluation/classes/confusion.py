"""Which classes are taken for which, as a picture. Needs matplotlib."""

# matplotlib leaves the types of its keyword arguments open; strict mode would report every call.
# pyright: reportUnknownMemberType=false

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from trichord.evaluation import drawing
from trichord.evaluation.classes.classification import ClassReport
from trichord.evaluation.drawing import GRID, INK
from trichord.evaluation.tables import in_style
from trichord.types.arrays import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNREAD = "(not read)"
SHADES = ("#ffffff", "#2b6cb0")
# All in inches, so that names stay readable however many there are.
HEAD, ASIDE = 0.85, 0.5
LEAST = 5.2


@dataclass(frozen=True, slots=True)
class CellSize:
    """How large a cell and its letters are; `numbers` are written into cells of few classes."""

    cell: float
    points: float
    numbers: bool

    @property
    def letter(self) -> float:
        """Width of a letter in inches."""
        return self.points * 0.0072


def cell_size(classes: int) -> CellSize:
    """Ten classes get large cells with counts, a hundred small ones whose names can still be read."""
    if classes <= 20:
        return CellSize(0.42, 9.0, numbers=True)
    if classes <= 60:
        return CellSize(0.17, 7.5, numbers=False)
    return CellSize(0.125, 6.0, numbers=False)


def draw_confusion(report: ClassReport, path: Path) -> None:
    """Draw a line for each class and, across, what its clips were taken for, shaded by share.

    Raises:
        UserError: matplotlib is not installed.
    """
    counts = np.array(report.every.confusion, dtype=np.int64)
    answers = list(report.classes)
    if counts[:, -1].any():
        answers.append(UNREAD)
    counts = counts[:, : len(answers)]
    lengths = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    scale = cell_size(len(answers))
    figure, axes = _canvas(report, answers, scale)
    shares = counts / lengths
    _paint(axes, shares)
    cells = zip(*(place.tolist() for place in np.nonzero(counts)), strict=True)
    for row, column in cells if scale.numbers else ():
        ink = "white" if shares[row, column] > 0.5 else INK
        text = str(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(len(answers)), answers, rotation=90)
    axes.set_yticks(range(len(report.classes)), report.classes)
    axes.tick_params(length=0, labelsize=scale.points, labelcolor=INK, pad=2, which="both")
    drawing.save(figure, path)


def _canvas(report: ClassReport, answers: list[str], scale: CellSize) -> "tuple[Figure, Axes]":
    """An empty square matrix with its words: what is shown above it, how it was measured beneath."""
    names = 0.35 + scale.letter * max(map(len, answers))
    width, height = scale.cell * len(answers), scale.cell * len(report.classes)
    whole = max(names + width + ASIDE, LEAST)
    lines = drawing.wrap_protocol(report.protocol.line(), whole).count("\n") + 1
    foot = names + 0.3 + 0.12 * lines
    tall = HEAD + height + foot
    figure = drawing.new_figure(whole, tall)
    axes = figure.add_axes((names / whole, foot / tall, width / whole, height / tall))
    title = f"{report.run}: {report.protocol.kind}, {report.protocol.modality}"
    accuracy = report.every.estimates["accuracy"].percent()
    reached = f"accuracy {accuracy} % of {sum(report.protocol.tested)} clips"
    if len(report.rows) > 1:
        reached += f", over folds {in_style(report.over_folds(), percent=True)}"
    note = f"{reached}\nrow: class, column: taken for it, shade: share of the row"
    drawing.add_words(figure, title, note, report.protocol.line())
    return figure, axes


def _paint(axes: "Axes", shares: Float[ndarray, "class answer"]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("shares", SHADES)
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_xticks(np.arange(-0.5, shares.shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, len(shares)), minor=True)
    axes.grid(which="minor", color=GRID, linewidth=0.5)
    axes.spines[:].set_color(GRID)
