"""What a classifier answered, and what that comes to: accuracy, top-5, recall by class, confusion."""

from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy import ndarray

from trichord.evaluation.bootstrap import Estimate
from trichord.evaluation.proportions import proportions
from trichord.evaluation.ranks import TOLERANCE
from trichord.evaluation.row import ReportRow
from trichord.types.arrays import Bool, Float, Int

NONE = -1
"""The answer about a clip that there are no scores for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The class answered for each clip, the rank (1 is best) of its own class, and what could be read.

    A clip without scores has the answer `NONE` and a rank beyond all classes. Most of these could not
    be read; for some that could, nobody had learnt to answer.
    """

    given: Int[ndarray, " clip"]
    rank: Int[ndarray, " clip"]
    readable: Bool[ndarray, " clip"]


def answer(
    scores: Float[ndarray, "clip class"],
    truth: Int[ndarray, " clip"],
    readable: Bool[ndarray, " clip"] | None = None,
) -> Answers:
    """The best class of each clip; a tie counts against us.

    Args:
        scores: Higher is better; a row of NaN: there is no answer.
        truth: Each clip's own class.
        readable: Which clips could be read; those that have scores if not given.
    """
    rows = np.arange(len(truth))
    silent: Bool[ndarray, " clip"] = np.all(np.isnan(scores), axis=1)
    others = np.where(silent[:, None], -np.inf, scores)
    own = others[rows, truth]
    others[rows, truth] = -np.inf
    ahead = (others >= own[:, None] - TOLERANCE) & (np.arange(scores.shape[1]) != truth[:, None])
    rank = np.where(silent, scores.shape[1] + 1, 1 + ahead.sum(axis=1))
    given = np.where(rank == 1, truth, others.argmax(axis=1))
    return Answers(
        given=np.where(silent, NONE, given),
        rank=rank,
        readable=~silent if readable is None else readable,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRecall:
    """How many clips of a class there are, and the share of them that was recognised."""

    clips: int
    recall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow(ReportRow):
    """All test clips together, with 95 % intervals over clips; and class by class.

    `accuracy` and `top-5` count clips that could not be read as wrong; `of those read` leaves them out,
    and is absent where that leaves none. There is no `top-5` of five classes or fewer. `mean over classes`
    is that of their recall. `confusion` has a line for each class, and a column for each answer, the last
    for none.
    """

    recall: dict[str, ClassRecall]
    confusion: tuple[tuple[int, ...], ...]


def class_row(answers: Answers, truth: Int[ndarray, " clip"], classes: tuple[str, ...]) -> ClassRow:
    """What answers come to; classes of which there are no clips are left out of the mean.

    Raises:
        ValueError: There are no clips.
    """
    right = answers.given == truth
    counted = np.stack([right, answers.rank <= 5], axis=1).astype(np.float64)

    def estimated(rows: Bool[ndarray, " clip"]) -> tuple[Estimate, ...]:
        return proportions(counted[rows], np.arange(int(rows.sum())))

    accuracy, top5 = estimated(np.ones(len(truth), dtype=np.bool_))
    estimates = {"accuracy": accuracy}
    if answers.readable.any():
        estimates["of those read"] = estimated(answers.readable)[0]
    if len(classes) > 5:
        estimates["top-5"] = top5
    confusion = np.zeros((len(classes), len(classes) + 1), dtype=np.int64)
    np.add.at(confusion, (truth, answers.given), 1)  # NONE, -1, is the last column
    recall = {
        name: ClassRecall(clips=int(line.sum()), recall=float(line[i] / line.sum()))
        for i, (name, line) in enumerate(zip(classes, confusion, strict=True))
        if line.any()
    }
    return ClassRow(
        name="all test clips",
        sizes={"tested": len(truth), "unread": int(confusion[:, -1].sum())},
        estimates=estimates,
        numbers={"mean over classes": mean(one.recall for one in recall.values())},
        chance={"accuracy": 1 / len(classes)},
        recall=recall,
        confusion=tuple(tuple(int(n) for n in line) for line in confusion),
    )
