"""The loss of the words of captions."""

import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor

from trichord.distributed import ranks, shared, summed
from trichord.types.tensors import Words


def caption_loss(words: Words, rows: Bool[Tensor, " batch"]) -> Float[Tensor, ""] | None:
    """Cross-entropy of the words of some captions, the mean over all their places; None without any.

    Across ranks it is the mean over the places of all, with gradients as of `distributed.shared`.

    Source: CLIP4VLA, eq. 7.
    """
    chosen = rows[words.rows]
    # Counted over all ranks: either all of them leave the term out or none does.
    # A rank that returned alone would leave the others waiting in `shared`.
    places = summed(chosen.sum())
    if not places:
        return None
    logits, targets = words.logits[chosen], words.targets[chosen]
    if ranks() == 1:
        return F.cross_entropy(logits, targets)
    # Sums, not means: ranks have different numbers of places, and
    # a mean of their means would weigh these places differently.
    return shared(F.cross_entropy(logits, targets, reduction="sum").reshape(1)).sum() / places
