"""What a run reaches as a classifier, by a probe or by prompts: the report, and its table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from rich.table import Table

from trichord.evaluation.classes.answers import Answers, ClassRow, answer, class_row
from trichord.evaluation.classes.folds import Labelled
from trichord.evaluation.classes.probing import FoldAnswers
from trichord.evaluation.comparison import Cell
from trichord.evaluation.proportions import INTERVAL
from trichord.evaluation.protocol import SELECTED_ON_TEST, SELECTION, digest, yes_or_no
from trichord.evaluation.report import Report
from trichord.evaluation.row import ReportRow
from trichord.evaluation.tables import NONE, in_style, plain_table

Kind = Literal["probe", "zero-shot"]
SHOWN = 5
"""Of clips and classes that are named one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassProtocol:
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
    audio_type: str
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
            f" (tested: {tested}); {self.modality}, {self.features}; audio type {self.audio_type};"
            f" {self.method}; clips that cannot be read count as wrong; {self.interval}{drawn}"
        )

    def terms(self) -> dict[str, object]:
        """What numbers must have in common to share a column."""
        return {
            SELECTION: yes_or_no(self.selected_on_test),
            "task": self.kind,
            "clips and classes": f"{self.clips} clips of {self.classes} classes, list {self.list}",
            "folds": self.folds,
            "clips tested": ", ".join(map(str, self.tested)),
            "modality": self.modality,
            "features": self.features,
            "audio type": self.audio_type,
            "method": self.method,
            "seed": self.seed,
            "interval": self.interval,
        }


def list_of(labelled: Labelled) -> str:
    """A digest of which clips are of which class."""
    pairs = zip(labelled.clips, labelled.truth.tolist(), strict=True)
    return digest(f"{clip.id}\0{labelled.classes[number]}" for clip, number in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldRow(ReportRow):
    """One fold of a probe.

    `accuracy` counts clips that cannot be read as wrong, `of those read` leaves them out (absent: all of
    them cannot). `unseen` counts test clips of classes that no training clip has.
    """

    chosen: tuple[str, ...]
    unseen: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReport(Report):
    """A run's accuracy, a row for each fold of a probe; `every` is all test clips together.

    `missing` has every tested or learnt clip that cannot be read, and why; `untaught` those that no
    classifier answers for; `unlabelled` those left out for want of a class.
    """

    called: ClassVar[str] = "a report of a probe or of prompts"
    command: ClassVar[str] = "`trichord probe` or `trichord classify`"

    kind: Literal["classification"] = "classification"
    protocol: ClassProtocol
    rows: tuple[FoldRow, ...]
    every: ClassRow
    classes: tuple[str, ...]
    missing: dict[str, str] = field(default_factory=dict[str, str])
    untaught: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()

    def over_folds(self, measure: str = "accuracy") -> Cell | None:
        """Mean and standard deviation over folds; None where nothing was read."""
        known = [row.numbers[measure] for row in self.rows if measure in row.numbers]
        return Cell.of(known) if known else None

    def notes(self) -> list[str]:
        """What was left out or could not be answered, a line each."""
        reasons = [f"{clip} ({why})" for clip, why in self.missing.items()]
        lines = [
            f"class '{name}' has no training clip in fold {fold.name}: its {count} test clips there "
            "count as wrong"
            for fold in self.rows
            for name, count in fold.unseen.items()
        ]
        left_out = (
            (reasons, "cannot be read as asked; tested, they count as wrong"),
            (self.untaught, "have what too few training clips have; they count as wrong"),
            (self.unlabelled, "have no label and are left out"),
        )
        for clips, what in left_out:
            some = ", ".join(clips[:SHOWN]) + (", ..." if len(clips) > SHOWN else "")
            lines += [f"{len(clips)} clips {what}: {some}"] if clips else []
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a probe reaches: fold by fold, and all test clips together.

    `untaught` are ids of clips that could be read, but that no classifier answers for.
    """

    folds: tuple[FoldRow, ...]
    every: ClassRow
    untaught: tuple[str, ...]


def probed(answers: Sequence[FoldAnswers], labelled: Labelled) -> Probed:
    """What the answers of all folds come to.

    Args:
        answers: Of each fold.
        labelled: All clips.
    """
    rows = [one.fold.test for one in answers]
    by_fold = [
        answer(one.scores, labelled.truth[tested], one.readable)
        for one, tested in zip(answers, rows, strict=True)
    ]
    together = Answers(
        given=np.concatenate([one.given for one in by_fold]),
        rank=np.concatenate([one.rank for one in by_fold]),
        readable=np.concatenate([one.readable for one in by_fold]),
    )
    truth = labelled.truth[np.concatenate(rows)]
    return Probed(
        folds=tuple(_fold(*pair, labelled) for pair in zip(answers, by_fold, strict=True)),
        every=class_row(together, truth, labelled.classes),
        untaught=tuple(labelled.clips[row].id for one in answers for row in one.untaught),
    )


def _fold(fold: FoldAnswers, answers: Answers, labelled: Labelled) -> FoldRow:
    right, readable = answers.given == labelled.truth[fold.fold.test], fold.readable
    numbers = {"accuracy": float(right.mean())}
    if readable.any():
        numbers["of those read"] = float(right[readable].mean())
    return FoldRow(
        name=fold.fold.name,
        sizes={"learnt": fold.learnt, "tested": len(right), "unread": int((~readable).sum())},
        numbers=numbers,
        chosen=fold.chosen,
        unseen={labelled.classes[number]: count for number, count in fold.unseen.items()},
    )


def class_table(report: ClassReport) -> Table:
    """Folds, their mean, and all test clips together, with the protocol beneath."""
    table = plain_table(
        report.title,
        f"Protocol: {report.protocol.line()}.",
        ["Fold"],
        ["Learnt", "Tested", "Unread", "Accuracy", "Of those read"],
    )
    table.add_column("Chosen")
    for row in report.rows:
        shares = [percent(row.numbers.get(name)) for name in ("accuracy", "of those read")]
        sizes = [str(row.sizes[name]) for name in ("learnt", "tested", "unread")]
        table.add_row(row.name, *sizes, *shares, "; ".join(row.chosen))
    if report.rows:
        over = f"mean ± sd over {len(report.rows)} folds" if len(report.rows) > 1 else "mean"
        means = [
            in_style(report.over_folds(name), percent=True)
            for name in ("accuracy", "of those read")
        ]
        table.add_row(over, "", "", "", *means, "", style="bold")
    every, found = report.every, report.every.estimates
    intervals = [in_style(found.get(name), percent=True) for name in ("accuracy", "of those read")]
    sizes = [str(every.sizes[name]) for name in ("tested", "unread")]
    table.add_row("all test clips (95 %)", "", *sizes, *intervals, "")
    if "top-5" in found:
        table.add_row("top-5 (95 %)", "", "", "", found["top-5"].percent(), "", "")
    for name, share in {**every.numbers, "chance": every.chance["accuracy"]}.items():
        table.add_row(name, "", "", "", percent(share), "", "")
    return table


def worst(report: ClassReport, count: int = SHOWN) -> str:
    """The classes that are recognised least, and what they are taken for."""
    recall, confusion = report.every.recall, report.every.confusion
    lines: list[str] = []
    for name in sorted(recall, key=lambda name: (recall[name].recall, name))[:count]:
        row = report.classes.index(name)
        line = [0 if i == row else n for i, n in enumerate(confusion[row])]
        taken = (*report.classes, "unread")[int(np.argmax(line))] if any(line) else "nothing else"
        lines.append(f"{name} {percent(recall[name].recall)} (taken for {taken})")
    return "; ".join(lines)


def percent(share: float | None) -> str:
    """A share as published tables have it, or a dash."""
    return NONE if share is None else f"{100 * share:.1f}"
