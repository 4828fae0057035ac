"""Checks of training steps: a loss or gradient that is not finite would spoil all weights."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from trichord.checkpoint import Progress
from trichord.config import Stage
from trichord.distributed import all_max
from trichord.types import UserError

MOST_IN_A_ROW = 10
"""Skipped steps in a row before training stops: such an error is permanent."""
MOST_EMPTY = 100
"""Empty first steps of a stage before training stops: this is no chance."""


def is_finite(loss: Float[Tensor, ""], parameters: Iterable[nn.Parameter]) -> bool:
    """Whether a loss and its gradient are finite, in all processes.

    Args:
        loss: Of all processes' clips.
        parameters: The trainable ones; of sharded ones, the local part is checked.
    """
    gradients = [one.grad for one in parameters if one.grad is not None]
    here = [one.to_local() if isinstance(one, DTensor) else one for one in gradients]
    norm = nn.utils.get_total_norm(here) if here else torch.zeros(())
    sound = bool(torch.isfinite(loss.detach()).all()) and bool(torch.isfinite(norm))
    return all_max(int(not sound)) == 0


def refuse_skips(stage: Stage, progress: Progress) -> None:
    """Stop after too many skipped steps in a row, or if all first steps of a stage are empty.

    Raises:
        UserError: Names the step or the terms, and remedies.
    """
    if progress.skipped_in_a_row >= MOST_IN_A_ROW:
        raise UserError(
            f"Stage '{stage.name}', epoch {progress.epoch}, step {progress.step + 1}: for "
            f"{MOST_IN_A_ROW} steps in a row the loss or its gradient was not finite: train into "
            "another directory with a lower --stages.N.optimizer.lr or with --stages.N.precision "
            "float32, and let 'trichord doctor' look at the clips."
        )
    if progress.epoch == 1 and progress.empty == progress.step + 1 >= MOST_EMPTY:
        raise _idle(stage, f"none of the first {MOST_EMPTY} steps had anything to learn from")


def refuse_unlearnt(stage: Stage, epochs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a stage without a single step.

    Args:
        stage: At its end.
        epochs: Its numbers; the first are from before training.

    Raises:
        UserError: Names the terms and remedies.
    """
    if all(one["loss"] is None for one in epochs):
        empty, skipped = (sum(one.get(kind, 0) for one in epochs) for kind in ("empty", "skipped"))
        raise _idle(
            stage,
            f"{empty} steps had nothing to learn from, {skipped} a loss that was not finite, and there "
            "were no others",
        )


def _idle(stage: Stage, what: str) -> UserError:
    return UserError(
        f"Stage '{stage.name}' learnt nothing: {what}. Its terms ({', '.join(stage.terms)}) need clips "
        "that have both sides, at least two in a mini-batch: add captions or media, choose other terms, "
        "or raise --stages.N.batch-size."
    )


def refuse_unfinite(parameters: Iterable[nn.Parameter]) -> None:
    """Refuse weights that are not finite.

    Raises:
        UserError: Names remedies.
    """
    if any(not bool(torch.isfinite(one).all()) for one in parameters):
        raise UserError(
            "The weights are not finite after training: it has diverged; train into another directory "
            "with a lower --stages.N.optimizer.lr."
        )


class Buffers:
    """Buffers of modules in training mode, such as the running means of BatchNorm."""

    def __init__(self, module: nn.Module) -> None:
        """Collect them.

        Args:
            module: With parts in training mode.
        """
        parts = (part for part in module.modules() if part.training)
        self._moving = [one for part in parts for one in part.buffers(recurse=False)]

    def copies(self) -> list[Tensor]:
        """Copies of the present values."""
        return [one.clone() for one in self._moving]

    @torch.no_grad()
    def restore(self, copies: Sequence[Tensor]) -> None:
        """Restore earlier values."""
        for one, value in zip(self._moving, copies, strict=True):
            one.copy_(value)
