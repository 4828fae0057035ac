"""Contrastive terms over the rows of all ranks, in memory that grows with the rows.

One process with no more rows than a tile takes the formulas of `terms`, word for word. Beyond that the
loss of a pair is written softplus(rivals - partner), which keeps its digits where it is small.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from trichord.distributed import gathered, ranks, shared
from trichord.objectives.contrasts import WAYS, contrasts
from trichord.objectives.terms import Directions, info_nce, intra_nce


def tiled_nce(
    left: Float[Tensor, "pair dim"],
    right: Float[Tensor, "pair dim"],
    scale: Float[Tensor, ""],
    directions: Directions = "both",
    *,
    tile: int,
    groups: Int[Tensor, " pair"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE, with several positives a row where rows are of one group.

    Args:
        left: Unit vectors of this rank.
        right: Unit vectors; row i belongs to row i of `left`.
        scale: Inverse temperature.
        directions: As for `info_nce`.
        tile: Longest side of the parts in which scores are computed.
        groups: Rows with the same number are positives of one another: a row's loss is the mean over
            its positives. A row with a negative number has its partner alone.

    Returns:
        The loss over the rows of all ranks, the same on each; its gradients are as `contrasts` says.

    Source: van den Oord et al. (2018); several positives: Khosla et al. (2020), L_out of eq. 2.
    """
    if ranks() == 1 and len(left) <= tile and groups is None:
        return info_nce(left, right, scale, directions)
    left, right = exact(left), exact(right)
    found = contrasts(left, right, scale, directions=directions, tile=tile)
    ways = [F.softplus(found.rivals[way] - found.partner).mean() for way in WAYS[directions]]
    loss = torch.stack(ways).mean()
    if groups is not None:
        loss = loss + scale * _lead(gathered(groups)[0], shared(left), shared(right))
    return loss.to(left.dtype)


def tiled_intra_nce(
    original: Float[Tensor, "pair dim"],
    masked: Float[Tensor, "pair dim"],
    scale: Float[Tensor, ""],
    directions: Directions = "both",
    *,
    tile: int,
    groups: Int[Tensor, " pair"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE of sounds and their masked copies, in which other originals are negatives too.

    Args:
        original: Unit vectors of this rank.
        masked: Unit vectors; row i is the copy of row i of `original`.
        scale: Inverse temperature.
        directions: As for `intra_nce`.
        tile: As for `tiled_nce`.
        groups: None: sounds are of no group.

    Returns:
        As `tiled_nce` does.

    Raises:
        ValueError: There are groups.

    Source: as for `intra_nce`.
    """
    if groups is not None:
        raise ValueError("Only texts are alike: sounds and their copies have no groups.")
    if ranks() == 1 and len(original) <= tile:
        return intra_nce(original, masked, scale, directions)
    sides = exact(original), exact(masked)
    found = contrasts(*sides, scale, directions=directions, tile=tile)
    ways: list[Tensor] = []
    for way in WAYS[directions]:
        alike = contrasts(sides[way], sides[way], scale, tile=tile, half=True)
        rivals = torch.logaddexp(found.rivals[way], torch.logaddexp(*alike.rivals))
        ways.append(F.softplus(rivals - found.partner).mean())
    return torch.stack(ways).mean().to(sides[0].dtype)


def exact(rows: Float[Tensor, "pair dim"]) -> Float[Tensor, "pair dim"]:
    """The rows in single precision at least: scores of half-precision vectors are summed in it."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _lead(
    groups: Int[Tensor, " row"], left: Float[Tensor, "row dim"], right: Float[Tensor, "row dim"]
) -> Float[Tensor, ""]:
    """How much more alike partners are than the rows of a group on average; nothing where it is one."""
    alone = -1 - torch.arange(len(groups), device=groups.device)
    _, numbers = torch.where(groups < 0, alone, groups).unique(return_inverse=True)
    counts = numbers.bincount().unsqueeze(1)
    means = right.new_zeros(len(counts), right.shape[1]).index_add(0, numbers, right) / counts
    return (left * (right - means[numbers])).sum(dim=1).mean()
