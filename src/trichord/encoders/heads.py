"""New heads: for models whose vectors have no projection, and in place of a pretrained one."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trichord.types.rules import require


def identity_head(full: int, width: int | None = None) -> nn.Linear:
    """A linear layer that changes nothing until it is trained, or keeps the first `width` numbers."""
    head = nn.Linear(full, width or full, bias=False)
    nn.init.eye_(head.weight)
    return head


def cut_head(full: int, width: int | None, name: str) -> nn.Linear:
    """A linear layer that keeps the first numbers of a vector; `pooled` normalises them again.

    Args:
        full: Numbers of the model's vectors.
        width: Numbers to keep; None: all.
        name: Of the model, for the message.

    Raises:
        UserError: The vectors are not as wide.
    """
    require(
        width is None or width <= full,
        f"--model.width {width}: the vectors of '{name}' have {full} numbers: give fewer, or leave "
        "it out.",
    )
    return identity_head(full, width)


def hidden_head(width: int, hidden: int, dim: int, dropout: float) -> nn.Sequential:
    """A new head with one hidden layer.

    Args:
        width: Numbers of the trunk's features.
        hidden: Units of the hidden layer.
        dim: Numbers of the vectors.
        dropout: Share of the hidden units that training drops, and half of it of the features.
    """
    return nn.Sequential(
        FeatureNorm(width),
        nn.Dropout(dropout / 2),
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, dim),
    )


class FeatureNorm(nn.Module):
    """Each feature less its mean, divided by its standard deviation, both over the training clips.

    Features of one trunk differ a hundredfold in size, and those of several layers more: a new head would
    see the largest alone. Normalising each step by itself (LayerNorm) keeps these differences. Statistics
    of mini-batches (BatchNorm) would depend on padding and on how a batch is split.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        """Until `fit`, features stay as they are."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def fit(self, features: Float[Tensor, "step width"]) -> None:
        """Take mean and deviation of these features; one that never changes is only moved to 0."""
        self.mean.copy_(features.mean(dim=0))
        deviation = features.std(dim=0, correction=0)
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def forward(self, features: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Features of mean 0 and deviation 1."""
        return (features - self.mean) / self.deviation
