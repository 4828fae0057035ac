"""What figures of all reports share: colours, words around them, bars, files. Needs matplotlib."""

# matplotlib leaves the types of its keyword arguments open; strict mode would report every call.
# pyright: reportUnknownMemberType=false

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trichord.types import UserError
from trichord.types.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
HUES = ("#a0aec0", "#718096", "#d69e2e", "#2b6cb0", "#6b46c1", "#00838f", "#c05621", "#4a5568")
DPI = 160
LETTER = 0.082
"""The width of a letter of a row's name, in inches."""
_PER_INCH = 17  # letters of the protocol, which is set in 6 or 7 points


def new_figure(
    width: float, height: float, *, layout: Literal["constrained"] | None = None
) -> "Figure":
    """An empty white figure of so many inches.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "Figures need matplotlib; install it with `pip install 'trichord[metrics]'`."
        ) from error
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)


def add_words(figure: "Figure", title: str, note: str, protocol: str) -> None:
    """Write a title and how to read it at the top of a figure, and how it was measured at its bottom."""
    width, height = figure.get_size_inches().tolist()
    margin = 0.15 / width  # all in inches, so that text keeps its place whatever the size
    top = 1 - 0.12 / height
    figure.text(margin, top, title, fontsize=13, fontweight="bold", color=INK, va="top")
    figure.text(margin, 1 - 0.4 / height, note, fontsize=9, color=FAINT, va="top")
    text = wrap_protocol(protocol, width)
    figure.text(margin, 0.1 / height, text, fontsize=7, color=FAINT, va="bottom")


def wrap_protocol(protocol: str, width: float) -> str:
    """The protocol over as many lines as a figure of so many inches needs."""
    return textwrap.fill(f"Protocol: {protocol}", int(width * _PER_INCH))


def add_bar(axes: "Axes", row: int, value: float, interval: Sequence[float], hue: str) -> None:
    """A bar across, with a line over its interval."""
    axes.barh(row, value, height=0.62, color=hue, alpha=0.85, zorder=2)
    axes.plot(interval, [row, row], color=INK, linewidth=1.6, clip_on=False, zorder=4)


def name_rows(axes: "Axes", names: Sequence[str]) -> None:
    """One name per row, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def add_grid(axes: "Axes", axis: Literal["x", "both"] = "x") -> None:
    """A faint grid and no frame."""
    axes.grid(visible=True, axis=axis, color=GRID, linewidth=0.8)
    axes.spines[:].set_visible(False)


def save(figure: "Figure", path: Path) -> None:
    """Write a PNG; one that was there is replaced whole or not at all."""
    with replacing(path) as file:
        figure.savefig(file, format="png")
