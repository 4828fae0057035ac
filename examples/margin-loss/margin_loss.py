"""The max-of-hinges loss of VSE++ (Faghri et al., 2018): the hardest negative stays a margin behind."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from trichord.config import Term

MARGIN = 0.2


def max_of_hinges(left: Tensor, right: Tensor, **_: object) -> Tensor:
    """Unit vectors (pair, dim) of partners to a scalar; cosines are compared as they are."""
    cosines = left @ right.T
    own = torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
    negatives = cosines.masked_fill(own, float("-inf"))
    hardest = torch.stack([negatives.amax(dim=1), negatives.amax(dim=0)])
    return F.relu(MARGIN + hardest - cosines.diagonal()).mean()


AT_MARGIN = Term(kind="at-margin", sides=("audio", "text"), loss=max_of_hinges)
VT_MARGIN = Term(kind="vt-margin", sides=("vision", "text"), loss=max_of_hinges)
