"""InfoNCE, between modalities and within one.

A batch of one process that fits a tile is scored whole, by the formulas as the papers write them. Beyond
that the loss of a pair is written softplus(negatives - positive), which keeps its digits where it is
small, and its log-sum-exponentials come from `tiled_logsumexp`, in memory that grows with the rows.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trichord.distributed import gathered, ranks, shared
from trichord.losses.options import Directions
from trichord.losses.tiled_logsumexp import WAYS, tiled_logsumexp


def info_nce(
    left: Float[Tensor, "pair dim"],
    right: Float[Tensor, "pair dim"],
    scale: Float[Tensor, ""],
    directions: Directions = "both",
    *,
    tile: int = 2048,
    groups: Int[Tensor, " pair"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE: each row's partner against all other rows, averaged over the directions.

    Args:
        left: Unit vectors of this rank.
        right: Unit vectors; row i belongs to row i of `left`.
        scale: Inverse temperature.
        directions: Ask `left` for its `right` ("a_to_b"), the other way round, or both.
        tile: Longest side of the parts in which scores are computed.
        groups: Rows with the same number are positives of one another: a row's loss is the mean over
            its positives. A row with a negative number has its partner alone.

    Returns:
        The loss over the rows of all ranks, the same on each; its gradients are as `tiled_logsumexp`
        says.

    Source: van den Oord et al. (2018); SLAVA's L_xy with the two directions averaged as in CLIP;
    several positives: Khosla et al. (2020), L_out of eq. 2.
    """
    # One process whose batch fits a tile keeps the formula as the
    # papers write it: its runs keep their numbers to the bit.
    if ranks() > 1 or len(left) > tile or groups is not None:
        return _tiled(left, right, scale, directions, tile, groups)
    logits = scale * left @ right.T
    target = torch.arange(len(logits), device=logits.device)
    if directions == "a_to_b":
        return F.cross_entropy(logits, target)
    if directions == "b_to_a":
        return F.cross_entropy(logits.T, target)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def intra_nce(
    original: Float[Tensor, "pair dim"],
    masked: Float[Tensor, "pair dim"],
    scale: Float[Tensor, ""],
    directions: Directions = "both",
    *,
    tile: int = 2048,
    groups: Int[Tensor, " pair"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE of audio and its masked copies, in which other originals are negatives too.

    An original's partner stands against all masked copies and all other originals (the paper's S);
    the mirror asks a masked copy in the same way. `a_to_b` is the first alone.

    Args:
        original: Unit vectors of this rank.
        masked: Unit vectors; row i is the copy of row i of `original`.
        scale: Inverse temperature.
        directions: As for `info_nce`.
        tile: As for `info_nce`.
        groups: None: only texts read the same.

    Returns:
        As `info_nce` does.

    Raises:
        ValueError: There are groups.

    Source: CLIP4VLA, "Intra-modal Objective Learning"; the mirror as published.
    """
    if groups is not None:
        raise ValueError("Only texts read the same: audio and its copies have no groups.")
    if ranks() > 1 or len(original) > tile:
        return _tiled_intra(original, masked, scale, directions, tile)
    across = scale * original @ masked.T
    diagonal = torch.eye(len(original), dtype=torch.bool, device=original.device)

    def one_direction(logits: Tensor, alike: Tensor) -> Tensor:
        # An original is no negative of itself: its cosine with itself is 1, above that of any pair.
        others = (scale * alike @ alike.T).masked_fill(diagonal, float("-inf"))
        partner = torch.arange(len(logits), device=logits.device)
        # The pairs come first, so that the number of a row is the column of its partner.
        return F.cross_entropy(torch.cat([logits, others], dim=1), partner)

    match directions:
        case "both":
            return (one_direction(across, original) + one_direction(across.T, masked)) / 2
        case "a_to_b":
            return one_direction(across, original)
        case "b_to_a":
            return one_direction(across.T, masked)


def info_nce_of_logits(
    logits: Float[Tensor, "left right"],
    directions: Directions = "both",
    groups: Int[Tensor, " left"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE of a square of scaled similarities whose diagonal holds the pairs, such as a fusion's.

    Args:
        logits: The square.
        directions: As for `info_nce`.
        groups: As for `info_nce`.
    """
    target = torch.arange(len(logits), device=logits.device)
    if groups is not None:
        same = same_group(groups)
        # Probabilities as targets: each positive gets an equal share. All rows of a group
        # have the same count, so this matrix is symmetric and serves the columns too.
        target = same.to(logits.dtype) / same.sum(dim=1, keepdim=True)
    match directions:
        case "both":
            return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        case "a_to_b":
            return F.cross_entropy(logits, target)
        case "b_to_a":
            return F.cross_entropy(logits.T, target)


def same_group(groups: Int[Tensor, " row"]) -> Bool[Tensor, "row row"]:
    """Which rows are of one group; a row with a negative number is alone."""
    diagonal = torch.eye(len(groups), dtype=torch.bool, device=groups.device)
    # Equal negative numbers make no group: they stand for texts that are like no other.
    return diagonal | ((groups[:, None] == groups) & (groups >= 0))


def _tiled(
    left: Float[Tensor, "pair dim"],
    right: Float[Tensor, "pair dim"],
    scale: Float[Tensor, ""],
    directions: Directions,
    tile: int,
    groups: Int[Tensor, " pair"] | None,
) -> Float[Tensor, ""]:
    left, right = single_precision(left), single_precision(right)
    sums = tiled_logsumexp(left, right, scale, directions=directions, tile=tile)
    # With positive p and log-sum-exp of negatives n,
    # -log(exp(p) / (exp(p) + exp(n))) is softplus(n - p).
    losses = [F.softplus(sums.negatives[way] - sums.positive).mean() for way in WAYS[directions]]
    loss = torch.stack(losses).mean()
    if groups is not None:
        loss = loss + scale * _lead(gathered(groups)[0], shared(left), shared(right))
    return loss.to(left.dtype)


def _tiled_intra(
    original: Float[Tensor, "pair dim"],
    masked: Float[Tensor, "pair dim"],
    scale: Float[Tensor, ""],
    directions: Directions,
    tile: int,
) -> Float[Tensor, ""]:
    sides = single_precision(original), single_precision(masked)
    sums = tiled_logsumexp(*sides, scale, directions=directions, tile=tile)
    losses: list[Tensor] = []
    for way in WAYS[directions]:
        # A side compared with itself gives a symmetric square: half of it is enough. A
        # row's other originals are those after it (first) and those before it (second).
        alike = tiled_logsumexp(sides[way], sides[way], scale, tile=tile, half=True)
        negatives = torch.logaddexp(sums.negatives[way], torch.logaddexp(*alike.negatives))
        losses.append(F.softplus(negatives - sums.positive).mean())
    return torch.stack(losses).mean().to(sides[0].dtype)


def single_precision(rows: Float[Tensor, "pair dim"]) -> Float[Tensor, "pair dim"]:
    """The rows in single precision at least: scores of half-precision vectors are summed in it."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _lead(
    groups: Int[Tensor, " row"], left: Float[Tensor, "row dim"], right: Float[Tensor, "row dim"]
) -> Float[Tensor, ""]:
    """Cosine of partners less the mean cosine within their group, averaged; 0 where groups are single.

    The softplus above asks for the partner alone. With all positives of a row the numerator is the mean
    of their scores instead, and the difference of the two is this.
    """
    # Each row without a group gets a negative number of its own: equal ones would be one group.
    alone = -1 - torch.arange(len(groups), device=groups.device)
    _, numbers = torch.where(groups < 0, alone, groups).unique(return_inverse=True)
    counts = numbers.bincount().unsqueeze(1)
    # Means of groups instead of a matrix of positives: memory grows with the rows.
    means = right.new_zeros(len(counts), right.shape[1]).index_add(0, numbers, right) / counts
    return (left * (right - means[numbers])).sum(dim=1).mean()
