"""Linear probes: how much of the classes frozen features hold, fold by fold.

Source: CLIP4VLA, "Training Cost" and Table 6: a linear classifier on frozen backbones, the mean
accuracy over official folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from trichord.evaluation.classes.classifiers import Exam, Lesson, Method
from trichord.evaluation.classes.folds import Fold
from trichord.evaluation.classes.published_head import PublishedHead
from trichord.evaluation.pairs import After, measuring
from trichord.evaluation.vectors import CLIPS_AT_ONCE, MEDIA_AT_ONCE
from trichord.features.source import Source, portions
from trichord.models.embedder import Embedder
from trichord.types import UserError
from trichord.types.tensors import Features

Medium = Literal["vision", "audio"]
Join = Literal["mean", "concatenated"]
"""How picture and sound become one feature: as published their mean, or end to end."""


@dataclass(frozen=True, slots=True)
class FrozenFeatures:
    """One modality's features; a row that is not present holds zeros, which are never read."""

    values: Float[ndarray, "clip dim"]
    present: Bool[ndarray, " clip"]


def read_frozen(
    model: Embedder, source: Source, after: After | None = None
) -> dict[Medium, FrozenFeatures]:
    """Frozen features of all clips, of whichever of picture and sound the source gives.

    As published, a clip's feature is the mean of its frames' (segments') projected vectors, not
    normalised before or after. A fusion has no say.

    Args:
        model: In whatever mode; it is left in it.
        source: Clips, each of which may lack a modality.
        after: Told how many clips have been read, after every portion.
    """
    found: dict[Medium, list[FrozenFeatures]] = {"vision": [], "audio": []}
    size = CLIPS_AT_ONCE if source.precomputed else MEDIA_AT_ONCE
    with measuring(model):
        for rows in portions(len(source.clips), size):
            embedded = model(source.batch(rows, None).to(model.device))
            if embedded.vision is not None:
                found["vision"].append(_mean(embedded.vision))
            if embedded.audio is not None:
                found["audio"].append(_mean(embedded.audio))
            if after:
                after(len(rows))
    return {
        medium: FrozenFeatures(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.present for part in parts]),
        )
        for medium, parts in found.items()
        if parts
    }


def _mean(features: Features) -> FrozenFeatures:
    weight = features.mask.unsqueeze(-1).float()
    steps = torch.where(features.mask.unsqueeze(-1), features.steps.float(), 0.0)
    mean = steps.sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    return FrozenFeatures(mean.cpu().numpy(), features.present.cpu().numpy())


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One feature for clips of one kind, such as those that have both picture and sound.

    A classifier of its own learns from all clips that are `present` and answers for those that are
    `asked`.
    """

    what: str
    values: Float[ndarray, "clip dim"]
    present: Bool[ndarray, " clip"]
    asked: Bool[ndarray, " clip"]


def views(parts: dict[Medium, FrozenFeatures], join: Join = "mean") -> tuple[View, ...]:
    """Features as classifiers take them; a missing modality is left out, never zeros.

    Of two modalities, `mean` averages those that a clip has, for one classifier. `concatenated` needs
    one for clips with both, and one for each modality alone, which learns from every clip that
    has it and answers for those that have nothing else.
    """
    if len(parts) == 1 or join == "mean":
        present = np.stack([part.present for part in parts.values()])
        values = np.stack([part.values * part.present[:, None] for part in parts.values()])
        share = np.maximum(present.sum(axis=0), 1)[:, None].astype(values.dtype)
        any_of: Bool[ndarray, " clip"] = np.any(present, axis=0)
        what = " or ".join(parts)
        return (View(what=what, values=values.sum(axis=0) / share, present=any_of, asked=any_of),)
    vision, audio = parts["vision"], parts["audio"]
    both = vision.present & audio.present
    joined = np.concatenate([vision.values, audio.values], axis=1)
    return (
        View(what="vision and audio", values=joined, present=both, asked=both),
        *(
            View(what=name, values=part.values, present=part.present, asked=part.present & ~both)
            for name, part in parts.items()
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldAnswers:
    """Scores of a fold's test clips, and how they came about.

    Attributes:
        scores: NaN for clips that could not be read or that no classifier answers for.
        readable: Which test clips could be read.
        learnt: Clips learnt from.
        chosen: What each classifier chose, such as the strength of its penalty.
        unseen: Test clips of each class that no training clip has.
        untaught: Rows of clips that can be read, but that no classifier answers for, since no two
            classes of training clips have all that they have.
    """

    fold: Fold
    scores: Float[ndarray, "tested class"]
    readable: Bool[ndarray, " tested"]
    learnt: int = 0
    chosen: tuple[str, ...] = ("nothing",)
    unseen: dict[int, int] = field(default_factory=dict[int, int])
    untaught: tuple[int, ...] = ()


def probe(
    seen: Sequence[View],
    truth: Int[ndarray, " clip"],
    groups: Int[ndarray, " clip"],
    fold: Fold,
    method: Method,
    *,
    seed: int = 0,
) -> FoldAnswers:
    """Teach classifiers a fold's training clips, and ask them about its test clips.

    Args:
        seen: The clips' features, by what they have.
        truth: Each clip's class.
        groups: What may not be divided where the training clips are divided to choose by.
        fold: Rows to learn from and to be tested on.
        method: How to learn.
        seed: Of first weights, orders and divisions.

    Raises:
        UserError: No classifier has two classes to learn from.
    """
    count = int(truth.max()) + 1
    scores = np.full((len(fold.test), count), np.nan)
    chosen: list[str] = []
    untaught: list[int] = []
    learnt: set[int] = set()
    taught = False
    for view in seen:
        train = fold.train[view.present[fold.train]]
        asked = view.asked[fold.test]
        if len(np.unique(truth[train])) < 2:
            untaught += fold.test[asked].tolist()
            continue
        taught = True
        if not asked.any():
            continue
        lesson = Lesson(
            values=view.values[train], classes=truth[train], groups=groups[train], count=count
        )
        exam = Exam(values=view.values[fold.test[asked]], truth=truth[fold.test[asked]])
        known = method.teach(lesson, exam, seed=seed)
        scores[asked] = known.scores
        learnt |= set(train.tolist())
        chosen.append(known.chosen if len(seen) == 1 else f"{view.what}: {known.chosen}")
    if not taught:
        raise UserError(
            f"Fold {fold.name}: its training clips that can be read are of fewer than two classes: "
            "choose other --folds, or another --modality."
        )
    tested, counts = np.unique(truth[fold.test], return_counts=True)
    taught_classes = set(truth[fold.train].tolist())
    pairs = zip(tested.tolist(), counts.tolist(), strict=True)
    return FoldAnswers(
        fold=fold,
        scores=scores,
        readable=np.any([view.asked[fold.test] for view in seen], axis=0),
        learnt=len(learnt),
        chosen=tuple(chosen),
        unseen={one: count for one, count in pairs if one not in taught_classes},
        untaught=tuple(untaught),
    )


def ask(head: PublishedHead, view: View, fold: Fold) -> FoldAnswers:
    """Ask a head that has learnt already about a fold's test clips; its training clips are left aside."""
    asked = view.asked[fold.test]
    scores = np.full((len(fold.test), len(head.classes)), np.nan)
    scores[asked] = head.scores(view.values[fold.test[asked]])
    return FoldAnswers(fold=fold, scores=scores, readable=asked)
