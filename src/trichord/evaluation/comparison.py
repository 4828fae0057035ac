"""Several systems side by side, each the mean over its seeds: runs, or the variants of an ablation."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean, stdev
from typing import Literal

from trichord.config import Provenance
from trichord.evaluation.bootstrap import Estimate, Resampling, short
from trichord.evaluation.metrics import RECALLS
from trichord.evaluation.paired import Pairing, pair
from trichord.evaluation.protocol import Rules, difference
from trichord.evaluation.published import TABLE_II
from trichord.evaluation.report import FORMAT, Report, RetrievalReport
from trichord.evaluation.row import ReportRow
from trichord.evaluation.seeds import (
    differing_settings,
    group_by_seed,
    label_of,
    require_same_protocol,
)
from trichord.types import UserError

ORDER = (*TABLE_II, "zero-shot")
"""SLAVA's systems in the paper's order; the published pair of towers before training is ours."""

R_AT_10 = "R@10"
"""What is compared of retrieval: Table II's measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a comparison is shown.

    Attributes:
        measures: Those of a table; in a figure, a column of panels each, or three in a line of one alone.
        sizes: Names of the sizes that are shown, and what they are called.
        percent: Values are shown a hundredfold.
        whole: The scale of a figure goes from 0 to 1; otherwise to the highest value of each measure.
        bars: Bars instead of dots.
    """

    measures: tuple[str, ...] = (R_AT_10,)
    sizes: Mapping[str, str] = field(
        default_factory=lambda: {"queries": "queries", "gallery": "clips searched"}
    )
    percent: bool = False
    whole: bool = True
    bars: bool = False


STUDY_STYLE = Style(measures=("median rank", *RECALLS))
"""The table of a study's variants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One measure of one system: a value for each seed, and what they come to.

    `sd` is the sample standard deviation (n - 1) over several seeds. With one seed there is none,
    and `low` and `high` hold that run's 95 % interval, where the measure has one.
    """

    values: tuple[float, ...]
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, estimates: "Sequence[Estimate | float]") -> "Cell":
        """Sum up the values of one seed or more."""
        values = tuple(one.value if isinstance(one, Estimate) else one for one in estimates)
        first = estimates[0]
        if len(values) > 1:
            return cls(values=values, mean=mean(values), sd=stdev(values))
        if isinstance(first, Estimate):
            return cls(values=values, mean=first.value, low=first.low, high=first.high)
        return cls(values=values, mean=first)

    @property
    def span(self) -> tuple[float, float]:
        """The ends of the line to draw: mean ± sd, or the interval."""
        if self.sd is not None:
            return self.mean - self.sd, self.mean + self.sd
        if self.low is None or self.high is None:
            return self.mean, self.mean
        return self.low, self.high

    def __str__(self) -> str:
        if self.sd is not None:
            return f"{self.mean:.2f}±{short(self.sd)}"
        return f"{self.mean:.2f}" if self.low is None else str(Estimate(self.mean, *self.span))

    def percent(self) -> str:
        """As papers print it: a hundredfold."""
        if self.sd is not None:
            return f"{100 * self.mean:.1f} ± {100 * self.sd:.1f}"
        if self.low is None:
            return f"{100 * self.mean:.1f}"
        return Estimate(self.mean, *self.span).percent()


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRow:
    """The rows of a system's seeds as one: as a report's row, but with cells by measure."""

    sizes: dict[str, int]
    cells: dict[str, Cell]
    chance: dict[str, float]
    ceiling: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """All seeds of one experiment on the same clips, and its rows by name.

    A row has no cells where nothing was measured.
    `differs` is what sets it apart from others of the same name, values by setting; `label` as much of
    that as a heading shows.
    """

    name: str
    differs: dict[str, str]
    label: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    protocol: Rules
    rows: dict[str, SystemRow]

    @property
    def heading(self) -> str:
        """Its name, and what sets it apart."""
        return f"{self.name} ({', '.join(self.label)})" if self.label else self.name

    def cell(self, row: str, measure: str) -> Cell | None:
        """A measure of a row, None where it was not measured."""
        return self.rows[row].cells.get(measure) if row in self.rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Systems side by side; `protocol` is in words. `paired`: each against the first, query by query."""

    kind: Literal["comparison"] = "comparison"
    format: Literal[3] = FORMAT
    title: str
    protocol: str
    systems: tuple[System, ...]
    paired: tuple[Pairing, ...] = ()

    def rows(self, measure: str) -> dict[str, list[SystemRow]]:
        """What systems have in the rows in which some of them has a measure, rows in their order."""
        names = dict.fromkeys(name for system in self.systems for name in system.rows)
        answered = {
            name: [s.rows[name] for s in self.systems if s.cell(name, measure) is not None]
            for name in names
        }
        return {name: some for name, some in answered.items() if some}

    def spread(self) -> str:
        """What the number beside each mean is, in words."""
        counts = {len(system.seeds) for system in self.systems}
        words = ["mean ± sample sd over training seeds"] if counts - {1} else []
        words += ["one seed: its 95 % interval over clips"] if 1 in counts else []
        return "; ".join(words)


def compare(reports: Sequence[Report], title: str = "") -> Comparison:
    """Set reports side by side, those on runs that differ in their seeds alone as one system.

    Raises:
        UserError: Fewer than one report, two runs that are the same, or unlike protocols or ceilings;
            the runs and what sets them apart are named.
    """
    require_same_protocol(reports)
    place = {name: number for number, name in enumerate(ORDER)}
    systems = sorted(_systems(reports), key=lambda one: place.get(one.name, len(place)))
    return Comparison(title=title, protocol=reports[0].protocol.line(), systems=tuple(systems))


def compare_paired(
    reports: Sequence[RetrievalReport], title: str, resampling: Resampling
) -> Comparison:
    """As `compare`, and each system against that of the first report.

    Raises:
        UserError: As there, or there is one system only, or a report has no ranks of its queries.
    """
    found = compare(reports, title)
    if old := next((one.run for one in reports if not one.ranks), None):
        raise UserError(
            f"The report on {old} has no ranks of its queries, because an older Trichord wrote it: make it "
            f"again with {RetrievalReport.command}."
        )
    headings = [one.heading for one in _systems(reports)]
    first, *others = zip(headings, group_by_seed(reports), strict=True)
    if not others:
        raise UserError(
            f"--paired sets systems against the first one, and all that is named are seeds of one "
            f"({first[0]}): name another run too."
        )
    return replace(found, paired=tuple(pair(first, other, resampling) for other in others))


def variant(name: str, reports: Sequence[Report], rows: Sequence[str] = ()) -> System:
    """One variant of an ablation as a system, a report a seed.

    Args:
        name: What was varied.
        reports: One a seed.
        rows: Those to keep; all that were measured if empty.

    Raises:
        UserError: The reports were measured in different ways, or are on runs that differ in more than
            their seeds, or none of the rows was measured.
    """
    system, *others = _systems(reports)
    if others:
        raise UserError(
            f"{name}: {reports[0].run} and {others[0].runs[0]} are no seeds of one experiment "
            f"({others[0].heading}): measure them apart."
        )
    for report in reports[1:]:
        if unlike := difference(reports[0].protocol, report.protocol):
            raise UserError(f"{name}: its seeds were measured differently ({unlike[0]}).")
    kept = {row: one for row, one in system.rows.items() if one.cells and (not rows or row in rows)}
    if not kept:
        raise UserError(
            f"{name}: the clips allow none of its tasks ({', '.join(rows)}): add captions or media."
        )
    return replace(system, name=name, rows=kept)


def _systems(reports: Sequence[Report]) -> list[System]:
    ceilings = _common_ceilings(reports)
    groups = group_by_seed(reports)
    namesakes: dict[str, list[Provenance]] = defaultdict(list)
    for first, *_ in groups:
        namesakes[first.experiment].append(first.provenance)
    systems: list[System] = []
    for group in groups:
        first, like = group[0], namesakes[group[0].experiment]
        rows: dict[str, list[ReportRow]] = defaultdict(list)
        for row in (row for report in group for row in report.rows):
            rows[row.name].append(row)
        differs = [differing_settings(one, like) for one in like]
        mine = differs[like.index(first.provenance)]
        systems.append(
            System(
                name=first.experiment,
                differs=mine,
                label=label_of(mine, differs),
                seeds=tuple(report.seed for report in group),
                runs=tuple(report.run for report in group),
                protocol=first.protocol,
                rows={name: _pool(some, ceilings.get(name, {})) for name, some in rows.items()},
            )
        )
    return systems


def _pool(rows: Sequence[ReportRow], ceiling: dict[str, float]) -> SystemRow:
    """One row of all seeds; a measure that a seed lacks is averaged over the others."""
    values: dict[str, list[Estimate | float]] = defaultdict(list)
    for row in rows:
        for measure, value in {**row.estimates, **row.numbers}.items():
            values[measure].append(value)
    fullest = max(rows, key=lambda row: len(row.estimates))
    return SystemRow(
        sizes=fullest.sizes,
        cells={measure: Cell.of(some) for measure, some in values.items()},
        chance=fullest.chance,
        ceiling=ceiling,
    )


def _common_ceilings(reports: Sequence[Report]) -> dict[str, dict[str, float]]:
    """The ceilings that reports share, by row, if any; refuses unlike ones."""
    known = [
        (report, found)
        for report in reports
        if (found := {row.name: row.ceiling for row in report.rows if row.ceiling})
    ]
    for other, ceilings in known[1:]:
        if ceilings != known[0][1]:
            raise UserError(
                f"{known[0][0].run} and {other.run} carry different ceilings; evaluate both again."
            )
    return known[0][1] if known else {}
