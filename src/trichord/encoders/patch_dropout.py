"""Patch dropout: in training a vision tower gets a random subset of each picture's patches."""

import torch
from jaxtyping import Float
from torch import Tensor


def drop_patches(
    hidden: Float[Tensor, "step token width"], share: float
) -> Float[Tensor, "step kept width"]:
    """The class token and a random subset of the patches, different for each picture.

    Source: Li et al., 2023 (FLIP), section 3, which finishes training on whole pictures.

    Args:
        hidden: The class token first, with positions added, so that the order does not matter.
        share: Of the dropped patches; at least one patch is kept.
    """
    patches = hidden.shape[1] - 1
    count = max(1, round(patches * (1 - share)))
    indices = torch.rand(len(hidden), patches, device=hidden.device).topk(count, dim=1).indices + 1
    rows = torch.arange(len(hidden), device=hidden.device)[:, None]
    return torch.cat([hidden[:, :1], hidden[rows, indices]], dim=1)
