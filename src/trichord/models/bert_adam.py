"""The published optimizer of CLIP4VLA, for training and for its linear probes."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class BertAdamOptimizer(Optimizer):
    """Adam without bias correction, each parameter's gradient clipped to norm 1, decay added to the step.

    Source: CLIP4VLA as published; the optimizer of BERT's first release.
    """

    def __init__(
        self, params: Iterable[Any], *, beta1: float, beta2: float, epsilon: float
    ) -> None:
        defaults = {"lr": 0.0, "betas": (beta1, beta2), "eps": epsilon, "weight_decay": 0.0}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        gradient = gradient * (1.0 / gradient.norm().clamp(min=1.0))
        (beta1, beta2), mean, square = group["betas"], state["exp_avg"], state["exp_avg_sq"]
        mean.mul_(beta1).add_(gradient, alpha=1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        change = mean / (square.sqrt() + group["eps"])
        change.add_(parameter, alpha=group["weight_decay"])
        parameter.sub_(change, alpha=group["lr"])
