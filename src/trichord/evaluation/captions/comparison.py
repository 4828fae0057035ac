"""Captions of several runs side by side, in the form of CLIP4VLA's Tables 3 and 4."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter
from rich.table import Table

from trichord.evaluation.bootstrap import Estimate
from trichord.evaluation.captions.protocol import CaptionProtocol, difference
from trichord.evaluation.captions.report import COLUMNS, CaptionReport
from trichord.evaluation.seeds import Cell, Group, grouped, in_one_line, require_alike, spread
from trichord.evaluation.tables import plain_table
from trichord.types import CaptionKind
from trichord.types.files import write_atomically

_PAPER_COLUMNS = ("BLEU4", "METEOR", "ROUGE", "CIDEr")
_MSRVTT = {
    "ORG-TRL": (43.6, 28.8, 62.1, 50.9),
    "SemSynAN": (44.3, 28.8, 62.5, 50.1),
    "APML": (41.9, 29.9, 62.6, 49.8),
    "UniVL": (42.2, 28.8, 61.2, 49.9),
    "CMG": (43.7, 29.4, 62.8, 55.9),
    "Clip4Caption": (46.1, 30.7, 64.8, 57.7),
    "CLIP4VLA": (46.7, 31.1, 64.4, 58.0),
}
_VATEX = {
    "Shared E": (28.4, 21.7, 47.0, 45.1),
    "Shared E-D": (27.9, 21.6, 46.8, 44.2),
    "ORG-TRL": (32.1, 22.2, 48.9, 49.7),
    "SCST-C-B-F": (33.3, 22.8, 49.6, 54.6),
    "CLIP4VLA": (36.4, 25.0, 54.7, 59.7),
}
PAPER: Mapping[str, tuple[str, Mapping[str, tuple[float, ...]]]] = {
    "Table 3: MSR-VTT": (
        "MSR-VTT, 2,617 test clips with sound, 20 references a clip; nlg-eval without tokenisation; "
        "beams 5, no length penalty; one run, the epoch chosen by CIDEr on the test split.",
        _MSRVTT,
    ),
    "Table 4: VATEX": (
        "VATEX, 5,698 test clips with sound, 10 references a clip; nlg-eval without tokenisation; "
        "beams 5, no length penalty; one run, the epoch chosen by CIDEr on the test split.",
        _VATEX,
    ),
}
"""CLIP4VLA's Tables 3 and 4 as printed, and how they were measured as far as paper and code say."""
OTHER_CLIPS = (
    "The paper's values are of other clips, references and data for training than the table above: "
    "no number of the one can be held against a number of the other."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionSystem:
    """All seeds of one experiment on the same clips; `cells` by kind of caption, then metric.

    `differs` is what sets it apart from others of the same name, values by setting; `told` as much of
    that as a heading tells.
    """

    experiment: str
    differs: dict[str, str]
    told: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    cells: dict[CaptionKind, dict[str, Cell]]

    @property
    def heading(self) -> str:
        """Its name, and what sets it apart."""
        return in_one_line(self.experiment, self.told)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionComparison:
    """Systems under one protocol."""

    protocol: CaptionProtocol
    systems: tuple[CaptionSystem, ...]

    @property
    def kinds(self) -> tuple[CaptionKind, ...]:
        """The kinds of captions that were measured."""
        return tuple(self.protocol.asked)

    def spread(self) -> str:
        """What the number beside each mean is, in words."""
        return spread(len(system.seeds) for system in self.systems)


def compare_captions(reports: Sequence[CaptionReport]) -> CaptionComparison:
    """Set reports on captions side by side, those on runs that differ in their seeds alone as one system.

    Raises:
        UserError: No report, two runs that are the same, or unlike protocols; the runs and what sets
            them apart are named.
    """
    require_alike(reports, difference)
    systems = tuple(map(_system, grouped(reports)))
    return CaptionComparison(protocol=reports[0].protocol, systems=systems)


def write_caption_comparison(comparison: CaptionComparison, path: Path) -> None:
    """Write a comparison as JSON; one that was there is replaced whole or not at all."""
    held = TypeAdapter(CaptionComparison).dump_python(comparison, mode="json")
    write_atomically(path, json.dumps(held, indent=1, allow_nan=False) + "\n")


def caption_table(comparison: CaptionComparison) -> Table:
    """A block for each kind of caption, a row for each system, the paper's four columns."""
    shown = _by_metric(
        "Captions, scores x 100",
        f"{comparison.spread()}. Protocol: {comparison.protocol.line()}.",
        COLUMNS,
        first=("Captions", "Clips", "References", "System", "Seeds"),
    )
    for kind in comparison.kinds:
        shown.add_section()
        for system in comparison.systems:
            cells = system.cells.get(kind, {})
            values = [in_percent(cells[name]) if name in cells else "–" for name in COLUMNS]
            asked = comparison.protocol.asked[kind]
            sizes = [str(asked.clips), asked.per_clip]
            shown.add_row(kind, *sizes, system.heading, str(len(system.seeds)), *values)
    return shown


def paper_tables() -> list[tuple[Table, str]]:
    """CLIP4VLA's Tables 3 and 4 as printed, each with its protocol; never in one table with ours."""
    tables: list[tuple[Table, str]] = []
    for name, (protocol, rows) in PAPER.items():
        shown = _by_metric(
            f"CLIP4VLA, {name}, as published", None, _PAPER_COLUMNS, first=("Model",)
        )
        for model, values in rows.items():
            shown.add_row(model, *(f"{value:.1f}" for value in values))
        tables.append((shown, protocol))
    return tables


def in_percent(cell: Cell) -> str:
    """A cell as papers print it: a hundredfold."""
    if cell.sd is not None:
        return f"{100 * cell.mean:.1f} ± {100 * cell.sd:.1f}"
    return Estimate(cell.mean, *cell.span).percent()


def _by_metric(
    title: str, caption: str | None, columns: Sequence[str], first: Sequence[str]
) -> Table:
    shown = plain_table(
        title,
        caption,
    )
    for column in first:
        shown.add_column(column, no_wrap=True)
    for column in columns:
        shown.add_column(column, justify="right", no_wrap=True)
    return shown


def _system(group: Group[CaptionReport]) -> CaptionSystem:
    reports = group.reports
    return CaptionSystem(
        experiment=group.experiment,
        differs=group.differs,
        told=group.told,
        seeds=tuple(report.seed for report in reports),
        runs=tuple(report.run for report in reports),
        cells={
            result.kind: {name: _cell(reports, result.kind, name) for name in result.scores}
            for result in reports[0].results
        },
    )


def _cell(reports: Sequence[CaptionReport], kind: CaptionKind, metric: str) -> Cell:
    scores = [report.score(kind, metric) for report in reports]
    cell = Cell.of([score for score in scores if score is not None])
    assert cell is not None
    return cell
