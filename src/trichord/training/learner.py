"""Model and objective together: from a mini-batch to its loss over all processes' clips."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from trichord.config import Stage
from trichord.distributed import all_gather, all_gather_with_grad, all_max, world_size
from trichord.encoders.half_precision import half_precision
from trichord.losses.missing import pad_missing
from trichord.losses.objective import Objective
from trichord.models.embedder import Embedder
from trichord.training.sampler import Sample
from trichord.training.teacher import Teacher
from trichord.types.tensors import Batch, Embeddings, Features, Padded


class Learner(nn.Module):
    """Model and objective as one module whose output is the loss.

    In distributed training each process encodes its rows of the mini-batch and computes the loss of all
    rows; its gradient is the mean of the processes' gradients.
    """

    def __init__(
        self,
        model: Embedder,
        objective: Objective,
        stage: Stage,
        *,
        teacher: Teacher | None = None,
        sharded: bool = False,
    ) -> None:
        """Combine model and objective.

        Args:
            model: With the parameters of the stage unfrozen.
            objective: Of the run.
            stage: For its precision.
            teacher: Whose vectors the terms of distillation imitate.
            sharded: The model's training trunks are sharded over the processes.
        """
        super().__init__()
        self.model = model
        self.objective = objective
        self.sharded = sharded
        self.teacher = teacher
        self.values: dict[str, Tensor] = {}
        """Terms of the last mini-batch, without weights and gradients, for the log."""
        self._stage = stage

    def forward(self, batch: Batch, sample: Sample) -> Float[Tensor, ""] | None:
        """The loss of a mini-batch; None if no term has enough rows.

        Args:
            batch: This process's rows.
            sample: Their terms and captions.
        """
        embeddings = self.complete(self.encode(batch, sample), sample, batch.words)
        terms = self.objective(embeddings, sample.terms, sample.texts, sample.owners)
        return self._sum(terms, sample)

    def encode(self, batch: Batch, sample: Sample) -> Embeddings:
        """Embeddings of each clip by itself; dropout is seeded by the rows' place."""
        sample.seed_rng(of_rows=True)
        with autocast(self._stage, self.model.device):
            return self.model.encode(batch)

    def complete(
        self, embeddings: Embeddings, sample: Sample, words: Padded | None = None
    ) -> Embeddings:
        """Add the results of fusion and captioner, and a teacher's vectors.

        Args:
            embeddings: Of this process's rows.
            sample: Their terms and captions.
            words: Token ids of their captions, for a captioner.
        """
        every = embeddings
        if self.model.fusion is not None:
            sample.seed_rng()  # the same in all processes: each scores all texts and clips
            if world_size() > 1:
                # So that no process waits for what another lacks.
                every = pad_missing(embeddings, len(sample.clips))
                sides = (every.text, every.audio, every.vision)
                text, audio, vision = map(_gather_features, sides)
                every = Embeddings(text, audio, vision)
        with autocast(self._stage, self.model.device):
            return replace(
                embeddings,
                similarity=self.model.similarity(every),
                words=self.model.caption_logits(words, embeddings),
                teacher=self.teacher.targets(sample, self.model.device) if self.teacher else None,
            )

    def loss(self, embeddings: Embeddings, sample: Sample) -> Float[Tensor, ""] | None:
        """As `forward`, of encoded clips; without the caption loss, which is not contrastive."""
        completed = self.complete(embeddings, sample)
        terms = self.objective(completed, sample.terms, sample.texts, sample.owners)
        return self._sum(terms, sample)

    def _sum(
        self, terms: Mapping[str, Float[Tensor, ""]], sample: Sample
    ) -> Float[Tensor, ""] | None:
        """The weighted sum of the terms; None if there are none."""
        self.values = {name: term.detach() for name, term in terms.items()}
        parts = [sample.weights[name] * term for name, term in terms.items()]
        return torch.stack(parts).sum() if parts else None


def _gather_features(features: Features | None) -> Features | None:
    """Features of all processes' clips."""
    if features is None:
        return None
    added = all_max(features.mask.shape[1]) - features.mask.shape[1]
    return Features(
        all_gather_with_grad(features.pooled),
        all_gather_with_grad(F.pad(features.steps, (0, 0, 0, added))),
        all_gather(F.pad(features.mask, (0, added)))[0],
    )


def autocast(stage: Stage, device: torch.device) -> AbstractContextManager[None]:
    """The precision of a stage's forward pass."""
    half = stage.precision == "bfloat16" or (stage.precision == "auto" and device.type == "cuda")
    return half_precision(device) if half else nullcontext()
