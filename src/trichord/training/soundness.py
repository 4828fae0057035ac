"""Steps that must not be taken: a loss or a gradient that is not finite spoils every weight."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from trichord.checkpoint import Progress
from trichord.config import Stage
from trichord.distributed import largest
from trichord.types import UserError

MOST_IN_A_ROW = 10
"""Steps skipped one after another before training stops: what is wrong will not pass by itself."""
MOST_EMPTY = 100
"""First steps of a stage without anything to learn from before it stops: chance does not do that."""


def is_finite(loss: Float[Tensor, ""], parameters: Iterable[nn.Parameter]) -> bool:
    """Whether a loss and the gradient it left are finite, all processes agreeing.

    Args:
        loss: Of all processes' clips.
        parameters: Those that train; sharded ones are looked at where they lie.
    """
    gradients = [one.grad for one in parameters if one.grad is not None]
    here = [one.to_local() if isinstance(one, DTensor) else one for one in gradients]
    norm = nn.utils.get_total_norm(here) if here else torch.zeros(())
    sound = bool(torch.isfinite(loss.detach()).all()) and bool(torch.isfinite(norm))
    return largest(int(not sound)) == 0


def refuse_unsound(stage: Stage, progress: Progress) -> None:
    """Refuse to go on after too many skipped steps in a row.

    Raises:
        UserError: Names the step and what may help.
    """
    if progress.skipped_in_a_row >= MOST_IN_A_ROW:
        raise UserError(
            f"Stage '{stage.name}', epoch {progress.epoch}, step {progress.step + 1}: for "
            f"{MOST_IN_A_ROW} steps in a row the loss or its gradient was not finite: train into "
            "another directory with a lower --stages.N.optimizer.lr or with --stages.N.precision "
            "float32, and let 'trichord doctor' look at the clips."
        )


def refuse_idle(stage: Stage, progress: Progress) -> None:
    """Refuse to go on where none of the first steps of a stage has anything to learn from.

    Raises:
        UserError: Names the terms and what may help.
    """
    if progress.epoch == 1 and progress.empty == progress.step + 1 >= MOST_EMPTY:
        raise _idle(stage, f"none of the first {MOST_EMPTY} steps had anything to learn from")


def refuse_unlearnt(stage: Stage, epochs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a stage that has ended without a single step.

    Args:
        stage: That has ended.
        epochs: Its numbers, the state before training first.

    Raises:
        UserError: Names the terms and what may help.
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
    """Refuse to call weights trained that are not finite.

    Raises:
        UserError: Says what may help.
    """
    if any(not bool(torch.isfinite(one).all()) for one in parameters):
        raise UserError(
            "The weights are not finite after training: it has diverged; train into another directory "
            "with a lower --stages.N.optimizer.lr."
        )


class Buffers:
    """What modules that train keep moving besides their weights, such as running means of batches."""

    def __init__(self, module: nn.Module) -> None:
        """Look for them; which they are changes only with what trains.

        Args:
            module: Of which some parts are in training mode.
        """
        parts = (part for part in module.modules() if part.training)
        self._moving = [one for part in parts for one in part.buffers(recurse=False)]

    def copies(self) -> list[Tensor]:
        """Copies of them as they are now."""
        return [one.clone() for one in self._moving]

    @torch.no_grad()
    def restore(self, copies: Sequence[Tensor]) -> None:
        """Make them what they were."""
        for one, value in zip(self._moving, copies, strict=True):
            one.copy_(value)
