"""Numbers as pictures: one run as bars, several systems as a panel a row and measure. Needs matplotlib."""

# matplotlib leaves the types of its keyword arguments open; strict mode would report every call.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trichord.evaluation import drawing
from trichord.evaluation.comparison import R_AT_10, Comparison, Style, SystemRow
from trichord.evaluation.drawing import FAINT, GRID, HUES, INK, LETTER
from trichord.evaluation.report import RetrievalReport
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
# All in inches, so that text keeps its size and place whatever the number of rows.
HEAD, FOOT, ASIDE = 0.95, 0.8, 0.45
PANEL_TITLE, ROW = 0.42, 0.26


def draw_report(report: RetrievalReport, path: Path) -> None:
    """Draw R@10 of every task with its interval, the chance level and, where known, the ceiling.

    Raises:
        UserError: matplotlib is not installed, or no task had anything to ask.
    """
    rows = [row for row in report.rows if R_AT_10 in row.estimates]
    if not rows:
        raise UserError(f"{report.run}: no task had a query, so there is nothing to draw.")
    names = [
        f"{_spoken(row.name)} ({row.sizes['queries']} / {row.sizes['gallery']})" for row in rows
    ]
    figure = _figure(names, 5.2, 0.4 * len(names))
    drawing.add_words(
        figure,
        f"{report.experiment}, seed {report.seed}: {R_AT_10} by task",
        f"bar: {R_AT_10}, line: its 95 % interval (queries / clips searched)",
        report.protocol.line(),
    )
    _add_legend(figure, chance=True, ceiling=any(row.ceiling for row in report.rows))
    axes = figure.add_subplot()
    for number, row in enumerate(rows):
        value = row.estimates[R_AT_10]
        _, hue = SEARCHED[row.name.split("<-")[0]]
        drawing.add_bar(axes, number, value.value, (value.low, value.high), hue)
        _write(axes, number, f"{value.value:.2f}")
        _level(axes, number, row.chance.get(R_AT_10), FAINT, ":")
        _level(axes, number, row.ceiling.get(R_AT_10), CEILING, "-")
    drawing.name_rows(axes, names)
    _dress(axes, 1.0, whole=True)
    drawing.save(figure, path)


def draw_comparison(comparison: Comparison, path: Path, style: Style | None = None) -> None:
    """Draw a panel for each row and measure: a mark for each system with its spread, chance, the ceiling.

    Raises:
        UserError: matplotlib is not installed, or no system has any of the measures.
    """
    style = style or Style()
    rows = comparison.rows(style.measures[0])
    if not rows:
        raise UserError("No run answers any task, so there is nothing to draw.")
    what = style.measures[0] if len(style.measures) == 1 else "score"
    panels = [(name, measure) for name in rows for measure in style.measures]
    names = [system.heading for system in comparison.systems]
    columns = min(len(style.measures) if len(style.measures) > 1 else 3, len(panels))
    across = 2.8 if columns <= 3 else 1.75
    lines, line = -(-len(panels) // columns), PANEL_TITLE + ROW * len(names)
    width = across * columns + ASIDE * (columns - 1)
    figure = _figure(names, max(width, 5.2), line * lines)
    figure.subplots_adjust(
        wspace=ASIDE / across, hspace=PANEL_TITLE / (line - PANEL_TITLE) if lines > 1 else 0
    )
    drawing.add_words(
        figure,
        comparison.title,
        f"{'bar' if style.bars else 'dot'}: {what}, "
        f"line: {comparison.spread().replace('mean ', '')} ({' / '.join(style.sizes.values())})",
        comparison.protocol,
    )
    every = [one for some in rows.values() for one in some]
    _add_legend(figure, chance=any(o.chance for o in every), ceiling=any(o.ceiling for o in every))
    drawn = list(figure.subplots(lines, columns, sharex="col", sharey=True, squeeze=False).flat)
    for axes, (name, measure) in zip(drawn, panels, strict=False):
        _draw_panel(axes, comparison, name, measure, style)
        axes.set_title(_sizes(rows[name], style), fontsize=7.5, color=FAINT, loc="right", pad=4)
        drawing.name_rows(axes, names)
        # The end of a measure's scale is the same for all rows.
        ends = [row.cells[measure].span[1] for row in every if measure in row.cells]
        highest = max([*ends, 0.01]) * (100 if style.percent else 1)
        _dress(axes, highest, whole=style.whole)
    for number, axes in enumerate(drawn):
        axes.set_visible(number < len(panels))
        # The last panel of a column carries the scale, also above an empty place.
        axes.tick_params(labelbottom=number + columns >= len(panels))
    drawing.save(figure, path)


def _draw_panel(
    axes: "Axes", comparison: Comparison, name: str, measure: str, style: Style
) -> None:
    scale = 100 if style.percent else 1
    for row, system in enumerate(comparison.systems):
        cell = system.cell(name, measure)
        if not style.bars:
            axes.axhline(row, color=GRID, linewidth=0.8, zorder=0)
        if cell is None:
            _write(axes, row, "–", FAINT)
            continue
        middle, *span = (scale * value for value in (cell.mean, *cell.span))
        hue = HUES[(row + 3 * style.bars) % len(HUES)]
        if style.bars:
            drawing.add_bar(axes, row, middle, span, hue)
        else:
            axes.plot(span, [row, row], color=hue, linewidth=2.4, clip_on=False, zorder=3)
            axes.plot(middle, row, "o", color=hue, markersize=6.5, clip_on=False, zorder=4)
        _write(axes, row, f"{middle:.1f}" if style.percent else f"{middle:.2f}")
    rows = comparison.rows(measure).get(name, [])
    for chance in {one.chance[measure] for one in rows if measure in one.chance}:
        axes.axvline(chance, color=FAINT, linestyle=":", linewidth=1.6, zorder=1)
    for best in {one.ceiling[measure] for one in rows if measure in one.ceiling}:
        axes.axvline(best, color=CEILING, linewidth=1.6, zorder=1)
    label = _spoken(name) if len(style.measures) == 1 else f"{measure}, {_spoken(name)}"
    axes.set_title(label, fontsize=9, color=INK, loc="left", pad=4)


def draw_curves(curves: Mapping[str, Comparison], path: Path) -> None:
    """R@10 against the mixing ratio, one curve a comparison with its spread as a band (Figure 4).

    The systems of each are named by their ratio, and have one task.
    """
    figure = drawing.new_figure(6.0, 4.8, layout="constrained")
    axes = figure.subplots()
    for number, (name, comparison) in enumerate(curves.items()):
        ((task, rows),) = comparison.rows(R_AT_10).items()
        cells = {
            float(system.name): cell
            for system in comparison.systems
            if (cell := system.cell(task, R_AT_10)) is not None
        }
        places, hue = list(cells), HUES[2:][number % 6]
        low, high = zip(*(cell.span for cell in cells.values()), strict=True)
        axes.fill_between(places, low, high, color=hue, alpha=0.18, linewidth=0)
        middle = [cell.mean for cell in cells.values()]
        sizes = f"{rows[0].sizes['queries']} queries, {rows[0].sizes['gallery']} clips"
        axes.plot(places, middle, "o-", color=hue, markersize=4, label=f"{name} ({sizes})")
    axes.set_xlabel("audio type: 0 verbal ... 1 nonverbal", color=INK, fontsize=9)
    axes.set_ylabel(R_AT_10, color=INK, fontsize=9)
    drawing.add_grid(axes, "both")
    axes.legend(frameon=False, fontsize=9)
    figure.suptitle("Sound token", fontsize=12, fontweight="bold", color=INK, x=0.01, ha="left")
    protocols = " | ".join(f"{name}: {one.protocol}" for name, one in curves.items())
    text = drawing.wrap_protocol(protocols, figure.get_figwidth())
    figure.supxlabel(text, fontsize=7, color=FAINT, x=0.01, ha="left")
    drawing.save(figure, path)


def _spoken(name: str) -> str:
    """A row's name for people; of a task what is searched, then what it is asked with."""
    gallery, arrow, query = name.partition("<-")
    if not arrow:
        return name.replace("_", "-")
    searched, _ = SEARCHED[gallery]
    asked = "sounds" if query == "sound" else f"{query.replace('_', '-')} captions"
    return f"{searched} ← {asked}"


def _sizes(rows: Iterable[SystemRow], style: Style) -> str:
    """How large a row is; each size where systems have galleries of their own."""
    return "; ".join(
        dict.fromkeys(" / ".join(str(row.sizes[name]) for name in style.sizes) for row in rows)
    )


def _write(axes: "Axes", row: int, text: str, ink: str = INK) -> None:
    """A number at the right of a row, outside the panel."""
    beside = axes.get_yaxis_transform()
    axes.text(1.03, row, text, transform=beside, va="center", ha="left", color=ink, fontsize=8.5)


def _level(axes: "Axes", row: int, value: float | None, hue: str, style: str) -> None:
    """A short upright mark across one bar."""
    if value is not None:
        axes.plot([value, value], [row - 0.42, row + 0.42], style, color=hue, linewidth=2, zorder=3)


def _dress(axes: "Axes", highest: float, *, whole: bool) -> None:
    """The scale across, and nothing else but the names down."""
    axes.set_xlim(0, 1 if whole else highest)
    if whole:
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.tick_params(length=0, labelsize=9.0, labelcolor=INK)
    drawing.add_grid(axes)
    axes.set_axisbelow(True)


def _figure(names: Sequence[str], width: float, height: float) -> "Figure":
    """An empty figure around panels of `width` x `height` inches, with room for the words around."""
    left = 0.25 + LETTER * max(map(len, names))
    whole, tall = left + width + ASIDE, HEAD + height + FOOT
    figure = drawing.new_figure(whole, tall)
    figure.subplots_adjust(
        left=left / whole, right=1 - ASIDE / whole, top=1 - HEAD / tall, bottom=FOOT / tall
    )
    return figure


def _add_legend(figure: "Figure", *, chance: bool, ceiling: bool) -> None:
    from matplotlib.lines import Line2D  # not before `new_figure`, which says what is missing

    marks: list[Line2D] = []
    if chance:
        marks.append(Line2D([], [], color=FAINT, linestyle=":", linewidth=2, label="chance"))
    if ceiling:
        marks.append(Line2D([], [], color=CEILING, linewidth=2, label="best possible ranking"))
    tall = figure.get_figheight()
    figure.legend(
        handles=marks,
        loc="upper right",
        bbox_to_anchor=(1, 1 - 0.4 / tall + 0.07 / tall),
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
