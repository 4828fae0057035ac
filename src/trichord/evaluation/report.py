"""What one run reaches on one manifest: kept as JSON, shown as a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal

from rich.table import Table

from trichord.config import Provenance
from trichord.evaluation.protocol import Protocol
from trichord.evaluation.report_file import ReportFile
from trichord.evaluation.retrieval import TaskResult
from trichord.evaluation.tables import plain_table

FORMAT = 2
INTERVAL = "R@10 (95 %)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run's retrieval numbers with the protocol they were measured under.

    `run` names the run, `experiment` what was trained, `seed` the training seed, and `provenance` says
    what the run was made of. `ceiling` is the best possible R@k of each task (task, then k), known for
    the generated world only. `silent` has each clip without sound, and the training clip whose sound it
    was given, None where it stayed as it was or was left out.
    """

    run: str
    experiment: str
    seed: int
    provenance: Provenance
    protocol: Protocol
    results: tuple[TaskResult, ...]
    ceiling: dict[str, dict[int, float]] | None = None
    silent: dict[str, str | None] = field(default_factory=dict[str, str | None])
    trichord: str = field(default_factory=lambda: version("trichord"))
    kind: Literal["retrieval"] = "retrieval"
    format: Literal[2] = FORMAT

    def best(self, task: str, k: int) -> float | None:
        """The best possible R@k of a task, None where nobody knows it."""
        return (self.ceiling or {}).get(task, {}).get(k)

    @property
    def more(self) -> tuple[str, ...]:
        """Metrics that were asked for beside the usual ones."""
        found = (one.forward.more for one in self.results if one.forward is not None)
        return tuple(next(found, {}))

    def silence(self) -> str:
        """How many clips are silent, and how many of them have a borrowed sound."""
        if not self.silent:
            return ""
        lent = sum(donor is not None for donor in self.silent.values())
        given = f", {lent} with the sound of a training clip" if lent else ""
        return f" Silent: {len(self.silent)} clips{given}."


REPORTS = ReportFile(
    type=Report,
    kind="retrieval",
    format=FORMAT,
    called="a retrieval report",
    remedy="`trichord evaluate RUN MANIFEST`",
)
write_report, read_report = REPORTS.write, REPORTS.read


def table(report: Report) -> Table:
    """All tasks from text or sound to media, with the protocol beneath."""
    shown = plain_table(
        f"{report.run}: {report.experiment}, seed {report.seed}",
        f"Protocol: {report.protocol.line()}. Asked: queries; clips: gallery; chance: of R@10 in a random"
        " order; per clip: mean over clips." + report.silence(),
    )
    columns = ["Asked", "Clips", "R@1", "R@5", INTERVAL, "Chance R@10"]
    columns += ["Ceiling R@10"] if report.ceiling else []
    columns += ["Per clip R@10", "Median rank", "Mean rank", "MRR"]
    columns += [f"{name} (95 %)" for name in report.more]
    _add_columns(shown, columns)
    for result in report.results:
        shown.add_row(result.name, *_cells(report, result, width=len(columns)))
    return shown


def back_table(report: Report) -> Table:
    """The same tasks the other way, from media to text or sound."""
    shown = plain_table(
        "Back: from media to text or sound",
        "Asked: clips; texts: captions or sounds that are searched, those of the clip being right; hit: any"
        " of them among the first; recall: share of them; chance: in a random order.",
    )
    hit, recall = "hit@10 (95 %)", "recall@10 (95 %)"
    columns = ["Asked", "Texts", "hit@1", "hit@5", hit, "Chance hit@10", recall, "Chance recall@10"]
    _add_columns(shown, columns)
    for result in report.results:
        if (back := result.reverse) is None:
            continue
        shown.add_row(
            result.name,
            str(back.queries),
            str(back.gallery),
            f"{back.hit[1].value:.2f}",
            f"{back.hit[5].value:.2f}",
            str(back.hit[10]),
            f"{back.hit_chance[10]:.2f}",
            str(back.recall[10]),
            f"{back.recall_chance[10]:.2f}",
        )
    return shown


def _add_columns(shown: Table, columns: Sequence[str]) -> None:
    shown.add_column("Task", no_wrap=True)
    for column in columns:
        shown.add_column(column, justify="right", no_wrap="95 %" in column, min_width=5)


def _cells(report: Report, result: TaskResult, *, width: int) -> list[str]:
    counts = [str(result.queries), str(result.gallery)]
    forward, chance = result.forward, result.chance(10)
    if forward is None:
        return counts + ["absent"] + ["–"] * (width - 3)
    best = report.best(result.name, 10)
    return [
        *counts,
        f"{forward.recall[1].value:.2f}",
        f"{forward.recall[5].value:.2f}",
        str(forward.recall[10]),
        "–" if chance is None else f"{chance:.2f}",
        *(["–" if best is None else f"{best:.2f}"] if report.ceiling else []),
        f"{forward.macro[10]:.2f}",
        f"{forward.median_rank:g}",
        f"{forward.mean_rank:.1f}",
        f"{forward.mrr:.2f}",
        *(str(estimate) for estimate in forward.more.values()),
    ]
