"""Losses of matrices of scores that are held whole, and of words."""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trichord.distributed import ranks, shared, summed
from trichord.types.tensors import Words

Directions = Literal["both", "a_to_b", "b_to_a"]


def info_nce(
    left: Float[Tensor, "pair dim"],
    right: Float[Tensor, "pair dim"],
    scale: Float[Tensor, ""],
    directions: Directions = "both",
) -> Float[Tensor, ""]:
    """InfoNCE: each row's partner against all other rows, averaged over the directions of asking.

    Args:
        left: Unit vectors.
        right: Unit vectors; row i belongs to row i of `left`.
        scale: Inverse temperature.
        directions: Ask `left` for its `right` ("a_to_b"), the other way round, or both.

    Source: van den Oord et al. (2018); SLAVA's L_xy with the two directions averaged as in CLIP.
    """
    return nce_of(scale * left @ right.T, directions)


def nce_of(
    logits: Float[Tensor, "left right"],
    directions: Directions = "both",
    groups: Int[Tensor, " left"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE of a square of scaled similarities whose diagonal holds the pairs.

    Args:
        logits: The square.
        directions: As for `info_nce`.
        groups: As for `tiled_nce`.
    """
    wanted = torch.arange(len(logits), device=logits.device)
    if groups is not None:
        same = of_one_group(groups)
        wanted = same.to(logits.dtype) / same.sum(dim=1, keepdim=True)
    match directions:
        case "both":
            return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2
        case "a_to_b":
            return F.cross_entropy(logits, wanted)
        case "b_to_a":
            return F.cross_entropy(logits.T, wanted)


def of_one_group(groups: Int[Tensor, " row"]) -> Bool[Tensor, "row row"]:
    """Which rows are of one group; a row with a negative number is alone."""
    own = torch.eye(len(groups), dtype=torch.bool, device=groups.device)
    return own | ((groups[:, None] == groups) & (groups >= 0))


def intra_nce(
    original: Float[Tensor, "pair dim"],
    masked: Float[Tensor, "pair dim"],
    scale: Float[Tensor, ""],
    directions: Directions = "both",
) -> Float[Tensor, ""]:
    """InfoNCE of sounds and their masked copies, in which other originals are negatives too.

    An original's partner stands against all masked copies and all other originals (the paper's S);
    the mirror asks a masked copy in the same way. `a_to_b` is the first alone.

    Source: CLIP4VLA, "Intra-modal Contrastive Learning"; the mirror as published.
    """
    across = scale * original @ masked.T
    own = torch.eye(len(original), dtype=torch.bool, device=original.device)

    def asked(ways: Tensor, alike: Tensor) -> Tensor:
        others = (scale * alike @ alike.T).masked_fill(own, float("-inf"))
        partner = torch.arange(len(ways), device=ways.device)
        return F.cross_entropy(torch.cat([ways, others], dim=1), partner)

    match directions:
        case "both":
            return (asked(across, original) + asked(across.T, masked)) / 2
        case "a_to_b":
            return asked(across, original)
        case "b_to_a":
            return asked(across.T, masked)


def word_loss(words: Words, wanted: Bool[Tensor, " batch"]) -> Float[Tensor, ""] | None:
    """Cross-entropy of the words of some captions, the mean over all their places; None without any.

    Across ranks it is the mean over the places of all, with gradients as of `distributed.shared`.

    Source: CLIP4VLA, eq. 7.
    """
    chosen = wanted[words.rows]
    places = summed(chosen.sum())
    if not places:
        return None
    logits, targets = words.logits[chosen], words.targets[chosen]
    if ranks() == 1:
        return F.cross_entropy(logits, targets)
    return shared(F.cross_entropy(logits, targets, reduction="sum").reshape(1)).sum() / places
