"""What the captions of one run are worth on one manifest: kept as JSON, shown as a table."""

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal

from rich.table import Table

from trichord.config import Provenance
from trichord.evaluation.bootstrap import Estimate
from trichord.evaluation.captions.invention import Invention
from trichord.evaluation.captions.protocol import CaptionProtocol
from trichord.evaluation.captions.scores import ClipCaption, KindResult
from trichord.evaluation.report_file import ReportFile
from trichord.evaluation.tables import plain_table
from trichord.types import CaptionKind

FORMAT = 2
COLUMNS = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
"""Of the paper's Tables 3 and 4; reports also hold BLEU-1 to BLEU-3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionReport:
    """A run's captions and their scores, with the protocol they were measured under.

    `run` names the run, `experiment` what was trained, `seed` the training seed, and `provenance` says
    what the run was made of. `silent` has each clip without sound, and the training clip whose sound
    it was given, None where it stayed silent.
    `blank` is how many references have no word and were left out, `longer` how many are longer than
    any caption that the run can write. `invention` is known for the generated world only.
    """

    run: str
    experiment: str
    seed: int
    provenance: Provenance
    protocol: CaptionProtocol
    results: tuple[KindResult, ...]
    captions: tuple[ClipCaption, ...]
    silent: dict[str, str | None] = field(default_factory=dict[str, str | None])
    blank: int = 0
    longer: int = 0
    invention: Invention | None = None
    trichord: str = field(default_factory=lambda: version("trichord"))
    kind: Literal["captions"] = "captions"
    format: Literal[2] = FORMAT

    def score(self, kind: CaptionKind, metric: str) -> Estimate | None:
        """A score against references of a kind; None where it was not measured."""
        return next((r.scores.get(metric) for r in self.results if r.kind == kind), None)


REPORTS = ReportFile(
    type=CaptionReport,
    kind="captions",
    format=FORMAT,
    called="a report on captions",
    remedy="`trichord evaluate RUN MANIFEST`",
)
write_caption_report, read_caption_report = REPORTS.write, REPORTS.read


def table(report: CaptionReport) -> Table:
    """Scores by kind of caption in the form of the paper's Tables 3 and 4, with the protocol beneath."""
    shown = plain_table(
        f"{report.run}: {report.experiment}, seed {report.seed}: captions, scores x 100",
        f"Protocol: {report.protocol.line()}.{_counts(report)}",
    )
    shown.add_column("Captions", no_wrap=True)
    for column in ("Clips", "Wordless", "References"):
        shown.add_column(column, justify="right")
    for metric in COLUMNS:
        shown.add_column(f"{metric} (95 %)", justify="right", no_wrap=True)
    for result in report.results:
        asked = report.protocol.asked[result.kind]
        shown.add_row(
            result.kind,
            str(asked.clips),
            str(result.wordless),
            asked.per_clip,
            *(percent(result.scores.get(metric)) for metric in COLUMNS),
        )
    return shown


def percent(estimate: Estimate | None) -> str:
    """A score with its interval, as papers print it: a hundredfold."""
    return "–" if estimate is None else estimate.percent()


def _counts(report: CaptionReport) -> str:
    """What was left out or cut, where anything was."""
    told = [
        f"{report.blank} references without a word left out" if report.blank else "",
        f"{report.longer} references longer than the run can write" if report.longer else "",
        f"{len(report.silent)} silent clips" if report.silent else "",
    ]
    notes = dict.fromkeys(note for result in report.results for note in result.notes)
    counted = "; ".join(one for one in told if one)
    invented = f" {report.invention.line()}" if report.invention else ""
    said = "".join(f" {note}" for note in notes)
    return said + (f" {counted[0].upper()}{counted[1:]}." if counted else "") + invented
