"""InfoNCE, between modalities and within one.

A batch of one process that fits a tile is computed at once, by the formulas of the papers. Otherwise the
loss of a pair is softplus(negatives - positive), which is precise for small losses, with
log-sum-exponentials from `tiled_logsumexp`, whose memory grows with the rows.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trichord.distributed import all_gather, all_gather_with_grad, world_size
from trichord.losses.tiled_logsumexp import WAYS, Directions, tiled_logsumexp


def info_nce(
    left: Float[Tensor, "pair dim"],
    right: Float[Tensor, "pair dim"],
    scale: Float[Tensor, ""],
    directions: Directions = "both",
    *,
    tile: int = 2048,
    groups: Int[Tensor, " pair"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE: each row's positive against all other rows, averaged over the directions.

    Args:
        left: Unit vectors of this rank.
        right: Unit vectors; row i belongs to row i of `left`.
        scale: Inverse temperature.
        directions: Left rows as queries ("a_to_b"), right rows ("b_to_a"), or both.
        tile: Longest side of the parts in which scores are computed.
        groups: Rows with the same number are positives of one another: a row's loss is the mean over
            its positives. A row with a negative number has one positive.

    Returns:
        The loss over the rows of all ranks, the same on each; gradients as of `tiled_logsumexp`.

    Source: van den Oord et al. (2018); SLAVA's L_xy with the two directions averaged as in CLIP;
    several positives: Khosla et al. (2020), L_out of eq. 2.
    """
    # One process whose batch fits a tile uses the formula of the
    # papers: so its runs keep their numbers to the bit.
    if world_size() > 1 or len(left) > tile or groups is not None:
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

    An original's positive is its masked copy; its negatives are all other copies and all other
    originals (the paper's S). `b_to_a` swaps the roles of originals and copies.

    Args:
        original: Unit vectors of this rank.
        masked: Unit vectors; row i is the copy of row i of `original`.
        scale: Inverse temperature.
        directions: As for `info_nce`.
        tile: As for `info_nce`.
        groups: Must be None: only texts have groups.

    Returns:
        As for `info_nce`.

    Raises:
        ValueError: There are groups.

    Source: CLIP4VLA, "Intra-modal Objective Learning"; `b_to_a` as published.
    """
    if groups is not None:
        raise ValueError("Only texts read the same: audio and its copies have no groups.")
    if world_size() > 1 or len(original) > tile:
        return _tiled_intra(original, masked, scale, directions, tile)
    across = scale * original @ masked.T
    diagonal = torch.eye(len(original), dtype=torch.bool, device=original.device)

    def one_direction(logits: Tensor, alike: Tensor) -> Tensor:
        # An original is no negative of itself: its cosine with itself is 1, above that of any pair.
        others = (scale * alike @ alike.T).masked_fill(diagonal, float("-inf"))
        partner = torch.arange(len(logits), device=logits.device)
        # The pairs come first, so that the positive of row i is in column i.
        return F.cross_entropy(torch.cat([logits, others], dim=1), partner)

    queries = (across, original), (across.T, masked)
    return torch.stack([one_direction(*queries[way]) for way in WAYS[directions]]).mean()


def info_nce_of_logits(
    logits: Float[Tensor, "left right"],
    directions: Directions = "both",
    groups: Int[Tensor, " left"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE of a square matrix of scaled similarities with the pairs on its diagonal, as of a fusion.

    Args:
        logits: The matrix.
        directions: As for `info_nce`.
        groups: As for `info_nce`.
    """
    target = torch.arange(len(logits), device=logits.device)
    if groups is not None:
        same = same_group(groups)
        # Probabilities as targets, equal for all positives. All rows of a group have the
        # same count, so the matrix is symmetric and serves the columns too.
        target = same.to(logits.dtype) / same.sum(dim=1, keepdim=True)
    queries = logits, logits.T
    return torch.stack([F.cross_entropy(queries[way], target) for way in WAYS[directions]]).mean()


def same_group(
    groups: Int[Tensor, " row"], rows: slice = slice(None)
) -> Bool[Tensor, "some_row row"]:
    """Which rows are of one group with each of some rows; a row with a negative number is alone."""
    numbers = torch.arange(len(groups), device=groups.device)
    # Equal negative numbers are no group: they mark texts without equals.
    return (numbers[rows, None] == numbers) | ((groups[rows, None] == groups) & (groups >= 0))


def all_groups(
    groups: Int[Tensor, " row"] | None, rows: Float[Tensor, "row dim"]
) -> Int[Tensor, " all_row"]:
    """Groups of the rows of all ranks; without groups each row is alone."""
    alone = torch.full((len(rows),), -1, device=rows.device)
    return all_gather(alone if groups is None else groups)[0]


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
        loss = loss + scale * _lead(
            all_gather(groups)[0], all_gather_with_grad(left), all_gather_with_grad(right)
        )
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
        # A side compared with itself gives a symmetric matrix: half of it is enough. A
        # row's other originals are those after it (first) and before it (second).
        alike = tiled_logsumexp(sides[way], sides[way], scale, tile=tile, half=True)
        negatives = torch.logaddexp(sums.negatives[way], torch.logaddexp(*alike.negatives))
        losses.append(F.softplus(negatives - sums.positive).mean())
    return torch.stack(losses).mean().to(sides[0].dtype)


def single_precision(rows: Float[Tensor, "pair dim"]) -> Float[Tensor, "pair dim"]:
    """The rows in at least single precision, in which scores of half-precision vectors are summed."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _lead(
    groups: Int[Tensor, " row"], left: Float[Tensor, "row dim"], right: Float[Tensor, "row dim"]
) -> Float[Tensor, ""]:
    """Cosine of pairs minus the mean cosine within their group, averaged; 0 for groups of one row.

    The softplus above has one positive. With all positives of a row its numerator is the mean of their
    scores; this is the difference of the two.
    """
    # Each row without a group gets a unique negative number: equal ones would be one group.
    alone = -1 - torch.arange(len(groups), device=groups.device)
    _, numbers = torch.where(groups < 0, alone, groups).unique(return_inverse=True)
    counts = numbers.bincount().unsqueeze(1)
    # Means of groups instead of a matrix of positives: memory grows with the rows.
    means = right.new_zeros(len(counts), right.shape[1]).index_add(0, numbers, right) / counts
    return (left * (right - means[numbers])).sum(dim=1).mean()
