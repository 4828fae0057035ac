"""What captions score, clip by clip and all together: the numbers of a report."""

from dataclasses import dataclass

from trichord.evaluation.row import ReportRow


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
