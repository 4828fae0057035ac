"""The loss of captions."""

import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor

from trichord.distributed import all_gather_with_grad, all_sum, world_size
from trichord.types.tensors import Words


def caption_loss(words: Words, rows: Bool[Tensor, " batch"]) -> Float[Tensor, ""] | None:
    """Mean cross-entropy of the tokens of some captions; None without any.

    Across ranks it is the mean over the tokens of all, with gradients as of `all_gather_with_grad`.

    Source: CLIP4VLA, eq. 7.
    """
    chosen = rows[words.rows]
    # Counted over all ranks, so that either all of them leave the term out or none does.
    # A rank that returned alone would leave the others waiting in `all_gather_with_grad`.
    places = all_sum(chosen.sum())
    if not places:
        return None
    logits, targets = words.logits[chosen], words.targets[chosen]
    if world_size() == 1:
        return F.cross_entropy(logits, targets)
    # Sums, not means: ranks have different numbers of tokens, and
    # a mean of their means would weight tokens differently.
    return (
        all_gather_with_grad(F.cross_entropy(logits, targets, reduction="sum").reshape(1)).sum()
        / places
    )
