"""Patch dropout: a tower that trains sees a random part of each picture's patches."""

import torch
from jaxtyping import Float
from torch import Tensor

from trichord.types import UserError


def drop_patches(
    hidden: Float[Tensor, "step token width"], share: float
) -> Float[Tensor, "step kept width"]:
    """The class token and a random choice of the patches, of each picture its own.

    Source: Li et al., 2023 (FLIP), section 3, which finishes training on whole pictures.

    Args:
        hidden: The class token first, positions added: where a patch stands no longer matters.
        share: Of the patches that are left out; at least one stays.
    """
    patches = hidden.shape[1] - 1
    count = max(1, round(patches * (1 - share)))
    indices = torch.rand(len(hidden), patches, device=hidden.device).topk(count, dim=1).indices + 1
    rows = torch.arange(len(hidden), device=hidden.device)[:, None]
    return torch.cat([hidden[:, :1], hidden[rows, indices]], dim=1)


def checked(share: float, option: str) -> float:
    """A share of patches to leave out.

    Args:
        share: As given.
        option: The model's part that it belongs to.

    Raises:
        UserError: It is not from 0 to below 1.
    """
    if not 0 <= share < 1:
        raise UserError(
            f"--model.{option}.patch-dropout {share:g}: give a share from 0 to below 1."
        )
    return share
