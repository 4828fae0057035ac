"""What a run reaches as a classifier, by a probe or by prompts: kept as JSON, shown as a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import mean, stdev
from typing import Literal

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from trichord.evaluation.bootstrap import Estimate
from trichord.evaluation.classes.answers import Answers, Outcome, answer, outcome
from trichord.evaluation.classes.folds import Labelled
from trichord.evaluation.classes.probing import FoldAnswers
from trichord.evaluation.proportions import INTERVAL
from trichord.evaluation.protocol import SELECTED_ON_TEST, digest
from trichord.evaluation.report_file import ReportFile
from trichord.evaluation.tables import plain_table

FORMAT = 2
Kind = Literal["probe", "zero-shot"]
SHOWN = 5
"""Of clips and classes that are named one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationProtocol:
    """Everything besides the model that an accuracy depends on.

    `list` is a digest of ids and classes; `tested` counts the test clips of each fold; `method` and
    `features` are in words. Clips that cannot be read count as wrong. `seed` is None where nothing is
    drawn. `selected_on_test` is of the run, or of one that it started from: its epoch was chosen on
    the test split.
    """

    kind: Kind
    list: str
    clips: int
    classes: int
    folds: str
    tested: tuple[int, ...]
    modality: Literal["vision", "audio", "both"]
    features: str
    sound_token: str
    method: str
    seed: int | None
    interval: str = INTERVAL
    selected_on_test: bool = False

    def line(self) -> str:
        """The protocol in one line, to stand beneath every table and figure."""
        tested = ", ".join(map(str, self.tested))
        selected = SELECTED_ON_TEST if self.selected_on_test else ""
        drawn = "" if self.seed is None else f"; seed {self.seed}"
        return (
            f"{selected}{self.kind}: {self.clips} clips ({self.list}), {self.classes} classes; {self.folds}"
            f" (tested: {tested}); {self.modality}, {self.features}; sound token {self.sound_token};"
            f" {self.method}; clips that cannot be read count as wrong; {self.interval}{drawn}"
        )


def list_of(held: Labelled) -> str:
    """A digest of which clips are of which class."""
    pairs = zip(held.clips, held.truth.tolist(), strict=True)
    return digest(f"{clip.id}\0{held.classes[number]}" for clip, number in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldResult:
    """One fold of a probe.

    `accuracy` counts clips that cannot be read as wrong, `readable` leaves them out (None: all of
    them cannot). `unseen` counts test clips of classes that no training clip has.
    """

    name: str
    learnt: int
    tested: int
    missing: int
    accuracy: float
    readable: float | None
    chosen: tuple[str, ...]
    unseen: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """A run's accuracy with the protocol it was measured under.

    `run` names the run or experiment, `experiment` what was trained, `seed` the training seed; `folds`
    are a probe's. `missing` has every tested or learnt clip that cannot be read, and why;
    `untaught` those that no classifier answers for; `unlabelled` those left out for want of a class.
    """

    run: str
    experiment: str
    seed: int
    protocol: ClassificationProtocol
    classes: tuple[str, ...]
    folds: tuple[FoldResult, ...]
    outcome: Outcome
    missing: dict[str, str] = field(default_factory=dict[str, str])
    untaught: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    trichord: str = field(default_factory=lambda: version("trichord"))
    kind: Literal["classification"] = "classification"
    format: Literal[2] = FORMAT

    def spread(self, *, readable: bool = False) -> tuple[float, float | None] | None:
        """Mean and standard deviation over folds (None of one fold); None where nothing was read."""
        values = [fold.readable if readable else fold.accuracy for fold in self.folds]
        known = [value for value in values if value is not None]
        if not known:
            return None
        return mean(known), stdev(known) if len(known) > 1 else None

    def notes(self) -> list[str]:
        """What was left out or could not be answered, a line each."""
        reasons = [f"{clip} ({why})" for clip, why in self.missing.items()]
        lines = [
            f"class '{name}' has no training clip in fold {fold.name}: its {count} test clips there "
            "count as wrong"
            for fold in self.folds
            for name, count in fold.unseen.items()
        ]
        told = (
            (reasons, "cannot be read as asked; tested, they count as wrong"),
            (self.untaught, "have what too few training clips have; they count as wrong"),
            (self.unlabelled, "have no label and are left out"),
        )
        return lines + [
            f"{len(named)} clips {what}: {_some(named)}" for named, what in told if named
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a probe reaches: fold by fold, and all test clips together.

    `untaught` are ids of clips that could be read, but that no classifier answers for.
    """

    folds: tuple[FoldResult, ...]
    outcome: Outcome
    untaught: tuple[str, ...]


def probed(found: Sequence[FoldAnswers], held: Labelled) -> Probed:
    """What the answers of all folds come to.

    Args:
        found: Of each fold.
        held: All clips.
    """
    rows = [one.fold.test for one in found]
    answers = [
        answer(one.scores, held.truth[tested], one.readable)
        for one, tested in zip(found, rows, strict=True)
    ]
    together = Answers(
        given=np.concatenate([one.given for one in answers]),
        rank=np.concatenate([one.rank for one in answers]),
        readable=np.concatenate([one.readable for one in answers]),
    )
    truth = held.truth[np.concatenate(rows)]
    return Probed(
        folds=tuple(_fold(*pair, held) for pair in zip(found, answers, strict=True)),
        outcome=outcome(together, truth, held.classes),
        untaught=tuple(held.clips[row].id for one in found for row in one.untaught),
    )


def _fold(found: FoldAnswers, answers: Answers, held: Labelled) -> FoldResult:
    right, readable = answers.given == held.truth[found.fold.test], found.readable
    return FoldResult(
        name=found.fold.name,
        learnt=found.learnt,
        tested=len(right),
        missing=int((~readable).sum()),
        accuracy=float(right.mean()),
        readable=float(right[readable].mean()) if readable.any() else None,
        chosen=found.chosen,
        unseen={held.classes[number]: count for number, count in found.unseen.items()},
    )


REPORTS = ReportFile(
    type=Classification,
    kind="classification",
    format=FORMAT,
    called="a report of a probe or of prompts",
    remedy="`trichord probe` or `trichord classify`",
)
write_classification, read_classification = REPORTS.write, REPORTS.read


def table(report: Classification) -> Table:
    """Folds, their mean, and all test clips together, with the protocol beneath."""
    shown = plain_table(
        f"{report.run}: {report.experiment}, seed {report.seed}",
        f"Protocol: {report.protocol.line()}.",
    )
    shown.add_column("Fold", no_wrap=True)
    for column in ("Learnt", "Tested", "Unread", "Accuracy", "Of those read"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("Chosen")
    for fold in report.folds:
        shown.add_row(
            fold.name,
            str(fold.learnt),
            str(fold.tested),
            str(fold.missing),
            percent(fold.accuracy),
            percent(fold.readable),
            "; ".join(fold.chosen),
        )
    if report.folds:
        over = f"mean ± sd over {len(report.folds)} folds" if len(report.folds) > 1 else "mean"
        cells = [told(report.spread()), told(report.spread(readable=True))]
        shown.add_row(over, "", "", "", *cells, "", style="bold")
    _add_outcome(shown, report.outcome)
    return shown


def _add_outcome(shown: Table, found: Outcome) -> None:
    tested = sum(one.clips for one in found.recall.values())
    unread = sum(line[-1] for line in found.confusion)
    every = ("all test clips (95 %)", "", str(tested), str(unread))
    shown.add_row(*every, _interval(found.accuracy), _interval(found.readable), "")
    if found.top5:
        shown.add_row("top-5 (95 %)", "", "", "", _interval(found.top5), "", "")
    shown.add_row("mean over classes", "", "", "", percent(found.mean_class), "", "")
    shown.add_row("chance", "", "", "", percent(1 / len(found.confusion)), "", "")


def worst(report: Classification, count: int = SHOWN) -> str:
    """The classes that are recognised least, and what they are taken for."""
    found = report.outcome
    least = sorted(found.recall, key=lambda name: (found.recall[name].recall, name))[:count]
    lines: list[str] = []
    for name in least:
        row = report.classes.index(name)
        line = [0 if i == row else n for i, n in enumerate(found.confusion[row])]
        taken = (*report.classes, "unread")[int(np.argmax(line))] if any(line) else "nothing else"
        lines.append(f"{name} {percent(found.recall[name].recall)} (taken for {taken})")
    return "; ".join(lines)


def percent(share: float | None) -> str:
    """A share as published tables have it, or a dash."""
    return "–" if share is None else f"{100 * share:.1f}"


def told(spread: tuple[float, float | None] | None) -> str:
    """Mean and standard deviation in per cent, or a dash."""
    if spread is None:
        return "–"
    return percent(spread[0]) + ("" if spread[1] is None else f" ± {percent(spread[1])}")


def _interval(found: Estimate | None) -> str:
    return "–" if found is None else found.percent()


def _some(named: Sequence[str]) -> str:
    more = ", ..." if len(named) > SHOWN else ""
    return ", ".join(named[:SHOWN]) + more


PAPER_TABLE_6 = (
    ("VATT-Medium", "512~768 TPU days", 2048, "264M", 84.7, 89.6),
    ("CLIP4VLA", "48 V100 days", 256, "88M", 86.8, 91.9),
)
"""Model, training cost, batch size, trained parameters, accuracy on ESC-50 (A) and UCF101 (V+A)."""


def paper_table() -> Table:
    """Table 6 as printed in the paper: another corpus' numbers, so never in one table with ours."""
    shown = Table(
        title="CLIP4VLA, Table 6 as published: accuracy of a linear classifier, %",
        caption="Mean over the official folds, 5 of ESC-50 and 3 of UCF101. For ESC-50 the authors' code "
        "takes the best epoch of each fold on its test clips; for UCF101 no code, no frames a second "
        "and no rule for silent videos are published. Intervals are not stated.",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in ("Model", "Training cost", "Batch", "Trained", "ESC50 (A)", "UCF101 (V&A)"):
        shown.add_column(column, justify="left" if column == "Model" else "right")
    for line in PAPER_TABLE_6:
        shown.add_row(*map(str, line))
    return shown
