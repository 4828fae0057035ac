"""What the captions of one run are worth on one manifest: the report, and its table."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from rich.table import Table

from trichord.evaluation.captions.invention import Invention
from trichord.evaluation.captions.protocol import CaptionProtocol
from trichord.evaluation.comparison import Style
from trichord.evaluation.report import Report
from trichord.evaluation.row import ReportRow
from trichord.evaluation.tables import interval, report_table, size

CAPTION_TITLE = "Captions, scores x 100"
CAPTION_MEASURES = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
"""Of the paper's Tables 3 and 4; reports also hold BLEU-1 to BLEU-3."""
CAPTION_STYLE = Style(
    measures=CAPTION_MEASURES,
    sizes={"clips": "clips", "references": "references"},
    percent=True,
    whole=False,
    bars=True,
)
"""How captions are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipCaption:
    """What was written of a clip; None where it has nothing of what the run reads."""

    id: str
    text: str | None = None
    log_likelihood: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScores:
    """A clip's references of one kind, and what its caption scores against them, by metric."""

    id: str
    references: tuple[str, ...]
    scores: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow(ReportRow):
    """What captions score against references of one kind, which is the row's name.

    Shares of 1, CIDEr of 10; METEOR is absent where its word lists are not installed. The size
    `wordless` is how many clips count as an empty caption, because nothing could be written of them;
    `notes` is what a reader of the scores should know.
    """

    clips: tuple[ClipScores, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionReport(Report):
    """A run's captions and their scores, a row for each kind of reference.

    `silent` has each clip without sound, and the training clip whose sound it was given, None where it
    stayed silent.
    `blank` is how many references have no word and were left out, `longer` how many are longer than
    any caption that the run can write. `invention` is known for the generated world only.
    """

    called: ClassVar[str] = "a report on captions"
    command: ClassVar[str] = "`trichord evaluate RUN MANIFEST`"

    kind: Literal["captions"] = "captions"
    protocol: CaptionProtocol
    rows: tuple[KindRow, ...]
    captions: tuple[ClipCaption, ...]
    silent: dict[str, str | None] = field(default_factory=dict[str, str | None])
    blank: int = 0
    longer: int = 0
    invention: Invention | None = None


def caption_table(report: CaptionReport) -> Table:
    """Scores by kind of caption in the form of the paper's Tables 3 and 4, with the protocol beneath."""
    columns = {
        "Clips": size("clips"),
        "Wordless": size("wordless"),
        "References": size("references"),
        **{f"{name} (95 %)": interval(name, percent=True) for name in CAPTION_MEASURES},
    }
    return report_table(
        f"{report.title}: captions, scores x 100",
        f"Protocol: {report.protocol.line()}.{_remarks(report)}",
        "Captions",
        columns,
        report.rows,
    )


def _remarks(report: CaptionReport) -> str:
    """What was left out or cut, where anything was."""
    counts = {
        "references without a word left out": report.blank,
        "references longer than the run can write": report.longer,
        "silent clips": len(report.silent),
    }
    counted = "; ".join(f"{count} {what}" for what, count in counts.items() if count)
    notes = dict.fromkeys(note for row in report.rows for note in row.notes)
    invented = f" {report.invention.line()}" if report.invention else ""
    return "".join(f" {note}" for note in notes) + (f" {counted}." if counted else "") + invented
