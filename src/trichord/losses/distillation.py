"""Losses that imitate a teacher: how it ranks the clips of a batch, and its vectors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trichord.distributed import all_gather, all_gather_with_grad
from trichord.losses.info_nce import single_precision
from trichord.losses.tiled_logsumexp import WAYS, Directions
from trichord.losses.tiles import in_row_tiles


def distillation_loss(
    *vectors: Float[Tensor, "pair _"],
    scale: Float[Tensor, ""],
    teacher_scale: float,
    directions: Directions = "both",
    tile: int = 2048,
    groups: Int[Tensor, " pair"] | None = None,
) -> Float[Tensor, ""]:
    """KL divergence from a teacher's softmax over the batch to the student's, averaged over the rows.

    Nothing is right or wrong here: equal captions, several captions of a clip and near duplicates have
    the probability that the teacher gives them.

    Args:
        *vectors: Unit vectors of this rank: left and right of the student, then of the teacher, whose
            width may differ.
        scale: Inverse temperature of the student.
        teacher_scale: Inverse temperature of the teacher.
        directions: Left rows as queries ("a_to_b"), right rows ("b_to_a"), or both.
        tile: Rows of scores that are in memory at once.
        groups: Not used.

    Returns:
        The loss over the rows of all ranks, the same on each; every rank computes all of it.

    Source: CLIP-KD (Yang et al., 2024), contrastive relational distillation; with cross-entropy, which
    has the same gradient, it is the affinity mimicking of TinyCLIP (Wu et al., 2023).
    """
    student = [all_gather_with_grad(single_precision(side)) for side in vectors[:2]]
    teacher = [all_gather(single_precision(side))[0] for side in vectors[2:]]

    def divergence(way: int) -> Float[Tensor, ""]:
        queries, candidates = student[way], student[1 - way]
        taught, among = teacher[way], teacher[1 - way]

        def of_rows(rows: slice) -> Float[Tensor, " row"]:
            logs = (scale * queries[rows] @ candidates.T).log_softmax(dim=1)
            wanted = (teacher_scale * taught[rows] @ among.T).log_softmax(dim=1)
            return (wanted.exp() * (wanted - logs)).sum(dim=1)

        return torch.cat(in_row_tiles(of_rows, len(queries), tile)).mean()

    return torch.stack([divergence(way) for way in WAYS[directions]]).mean()


def vector_distillation_loss(
    student: Float[Tensor, "row dim"], teacher: Float[Tensor, "row dim"], **_: object
) -> Float[Tensor, ""]:
    """Mean squared distance of unit vectors from a teacher's, over the rows of all ranks.

    Source: CLIP-KD (Yang et al., 2024), feature distillation.
    """
    distances = (single_precision(student) - single_precision(teacher)).square().sum(dim=1)
    return all_gather_with_grad(distances).mean()
