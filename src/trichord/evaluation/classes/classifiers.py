"""Linear classifiers on frozen features: logistic regression, and CLIP4VLA's as published."""

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import nn

from trichord.evaluation.classes.folds import stratified
from trichord.models.bert_adam import BertAdamOptimizer
from trichord.types import UserError

MethodName = Literal["logistic", "as_paper", "as_paper_last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a classifier learns from: features, each clip's class out of `count`, and its group."""

    values: Float[ndarray, "clip dim"]
    classes: Int[ndarray, " clip"]
    groups: Int[ndarray, " clip"]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """What a classifier is asked about. The truth is for those that choose by it, and say so."""

    values: Float[ndarray, "clip dim"]
    truth: Int[ndarray, " clip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """Scores of the classes, -inf for those that the lesson did not have, and what was chosen."""

    scores: Float[ndarray, "clip class"]
    chosen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """Multinomial logistic regression on features that are standardised by the lesson.

    The strength of the L2 penalty is chosen on the lesson alone, by cross-validation that divides no
    group: the most right answers win, of equal ones the strongest penalty.
    """

    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    """scikit-learn's C, the inverse of the penalty, from the strongest penalty on."""
    parts: int = 5
    """Of the cross-validation, at most; as many as there are groups if they are fewer."""
    rounds: int = 2000
    """Of the solver at most."""

    def words(self) -> str:
        """The method, to stand in a protocol."""
        first, last = self.strengths[0], self.strengths[-1]
        return (
            f"logistic regression on standardised features, C from {first:g} to {last:g} chosen by "
            f"grouped cross-validation (at most {self.parts} parts) on training clips only"
        )

    def teach(self, lesson: Lesson, exam: Exam, *, seed: int) -> Taught:
        """Learn, and answer; the exam's truth is not looked at.

        Raises:
            UserError: scikit-learn is not installed.
            ValueError: The lesson has one class only.
        """
        _require_classes(lesson)
        strength = self._strength(lesson, seed)
        scores = self._scores(lesson, exam.values, strength)
        return Taught(scores=scores, chosen=f"C {strength:g}")

    def _strength(self, lesson: Lesson, seed: int) -> float:
        parts = min(self.parts, len(np.unique(lesson.groups)))
        if parts < 2:  # nothing to choose by
            return 1.0
        part = stratified(lesson.classes, lesson.groups, parts, seed=seed)
        right = dict.fromkeys(self.strengths, 0)
        for one in range(parts):
            rest, out = part != one, part == one
            inner = Lesson(
                values=lesson.values[rest],
                classes=lesson.classes[rest],
                groups=lesson.groups[rest],
                count=lesson.count,
            )
            if len(np.unique(inner.classes)) < 2:
                continue
            for strength in self.strengths:
                scores = self._scores(inner, lesson.values[out], strength)
                right[strength] += int((scores.argmax(axis=1) == lesson.classes[out]).sum())
        return max(self.strengths, key=lambda strength: right[strength])

    def _scores(
        self, lesson: Lesson, asked: Float[ndarray, "clip dim"], strength: float
    ) -> Float[ndarray, "clip class"]:
        """Logits of the classes: probabilities of far clips would round to 0 and tie."""
        try:
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.linear_model import LogisticRegression
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler
        except ImportError as error:
            raise UserError(
                "--method logistic needs scikit-learn: install it with `pip install "
                "'trichord[metrics]'`, or choose --method as_paper."
            ) from error
        model: Any = make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, max_iter=self.rounds)
        )
        scores = np.full((len(asked), lesson.count), -np.inf)
        with warnings.catch_warnings():
            # A weak penalty on few clips may not settle; it then counts for what it reaches.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(lesson.values.astype(np.float64), lesson.classes)
        logits = model.decision_function(asked.astype(np.float64))
        if logits.ndim == 1:  # of two classes, the difference
            logits = np.stack([-logits / 2, logits / 2], axis=1)
        scores[:, model.classes_] = logits
        return scores


@dataclass(frozen=True, slots=True, kw_only=True)
class AsPaper:
    """CLIP4VLA's classifier: a layer norm and a linear layer, trained by their optimizer.

    As published, the epoch that is best on the held-out fold counts. That is selection on the test
    clips; `last` is the same without.

    Source: CLIP4VLA, "Training Cost"; the settings as published. Not published, and here torch's own:
    the first weights and the order of clips.
    """

    choose: Literal["best", "last"] = "best"
    epochs: int = 10
    batch: int = 64
    rate: float = 5e-3
    warmup: float = 0.1
    """Share of all steps."""

    def words(self) -> str:
        """The method, to stand in a protocol."""
        epoch = {
            "best": "each fold's best epoch chosen on its test clips (SELECTION ON TEST, as published)",
            "last": "last epoch",
        }
        return (
            f"layer norm and linear layer as published: BertAdam at {self.rate:g}, {self.epochs} epochs, "
            f"batch {self.batch}, warm-up {self.warmup:g}; {epoch[self.choose]}"
        )

    def teach(self, lesson: Lesson, exam: Exam, *, seed: int) -> Taught:
        """Learn, answering after every epoch, and hand over the epoch's answers that are chosen.

        Raises:
            ValueError: The lesson has one class only.
        """
        _require_classes(lesson)
        answers = self._epochs(lesson, exam.values, seed)
        right = [int((scores.argmax(axis=1) == exam.truth).sum()) for scores in answers]
        epoch = int(np.argmax(right)) if self.choose == "best" else len(answers) - 1
        return Taught(scores=answers[epoch], chosen=f"epoch {epoch + 1}")

    def _epochs(
        self, lesson: Lesson, asked: Float[ndarray, "clip dim"], seed: int
    ) -> list[Float[ndarray, "clip class"]]:
        """Logits after each epoch."""
        unseen = np.setdiff1d(np.arange(lesson.count), lesson.classes)
        values, classes = torch.from_numpy(lesson.values), torch.from_numpy(lesson.classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = nn.Sequential(
                nn.LayerNorm(values.shape[1]), nn.Linear(values.shape[1], lesson.count)
            )
            optimizer = BertAdamOptimizer(model.parameters(), beta1=0.9, beta2=0.98, epsilon=1e-6)
            steps, taken = self.epochs * math.ceil(len(values) / self.batch), 0
            found: list[Float[ndarray, "clip class"]] = []
            for _ in range(self.epochs):
                for rows in torch.randperm(len(values)).split(self.batch):
                    loss = nn.functional.cross_entropy(model(values[rows]), classes[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.param_groups[0]["lr"] = self.rate * self._share(taken / steps)
                    optimizer.step()
                    taken += 1
                with torch.inference_mode():
                    logits = model(torch.from_numpy(asked))
                found.append(logits.numpy().astype(np.float64))
                found[-1][:, unseen] = -np.inf
        return found

    def _share(self, done: float) -> float:
        """Of the rate; the cosine runs over all steps, so it begins below 1."""
        if done < self.warmup:
            return done / self.warmup
        return 0.5 * (1 + math.cos(math.pi * done))


Method = Logistic | AsPaper
METHODS: dict[MethodName, Method] = {
    "logistic": Logistic(),
    "as_paper": AsPaper(),
    "as_paper_last": AsPaper(choose="last"),
}


def _require_classes(lesson: Lesson) -> None:
    if len(np.unique(lesson.classes)) < 2:
        raise ValueError("A classifier needs at least two classes to learn from.")
