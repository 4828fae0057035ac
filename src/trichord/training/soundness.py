"""Steps that must not be taken: a loss or a gradient that is not finite spoils every weight."""

from collections.abc import Iterable, Sequence

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


class Buffers:
    """What modules that train keep moving besides their weights, such as running means of batches."""

    def __init__(self, module: nn.Module) -> None:
        """Look for them; which they are changes only with what trains.

        Args:
            module: Of which some parts are in training mode.
        """
        parts = (part for part in module.modules() if part.training)
        self._moving = [one for part in parts for one in part.buffers(recurse=False)]

    def held(self) -> list[Tensor]:
        """Copies of them as they are now."""
        return [one.clone() for one in self._moving]

    @torch.no_grad()
    def put_back(self, held: Sequence[Tensor]) -> None:
        """Make them what they were."""
        for one, value in zip(self._moving, held, strict=True):
            one.copy_(value)
