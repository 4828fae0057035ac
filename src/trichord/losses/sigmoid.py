"""The sigmoid loss: each pair of rows is classified by itself."""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from trichord.distributed import all_gather_with_grad
from trichord.losses.info_nce import all_groups, same_group, single_precision
from trichord.losses.tiled_logsumexp import Directions
from trichord.losses.tiles import in_row_tiles


def sigmoid_loss(
    left: Float[Tensor, "pair dim"],
    right: Float[Tensor, "pair dim"],
    scale: Float[Tensor, ""],
    directions: Directions = "both",
    *,
    bias: Float[Tensor, ""],
    tile: int = 2048,
    groups: Int[Tensor, " pair"] | None = None,
) -> Float[Tensor, ""]:
    """Binary cross-entropy of all pairs of a left and a right row, summed, over the number of rows.

    A row of one side and its partner are a match, all other pairs are not.

    Args:
        left: Unit vectors of this rank.
        right: Unit vectors; row i belongs to row i of `left`.
        scale: Inverse temperature.
        directions: Must be "both": a pair has no direction.
        bias: Added to each logit. Almost all pairs are no match; a start far below 0 says so.
        tile: Rows of scores that are in memory at once.
        groups: Rows with the same number match each other. A row with a negative number has one match.

    Returns:
        The loss over the rows of all ranks, the same on each; every rank computes all of it.

    Raises:
        ValueError: There is a direction.

    Source: SigLIP (Zhai et al., 2023), eq. 1 and algorithm 1.
    """
    if directions != "both":
        raise ValueError("The sigmoid loss has no direction: choose both.")
    groups = all_groups(groups, left)
    left, right = (all_gather_with_grad(single_precision(side)) for side in (left, right))

    def of_rows(rows: slice) -> Float[Tensor, ""]:
        logits = scale * left[rows] @ right.T + bias
        # The sign says whether the pair is a match. -log sigmoid(-x) is
        # -log(1 - sigmoid(x)), without the rounding of the difference.
        return -F.logsigmoid(torch.where(same_group(groups, rows), logits, -logits)).sum()

    return torch.stack(in_row_tiles(of_rows, len(left), tile)).sum() / len(left)
