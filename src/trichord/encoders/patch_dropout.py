"""Patch dropout: a tower that trains sees a random part of each picture's patches."""

import torch
from jaxtyping import Float
from torch import Tensor


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
