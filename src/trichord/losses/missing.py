"""Padding of modalities that a rank lacks: all ranks must take part in the same exchanges."""

from dataclasses import replace
from typing import get_args

import torch

from trichord.distributed import all_gather
from trichord.types import Side
from trichord.types.tensors import Embeddings, Features, Words


def pad_missing(
    embeddings: Embeddings, rows: int, device: torch.device | None = None
) -> Embeddings:
    """Add masked features for modalities, and empty words, that only other ranks have.

    What is None in the result is None on all ranks.

    Args:
        embeddings: Of this rank's clips.
        rows: How many clips it has.
        device: For a rank without any features.
    """
    sides = {side: embeddings.of(side) for side in get_args(Side)}
    devices = [features.mask.device for features in sides.values() if features is not None]
    # Ranks must send from the same kind of device: Gloo
    # sends tensors of the CPU, NCCL those of GPUs.
    place = devices[0] if devices else device or torch.device("cpu")
    # No vector has width 0, so 0 means that the rank lacks the side.
    widths = [0 if features is None else features.pooled.shape[1] for features in sides.values()]
    present = torch.tensor([[*widths, int(embeddings.words is not None)]], device=place)
    *widths, words = all_gather(present)[0].amax(dim=0).tolist()
    masked = torch.zeros(rows, 1, dtype=torch.bool, device=place)
    padded: dict[str, Features | Words] = {
        side: Features(zeros := torch.zeros(rows, width, device=place), zeros.unsqueeze(1), masked)
        for (side, features), width in zip(sides.items(), widths, strict=True)
        if features is None and width
    }
    if words and embeddings.words is None:
        none = torch.zeros(0, dtype=torch.int64, device=place)
        # Without rows the size of the vocabulary does not matter: an empty sum is 0.
        padded["words"] = Words(torch.zeros(0, 1, device=place), none, none)
    return replace(embeddings, **padded)
