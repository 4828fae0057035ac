"""A fusion that weights frames and audio segments by their cosines with the text (Bain et al., 2022)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from trichord.config import FusionConfig
from trichord.models.fusion import Fusion
from trichord.types.rules import Range
from trichord.types.tensors import Features


class TextWeightedFusion(Fusion):
    """Cosine of a text with each modality's weighted mean, averaged over what a clip has."""

    indexable = False  # a clip has another vector for each text: it re-ranks the candidates

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(
        self, text: Features, vision: Features | None, audio: Features | None, **weights: float
    ) -> Tensor:
        """Similarity (text, clip); `weights` are `visual_weight` and `audio_weight`, 1 if not given."""
        scores, given = [], []
        for name, features in (("visual_weight", vision), ("audio_weight", audio)):
            if features is not None:
                steps = F.normalize(features.steps.float(), dim=-1)
                cosines = torch.einsum("td,csd->tcs", text.pooled, steps)
                shares = (self.sharpness * cosines).masked_fill(~features.mask, -1e9).softmax(-1)
                scores.append((shares * cosines).sum(-1))
                given.append(weights.get(name, 1.0) * features.present.float())
        return sum(map(torch.mul, scores, given)) / sum(given).clamp(min=1e-9)


@dataclass(frozen=True, kw_only=True)
class TextWeighted(FusionConfig):
    """`--model.fusion text-weighted`."""

    kind: ClassVar[str] = "text-weighted"
    sharpness: Annotated[float, Range(0)] = 10.0
    """0: the plain mean of steps; the larger, the more the best step counts."""

    def build(self, _: object) -> TextWeightedFusion:
        """See `FusionConfig`."""
        return TextWeightedFusion(self.sharpness)
