"""Heads for models whose vectors have no projection."""

from torch import nn

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
