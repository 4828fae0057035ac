"""Contrastive losses of three modalities at once, by a geometric measure of three vectors.

The measure of anchor i with the other two vectors of clip j is small if all three agree. Anchors and clips
are contrasted like the two sides of a pair, with the negative measure as similarity.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trichord.distributed import all_gather_with_grad
from trichord.losses.info_nce import all_groups, same_group, single_precision
from trichord.losses.tiled_logsumexp import WAYS, Directions
from trichord.losses.tiles import in_row_tiles

TINY = 1e-6
"""Added below the root: the gradient of the root at 0, of three vectors in one plane, is infinite."""

Matrix = Float[Tensor, "anchor clip"]
Measure = Callable[[Matrix, Matrix, Float[Tensor, " clip"]], Matrix]
"""From the cosines of anchors and second vectors, anchors and third, second and third."""


def volume_nce(
    anchor: Float[Tensor, "row dim"],
    second: Float[Tensor, "row dim"],
    third: Float[Tensor, "row dim"],
    scale: Float[Tensor, ""],
    directions: Directions = "both",
    *,
    tile: int = 2048,
    groups: Int[Tensor, " row"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE of the volume of the parallelepiped that three unit vectors span.

    The volume is the root of the determinant of their Gram matrix: 1 if they are orthogonal, 0 if they
    lie in one plane. A vector and its opposite have the same volume.

    Args:
        anchor: Unit vectors of this rank, such as texts.
        second: Unit vectors; row i of all three is of one clip.
        third: Unit vectors.
        scale: Inverse temperature.
        directions: Anchors as queries ("a_to_b"), clips ("b_to_a"), or both.
        tile: Anchors whose measures are in memory at once.
        groups: Anchors with the same number are positives of each other's clips: a loss is the mean
            over the positives. A row with a negative number has one positive.

    Returns:
        The loss over the rows of all ranks, the same on each; every rank computes all of it.

    Source: GRAM (Cicchetti et al., 2025), eq. 5 to 7, without label smoothing.
    """
    return _nce_of_triples(
        volume, anchor, second, third, scale, directions=directions, tile=tile, groups=groups
    )


def area_nce(
    anchor: Float[Tensor, "row dim"],
    second: Float[Tensor, "row dim"],
    third: Float[Tensor, "row dim"],
    scale: Float[Tensor, ""],
    directions: Directions = "both",
    *,
    tile: int = 2048,
    groups: Int[Tensor, " row"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE of the area of the triangle between the ends of three unit vectors.

    The area is 0 if the ends lie on a line, as of equal vectors. Arguments and result are those of
    `volume_nce`.

    Source: TRIANGLE (Cicchetti et al., 2025). The paper has a root, which the authors' code leaves out.
    """
    return _nce_of_triples(
        area, anchor, second, third, scale, directions=directions, tile=tile, groups=groups
    )


def volume(first: Matrix, second: Matrix, others: Float[Tensor, " clip"]) -> Matrix:
    """Volume of three unit vectors, by the determinant of their Gram matrix; see `Measure`."""
    determinant = 1 + 2 * first * second * others - first**2 - second**2 - others**2
    return _root(determinant)


def area(first: Matrix, second: Matrix, others: Float[Tensor, " clip"]) -> Matrix:
    """Area of the triangle between the ends of three unit vectors; see `Measure`."""
    # Two of its sides lead from the anchor to the other ends: their squared lengths and inner product.
    to_second, to_third = 2 - 2 * first, 2 - 2 * second
    between = 1 - first - second + others
    return _root(to_second * to_third - between**2) / 2


def _root(square: Tensor) -> Tensor:
    return (square.clamp(min=0) + TINY).sqrt()  # rounding can make it negative


def _nce_of_triples(
    measure: Measure,
    *vectors: Float[Tensor, "row dim"] | Float[Tensor, ""],
    directions: Directions,
    tile: int,
    groups: Int[Tensor, " row"] | None,
) -> Float[Tensor, ""]:
    *sides, scale = vectors
    groups = all_groups(groups, sides[0])
    anchor, second, third = (all_gather_with_grad(single_precision(side)) for side in sides)
    others = (second * third).sum(dim=1)

    def of_rows(rows: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mine = anchor[rows]
        logits = -scale * measure(mine @ second.T, mine @ third.T, others)
        positives = same_group(groups, rows).to(logits.dtype)
        # All rows of a group have the same count, so it divides columns too.
        wanted = logits * positives / positives.sum(dim=1, keepdim=True)
        return logits.logsumexp(1), wanted.sum(1), logits.logsumexp(0), wanted.sum(0)

    tops, wanted, partial_tops, partial_wanted = zip(
        *in_row_tiles(of_rows, len(anchor), tile), strict=True
    )
    losses = (
        torch.cat(tops) - torch.cat(wanted),
        torch.stack(partial_tops).logsumexp(0) - torch.stack(partial_wanted).sum(0),
    )
    return torch.stack([losses[way].mean() for way in WAYS[directions]]).mean()
