"""Contrastive terms between modalities, and their sum under a temperature for each pair."""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trichord.types import Modality, TermName
from trichord.types.tensors import Embeddings

SIDES: dict[TermName, tuple[Modality, Modality]] = {
    "av": ("audio", "vision"),
    "at": ("audio", "text"),
    "vt": ("vision", "text"),
}


Directions = Literal["both", "to_second", "to_first"]


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
        directions: Ask `left` for its `right` ("to_second"), the other way round, or both.

    Source: van den Oord et al. (2018); SLAVA's L_xy with the two directions averaged as in CLIP.
    """
    logits = scale * left @ right.T
    partner = torch.arange(len(left), device=left.device)
    match directions:
        case "both":
            ways = F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)
            return ways / 2
        case "to_second":
            return F.cross_entropy(logits, partner)
        case "to_first":
            return F.cross_entropy(logits.T, partner)


class Contrastive(nn.Module):
    """The sum of InfoNCE terms that a stage asks for, as named terms with weight 1 each."""

    def __init__(
        self,
        *,
        temperature: float,
        learned: bool,
        shared: bool,
        max_scale: float,
        directions: Directions,
    ) -> None:
        """Start the temperatures.

        Args:
            temperature: Where each starts.
            learned: Whether they train.
            shared: One for all pairs instead of one each.
            max_scale: Bound of the inverse temperature; CLIP: training diverges beyond 100.
            directions: Of asking, as for `info_nce`.
        """
        super().__init__()
        self.directions: Directions = directions
        self.max_scale = max_scale
        start = torch.full((), math.log(1 / temperature))
        names: tuple[str, ...] = ("all",) if shared else get_args(TermName)
        self.log_scale = nn.ParameterDict(
            {name: nn.Parameter(start.clone(), requires_grad=learned) for name in names}
        )

    def scale(self, term: TermName) -> Float[Tensor, ""]:
        """Inverse temperature of a term."""
        log_scale = self.log_scale["all" if "all" in self.log_scale else term]
        return log_scale.exp().clamp(max=self.max_scale)

    def scales(self) -> dict[str, float]:
        """All inverse temperatures by name, for the log."""
        return {
            name: float(value.detach().exp().clamp(max=self.max_scale))
            for name, value in self.log_scale.items()
        }

    def forward(
        self, embeddings: Embeddings, rows: dict[TermName, Bool[Tensor, " batch"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """Each term over the rows that ask for it and have both of its modalities.

        Args:
            embeddings: Of a batch of clips.
            rows: For each term the clips it is wanted for.

        Returns:
            Terms by name. A term with fewer than two rows is left out: without negatives it says
            nothing, and without rows it is NaN.
        """
        terms: dict[str, Float[Tensor, ""]] = {}
        for term, wanted in rows.items():
            left, right = (embeddings.of(side) for side in SIDES[term])
            if left is None or right is None:
                continue
            usable = wanted.to(left.mask.device) & left.present & right.present
            if usable.sum() >= 2:
                terms[term] = info_nce(
                    left.pooled[usable], right.pooled[usable], self.scale(term), self.directions
                )
        return terms
