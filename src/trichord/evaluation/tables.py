"""Reports and comparisons as tables in one style, the protocol beneath."""

import textwrap
from collections.abc import Callable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from trichord.evaluation.bootstrap import Estimate
from trichord.evaluation.comparison import Cell, Comparison, Style
from trichord.evaluation.metrics import RECALLS
from trichord.evaluation.paired import MEDIAN, Difference, Pairing
from trichord.evaluation.published import PUBLISHED
from trichord.evaluation.report import RetrievalReport
from trichord.evaluation.retrieval import TASKS
from trichord.evaluation.row import ReportRow

LEAST = 5
"""Letters of a number's column at least: narrow terminals would break the numbers."""
NONE = "–"
Text = Callable[[ReportRow], str]
"""What a column shows of a row."""


def plain_table(
    title: str, caption: str | None = None, names: Sequence[str] = (), numbers: Sequence[str] = ()
) -> Table:
    """A table without lines yet: columns of names at the left, of numbers at the right."""
    table = Table(
        title=title,
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for heading in names:
        table.add_column(heading, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap="95 %" in heading, min_width=LEAST)
    return table


def report_table(
    title: str, caption: str, heading: str, columns: Mapping[str, Text], rows: Sequence[ReportRow]
) -> Table:
    """A line for each row, its name first; of what was not measured its sizes alone."""
    table = plain_table(title, caption, [heading], list(columns))
    for row in rows:
        cells = [text(row) for text in columns.values()]
        if not row.estimates and not row.numbers:
            known = len(row.sizes)
            cells = [*cells[:known], "absent", *[NONE] * (len(cells) - known - 1)]
        table.add_row(row.name, *cells)
    return table


def size(name: str) -> Text:
    """How many."""
    return lambda row: str(row.sizes[name])


def interval(measure: str, *, percent: bool = False) -> Text:
    """A measure with its interval."""
    return lambda row: in_style(row.estimates.get(measure), percent=percent)


def measured(measure: str, form: str = ".2f") -> Text:
    """A measure without an interval."""

    def text(row: ReportRow) -> str:
        estimate = row.estimates.get(measure)
        return _number(row.numbers.get(measure) if estimate is None else estimate.value, form)

    return text


def _number(value: float | None, form: str = ".2f") -> str:
    return NONE if value is None else format(value, form)


def in_style(value: Estimate | Cell | None, *, percent: bool) -> str:
    """A value with its interval or deviation, as a share or a hundredfold as papers print it; or a dash."""
    if value is None:
        return NONE
    return value.percent() if percent else str(value)


def retrieval_table(report: RetrievalReport) -> Table:
    """All tasks from text or sound to media, with the protocol beneath."""
    rows = [row for row in report.rows if "<-" in row.name]
    more = dict.fromkeys(name for row in rows for name in row.estimates if name not in RECALLS)
    columns: dict[str, Text] = {
        "Asked": size("queries"),
        "Clips": size("gallery"),
        "R@1": measured("R@1"),
        "R@5": measured("R@5"),
        "R@10 (95 %)": interval("R@10"),
        "Chance R@10": lambda row: _number(row.chance.get("R@10")),
        **(
            {"Ceiling R@10": lambda row: _number(row.ceiling.get("R@10"))}
            if any(row.ceiling for row in rows)
            else {}
        ),
        "Per clip R@10": measured("R@10 per clip"),
        "Median rank": measured("median rank", "g"),
        "Mean rank": measured("mean rank", ".1f"),
        "MRR": measured("MRR"),
        **{f"{name} (95 %)": interval(name) for name in more},
    }
    caption = (
        f"Protocol: {report.protocol.line()}. Asked: queries; clips: gallery; chance: of R@10 in a random"
        " order; per clip: mean over clips."
    )
    if silent := report.silent:
        lent = sum(donor is not None for donor in silent.values())
        given = f", {lent} with the sound of a training clip" if lent else ""
        caption += f" Silent: {len(silent)} clips{given}."
    for task, why in report.left_out.items():
        caption += f" Left out: {task}: {why}."
    return report_table(report.title, caption, "Task", columns, rows)


def back_table(report: RetrievalReport) -> Table:
    """The same tasks the other way, from media to text or sound."""
    columns: dict[str, Text] = {
        "Asked": size("queries"),
        "Texts": size("gallery"),
        "hit@1": measured("hit@1"),
        "hit@5": measured("hit@5"),
        "hit@10 (95 %)": interval("hit@10"),
        "Chance hit@10": lambda row: _number(row.chance.get("hit@10")),
        "recall@10 (95 %)": interval("recall@10"),
        "Chance recall@10": lambda row: _number(row.chance.get("recall@10")),
    }
    return report_table(
        "Back: from media to text or sound",
        "Asked: clips; texts: captions or sounds that are searched, those of the clip being right; hit: any"
        " of them among the first; recall: share of them; chance: in a random order.",
        "Task",
        columns,
        [row for row in report.rows if "->" in row.name],
    )


def recall_tables(comparison: Comparison) -> list[Table]:
    """R@1, R@5 and R@10, each in the form of SLAVA's Table II; the protocol is beneath the last."""
    tables = [systems_table(comparison, measure) for measure in RECALLS]
    for table in tables[:-1]:
        table.caption = None
    return tables


def systems_table(comparison: Comparison, measure: str) -> Table:
    """One measure in the form of SLAVA's Table II: rows down, systems across."""
    caption = (
        f"Asked: queries; clips: gallery; {comparison.spread()}. Protocol: {comparison.protocol}."
    )
    table = plain_table(f"{measure}, text or sound to media", caption)
    table.add_column("#", justify="right")
    table.add_column("Task", no_wrap=True)
    for column in ("Asked", "Clips", "Chance"):
        table.add_column(column, justify="right")
    for system in comparison.systems:
        seeds = len(system.seeds)
        label = [textwrap.fill(one, 14, break_long_words=False) for one in system.label]
        lines = [folded(system.name), *label, f"{seeds} seed{'s' * (seeds > 1)}"]
        # Room for an interval in brackets, which may stand beneath its value.
        table.add_column("\n".join(lines), justify="right", min_width=9)
    rows = {name: some[0] for name, some in comparison.rows(measure).items()}
    bounded = any(row.ceiling for row in rows.values())
    if bounded:
        table.add_column("ceiling", justify="right")
    numbers = {task.name: str(task.number or "") for task in TASKS}
    for name, row in rows.items():
        cells = [in_style(s.cell(name, measure), percent=False) for s in comparison.systems]
        if bounded:
            cells.append(_number(row.ceiling.get(measure)))
        sizes = [str(row.sizes["queries"]), str(row.sizes["gallery"])]
        table.add_row(numbers[name], name, *sizes, _number(row.chance.get(measure)), *cells)
    return table


def measures_table(comparison: Comparison, style: Style) -> Table:
    """Several measures: a block for each row, a line for each system, measures across.

    The best possible value of the last of them stands behind it, where it is known.
    """
    last = style.measures[-1]
    blocks = comparison.rows(last)
    best = {name: _number(some[0].ceiling.get(last)) for name, some in blocks.items()}
    bounded = set(best.values()) - {NONE}
    table = plain_table(
        comparison.title,
        f"{comparison.spread()}. Protocol: {comparison.protocol}.",
        ["", *(word.capitalize() for word in style.sizes.values()), "System", "Seeds"],
    )
    for heading in (*style.measures, *([f"best {last}"] if bounded else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in blocks:
        table.add_section()
        for system in comparison.systems:
            row = system.rows.get(name)
            sizes = [str(row.sizes[one]) if row else NONE for one in style.sizes]
            cells = [
                in_style(system.cell(name, one), percent=style.percent) for one in style.measures
            ]
            cells += [best[name]] if bounded else []
            table.add_row(name, *sizes, system.heading, str(len(system.seeds)), *cells)
    return table


def paired_table(pairing: Pairing) -> Table:
    """The differences of two systems: a block for each task, a line for each measure."""
    seeds = [
        f"{name}: {len(some)} seed{'s' * (len(some) > 1)}"
        for name, some in (
            (pairing.first, pairing.first_seeds),
            (pairing.other, pairing.other_seeds),
        )
    ]
    caption = (
        f"Difference: {pairing.other} less {pairing.first}. {pairing.method}. They say how far the "
        "choice of clips matters, not what other seeds would give. "
        f"{'; '.join(seeds)}."
    )
    if pairing.left_out:
        caption += f" Left out, not answered by both: {', '.join(pairing.left_out)}."
    table = plain_table(f"{pairing.other} against {pairing.first}", caption, ["Task, measure"])
    for heading in (pairing.first, pairing.other):
        table.add_column(folded(heading), justify="right", min_width=LEAST)
    table.add_column("Difference (95 %)", justify="right", no_wrap=True)
    table.add_column("Excludes 0")
    for name, task in pairing.tasks.items():
        table.add_section()
        table.add_row(name)
        table.add_row(f"{task.queries} queries, {task.clips} clips")
        for measure, one in task.differences.items():
            table.add_row(f"  {measure}", *_difference_cells(measure, one))
    return table


def _difference_cells(measure: str, one: Difference) -> list[str]:
    digits = 1 if measure == MEDIAN else 3
    values = [f"{value:.{digits}f}" for value in (one.first, one.other)]
    change, low, high = (f"{v:+.{digits}f}" for v in (one.difference, one.low, one.high))
    return [*values, f"{change} ({low}, {high})", "yes" if one.excludes_zero else "no"]


def folded(name: str) -> str:
    """A system's name over several lines, broken at its hyphens, to head a narrow column."""
    return textwrap.fill(name, 10)


def published_tables(kind: str) -> list[Table]:
    """The papers' own values, for the kind of report that they stand beside."""
    tables: list[Table] = []
    for one in PUBLISHED[kind]:
        table = plain_table(one.title, one.how, one.names, [folded(name) for name in one.columns])
        for row in one.rows:
            table.add_row(*row)
        tables.append(table)
    return tables
