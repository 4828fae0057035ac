"""Terms of the loss: modalities contrasted under temperatures, and the words of captions."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trichord.types import TermName
from trichord.types.tensors import Embeddings, Features, Side, Words

SIDES: dict[TermName, tuple[Side, Side]] = {
    "av": ("audio", "vision"),
    "at": ("audio", "text"),
    "vt": ("vision", "text"),
    "aa": ("audio", "masked"),
    "mt": ("masked", "text"),
    "tt": ("text", "text"),
    "vv": ("vision", "vision"),
    "ct": ("vision", "text"),
}
"""What each contrastive term compares; `ct` compares texts with clips, whose likeness the model's
fusion gives."""
WRITES: TermName = "lm"
"""The one term that contrasts nothing."""


PAIRS: tuple[TermName, ...] = ("av", "at", "vt")
Directions = Literal["both", "to_second", "to_first"]
Absent = Literal["masked", "zeros"]


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
    return nce_of(scale * left @ right.T, directions)


def nce_of(
    logits: Float[Tensor, "left right"], directions: Directions = "both"
) -> Float[Tensor, ""]:
    """InfoNCE of a square of scaled similarities whose diagonal holds the pairs."""
    partner = torch.arange(len(logits), device=logits.device)
    match directions:
        case "both":
            return (F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)) / 2
        case "to_second":
            return F.cross_entropy(logits, partner)
        case "to_first":
            return F.cross_entropy(logits.T, partner)


def intra_nce(
    original: Float[Tensor, "pair dim"],
    masked: Float[Tensor, "pair dim"],
    scale: Float[Tensor, ""],
    directions: Directions = "both",
) -> Float[Tensor, ""]:
    """InfoNCE of sounds and their masked copies, in which other originals are negatives too.

    An original's partner stands against all masked copies and all other originals (the paper's S);
    the mirror asks a masked copy in the same way. `to_second` is the first alone.

    Source: CLIP4VLA, "Intra-modal Contrastive Learning"; the mirror as published.
    """
    across = scale * original @ masked.T
    own = torch.eye(len(original), dtype=torch.bool, device=original.device)

    def asked(ways: Tensor, alike: Tensor) -> Tensor:
        others = (scale * alike @ alike.T).masked_fill(own, float("-inf"))
        partner = torch.arange(len(ways), device=ways.device)
        return F.cross_entropy(torch.cat([ways, others], dim=1), partner)

    match directions:
        case "both":
            return (asked(across, original) + asked(across.T, masked)) / 2
        case "to_second":
            return asked(across, original)
        case "to_first":
            return asked(across.T, masked)


def word_loss(words: Words, wanted: Bool[Tensor, " batch"]) -> Float[Tensor, ""] | None:
    """Cross-entropy of the words of some captions, the mean over all their places; None without any.

    Source: CLIP4VLA, eq. 7.
    """
    chosen = wanted[words.rows]
    if not chosen.any():
        return None
    return F.cross_entropy(words.logits[chosen], words.targets[chosen])


class Contrastive(nn.Module):
    """The terms that a stage asks for, with weight 1 each: InfoNCE between modalities, and captions."""

    def __init__(
        self,
        *,
        temperature: float,
        learned: bool,
        shared: bool,
        max_scale: float,
        directions: Directions,
        absent: Absent = "masked",
        terms: Sequence[TermName] = PAIRS,
    ) -> None:
        """Start the temperatures.

        Args:
            temperature: Where each starts.
            learned: Whether they train.
            shared: One for all pairs instead of one each.
            max_scale: Bound of the inverse temperature; CLIP: training diverges beyond 100.
            directions: Of asking, as for `info_nce`.
            absent: Leave clips that lack a modality out of its terms, or keep them as zero vectors
                in every softmax (CLIP4VLA as published).
            terms: Those that will be asked for.
        """
        super().__init__()
        self.directions: Directions = directions
        self.absent: Absent = absent
        self.max_scale = max_scale
        start = torch.full((), math.log(1 / temperature))
        names: tuple[str, ...] = ("all",) if shared else tuple(terms)
        self.log_scale = nn.ParameterDict(
            {
                name: nn.Parameter(start.clone(), requires_grad=learned)
                for name in names
                if name != WRITES
            }
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
            Terms by name. A contrastive term with fewer than two rows is left out: without
            negatives it says nothing, and without rows it is NaN.
        """
        terms = {term: self._value(term, embeddings, wanted) for term, wanted in rows.items()}
        return {term: value for term, value in terms.items() if value is not None}

    def _value(
        self, term: TermName, embeddings: Embeddings, wanted: Bool[Tensor, " batch"]
    ) -> Float[Tensor, ""] | None:
        if term == WRITES:
            words = embeddings.words
            return None if words is None else word_loss(words, wanted.to(words.rows.device))
        usable = self._usable(term, embeddings, wanted)
        if usable is None or usable.sum() < 2:
            return None
        return self._term(term, embeddings, usable)

    def _usable(
        self, term: TermName, embeddings: Embeddings, wanted: Bool[Tensor, " batch"]
    ) -> Bool[Tensor, " batch"] | None:
        """Rows that count in a term; None where the batch lacks one of its sides."""
        sides = [embeddings.of(side) for side in SIDES[term]]
        if term == "ct":
            return _clips_with_text(embeddings, wanted)
        if None in sides:
            return None
        there = [side for side in sides if side is not None]
        wanted = wanted.to(there[0].mask.device)
        if self.absent == "zeros":
            return wanted
        return wanted & there[0].present & there[1].present

    def _term(
        self, term: TermName, embeddings: Embeddings, usable: Bool[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        scale = self.scale(term)
        if term == "ct":
            assert embeddings.clips is not None
            # "To second" is from clip to text for every other term; here rows are the texts.
            return nce_of(scale * embeddings.clips[usable][:, usable].T, self.directions)
        one, other = (_pooled(embeddings.of(side))[usable] for side in SIDES[term])
        if term == "aa":
            return intra_nce(one, other, scale, self.directions)
        return info_nce(one, other, scale, self.directions)


def _pooled(features: Features | None) -> Float[Tensor, "batch dim"]:
    assert features is not None
    return features.pooled


def _clips_with_text(
    embeddings: Embeddings, wanted: Bool[Tensor, " batch"]
) -> Bool[Tensor, " batch"] | None:
    """Clips that have a text and at least one of sight and sound."""
    text, media = embeddings.text, [embeddings.vision, embeddings.audio]
    there = [features.present for features in media if features is not None]
    if embeddings.clips is None or text is None or not there:
        return None
    return wanted.to(text.mask.device) & text.present & torch.stack(there).any(dim=0)
