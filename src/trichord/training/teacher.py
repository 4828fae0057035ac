"""Distillation: another run's vectors of the training clips, computed once, before the first step."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trichord.checkpoint import Run
from trichord.checkpoint.weights import under
from trichord.config import Experiment
from trichord.evaluation.scores import UnrankableError
from trichord.evaluation.vectors import embed_source
from trichord.features.source import Source, source_like
from trichord.models.embedder import Embedder
from trichord.training.sampler import Sample
from trichord.types import MODALITIES, Modality, Side, UserError
from trichord.types.comparable import ALL_PAIRS
from trichord.types.tensors import Features, Targets
from trichord.types.terms import TERMS, Term, term_of

PUBLISHED_SCALE = 100.0
"""Inverse temperature of a teacher that has learned none: that of CLIP and its successors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A teacher's unit vectors of all training clips and captions; zero for what is absent.

    Attributes:
        audio: Of the clips, as `vision`.
        vision: Of the clips.
        text: Of the captions, toward vision; the last row is zero, for the number -1.
        sound_text: Of the captions, toward audio, likewise.
        scales: Inverse temperature of each pair.
    """

    audio: Float[Tensor, "clip dim"]
    vision: Float[Tensor, "clip dim"]
    text: Float[Tensor, "caption_and_one dim"]
    sound_text: Float[Tensor, "caption_and_one dim"]
    scales: dict[frozenset[Side], float]

    def targets(self, sample: Sample, device: torch.device) -> Targets:
        """The vectors of a mini-batch."""
        clips = torch.from_numpy(sample.clips)
        none = np.full(len(clips), -1)
        captions = torch.from_numpy(none if sample.captions is None else sample.captions)
        return Targets(
            audio=_rows(self.audio, clips, device),
            vision=_rows(self.vision, clips, device),
            text=_rows(self.text, captions, device),
            sound_text=_rows(self.sound_text, captions, device),
            scales=self.scales,
        )


def _rows(vectors: Float[Tensor, "row dim"], numbers: Tensor, device: torch.device) -> Features:
    rows = vectors[numbers].to(device)
    return Features(rows, rows[:, None], rows.any(dim=1, keepdim=True))


def open_teacher(
    experiment: Experiment, student: Embedder, training: Source
) -> tuple[Embedder, Source]:
    """The model of an experiment's teacher, and the training clips as its input.

    Raises:
        UserError: It is no finished run, does not compare what a term does, has vectors of another
            width than the student where they are to be equal, or its features are missing.
    """
    assert experiment.teacher is not None
    option = f"--teacher {experiment.teacher}"
    with _named(option):
        model = Run(experiment.teacher).load().to(student.device)
    if model.reranks:
        raise UserError(
            f"{option}: it scores pairs of texts and clips, and its vectors only find candidates: choose a "
            "run without such a fusion."
        )
    for term in (one for one in map(term_of, experiment.terms) if one.distils):
        _require_comparable(option, term, model)
        if term.loss == "distil_vectors":
            _require_equal_widths(option, term, student, model)
    # A fusion of vision and audio makes the vectors of both.
    modalities = MODALITIES if model.fusion else experiment.modalities
    with _named(option):
        return model, source_like(training, model, modalities)


@contextmanager
def _named(what: str) -> Generator[None]:
    """Put what an error is about before it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def _require_comparable(option: str, term: Term, model: Embedder) -> None:
    sides: list[Modality] = [side for side in term.sides if side != "masked"]
    if len(sides) == 2 and not model.compares(*sides):
        raise UserError(
            f"{option}: it does not compare {sides[0]} with {sides[1]}, as '{term.kind}' does: choose "
            "another teacher or term."
        )


def _require_equal_widths(option: str, term: Term, student: Embedder, teacher: Embedder) -> None:
    (side,) = term.sides
    widths = [model.encoders()[side].dim for model in (student, teacher)]
    if widths[0] != widths[1]:
        raise UserError(
            f"{option}: its {side} vectors have {widths[1]} numbers, those of this model {widths[0]}: "
            f"'{term.kind}' needs equal widths; vt-distil, at-distil and av-distil do not."
        )


def teach(experiment: Experiment, model: Embedder, source: Source) -> Teacher:
    """A teacher's vectors of the training clips.

    Raises:
        UserError: One of them is zero or not finite.
    """
    assert experiment.teacher is not None
    try:
        found = embed_source(model, source)
    except UnrankableError as error:
        raise UserError(f"--teacher {experiment.teacher}: {error}") from error
    text = np.zeros((len(source.captions.texts) + 1, model.text.dim), np.float32)
    sound_text = np.zeros((len(text), model.text_toward("audio").dim), np.float32)
    for kind, numbers in source.captions.numbers.items():
        text[numbers] = found.captions[kind].toward_vision
        sound_text[numbers] = found.captions[kind].toward_audio
    return Teacher(
        audio=torch.from_numpy(_unit(np.where(found.has_audio[:, None], found.audio, 0))),
        vision=torch.from_numpy(_unit(np.where(found.has_vision[:, None], found.vision, 0))),
        text=torch.from_numpy(_unit(text)),
        sound_text=torch.from_numpy(_unit(sound_text)),
        scales=learned_scales(Run(experiment.teacher)),
    )


def _unit(vectors: Float[np.ndarray, "row dim"]) -> Float[np.ndarray, "row dim"]:
    """Rows of unit length; a fusion's are not. Zero rows stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)


def learned_scales(run: Run) -> dict[frozenset[Side], float]:
    """The inverse temperature that a run has learned for each pair, or that of published models."""
    learned = under(run.weights()[0], "objective.log_scale.")
    scales: dict[frozenset[Side], float] = {}
    for one, other in ALL_PAIRS:
        pair = frozenset[Side]({one, other})
        known = [
            float(value.exp())
            for name, value in learned.items()
            if name == "all" or (name in TERMS and frozenset(TERMS[name].sides) == pair)
        ]
        scales[pair] = known[0] if known else PUBLISHED_SCALE
    return scales
