"""The objective of a stage: which sides a term compares, which rows count in it, at what temperature."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trichord.distributed import gathered, ranks, summed
from trichord.objectives.absence import completed
from trichord.objectives.terms import Directions, nce_of, word_loss
from trichord.objectives.tiled import tiled_intra_nce, tiled_nce
from trichord.types import TermName
from trichord.types.tensors import Embeddings, Features, Side


@runtime_checkable
class Loss(Protocol):
    """A loss of pairs of rows, such as `tiled_nce`."""

    def __call__(
        self,
        left: Float[Tensor, "pair dim"],
        right: Float[Tensor, "pair dim"],
        scale: Float[Tensor, ""],
        directions: Directions,
        /,
        *,
        tile: int,
        groups: Int[Tensor, " pair"] | None,
    ) -> Float[Tensor, ""]:
        """The loss over the rows of all ranks, the same number on each; see `tiled_nce`."""
        ...


@dataclass(frozen=True, slots=True)
class Term:
    """What a contrastive term compares, and by which loss."""

    left: Side
    right: Side
    loss: Loss = tiled_nce


TERMS: dict[TermName, Term] = {
    "av": Term("audio", "vision"),
    "at": Term("audio", "text"),
    "vt": Term("vision", "text"),
    "aa": Term("audio", "masked", loss=tiled_intra_nce),
    "mt": Term("masked", "text"),
    "tt": Term("text", "text"),
    "vv": Term("vision", "vision"),
    "ct": Term("vision", "text"),
}
"""All terms but that of words; `ct` compares texts with clips, whose likeness the model's fusion gives."""
SIDES: dict[TermName, tuple[Side, Side]] = {
    name: (term.left, term.right) for name, term in TERMS.items()
}
"""What each of them compares."""
WRITES: TermName = "lm"
"""The one term that contrasts nothing."""

PAIRS: tuple[TermName, ...] = ("av", "at", "vt")
Absent = Literal["masked", "zeros"]
SameText = Literal["negatives", "positives"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Which rows of a batch ask for which others."""

    directions: Directions = "both"
    """As for `info_nce`."""
    absent: Absent = "masked"
    """Leave clips that lack a modality out of its terms, or keep them as zero vectors in every softmax
    (CLIP4VLA as published)."""
    same_text: SameText = "negatives"
    """What a clip whose caption reads the same is to a caption."""
    tile: int = 2048
    """Rows and columns of scores held at once; no more rows than these are scored whole."""


class Contrastive(nn.Module):
    """The terms that a stage asks for, with weight 1 each: InfoNCE between modalities, and captions."""

    def __init__(
        self,
        *,
        temperature: float,
        learned: bool,
        shared: bool,
        max_scale: float,
        asking: Asking,
        terms: Sequence[TermName] = PAIRS,
    ) -> None:
        """Start the temperatures.

        Args:
            temperature: Where each starts; one below the bound starts at it.
            learned: Whether they train.
            shared: One for all pairs instead of one each.
            max_scale: Bound of the inverse temperature; CLIP: training diverges beyond 100.
            asking: Who asks for whom.
            terms: Those that will be asked for.
        """
        super().__init__()
        self.asking = asking
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
        self.clamp_scales()

    @torch.no_grad()
    def clamp_scales(self) -> None:
        """Move scales beyond the bound back to it: after each step, and after loading.

        The parameter is clamped and never its value in the loss, as in CLIP: a clamped value has no
        gradient, and a scale that once reached the bound would stay there for good.
        """
        for log_scale in self.log_scale.values():
            log_scale.clamp_(max=math.log(self.max_scale))

    def scale(self, term: TermName) -> Float[Tensor, ""]:
        """Inverse temperature of a term."""
        return self._scale(self.log_scale["all" if "all" in self.log_scale else term])

    def scales(self) -> dict[str, float]:
        """All inverse temperatures by name, for the log."""
        return {name: float(self._scale(value).detach()) for name, value in self.log_scale.items()}

    def _scale(self, log_scale: Tensor) -> Float[Tensor, ""]:
        scale = log_scale.exp()
        # exp(log(100)) is 100.00001 in float32. A fixed scale has no gradient to lose: it is exact.
        return scale if log_scale.requires_grad else scale.clamp(max=self.max_scale)

    @property
    def wants_texts(self) -> bool:
        """Whether `forward` must be told which texts of a batch are equal."""
        return self.asking.same_text == "positives"

    def forward(
        self,
        embeddings: Embeddings,
        rows: dict[TermName, Bool[Tensor, " batch"]],
        texts: Int[Tensor, " batch"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Each term over the rows that ask for it and have both of its modalities.

        Across ranks a term is that of all their rows, the same number on each; the mean over ranks of
        the gradients of parameters is its gradient. A term needs no row on any one rank.

        Args:
            embeddings: Of a batch of clips; `clips`, where there are any, of all ranks' texts and clips
                in their order.
            rows: For each term the clips it is wanted for; the same terms on all ranks.
            texts: Numbers of the batch's texts, equal for equal ones; a negative one is like no other.

        Returns:
            Terms by name. A contrastive term with fewer than two rows is left out: without
            negatives it says nothing, and without rows it is NaN.

        Raises:
            ValueError: `texts` are wanted and missing.
        """
        textual = any("text" in SIDES.get(term, ()) for term in rows)
        if self.wants_texts and textual and texts is None:
            raise ValueError("Equal texts are to be positives: pass the numbers of the texts.")
        if ranks() > 1:
            count = max((len(wanted) for wanted in rows.values()), default=0)
            place = next((one.device for one in self.parameters()), None)
            embeddings = completed(embeddings, count, place)
        terms = {
            term: self._value(term, embeddings, wanted, texts) for term, wanted in rows.items()
        }
        return {term: value for term, value in terms.items() if value is not None}

    def _value(
        self,
        term: TermName,
        embeddings: Embeddings,
        wanted: Bool[Tensor, " batch"],
        texts: Int[Tensor, " batch"] | None,
    ) -> Float[Tensor, ""] | None:
        if term == WRITES:
            words = embeddings.words
            return None if words is None else word_loss(words, wanted.to(words.rows.device))
        usable = self._usable(term, embeddings, wanted)
        if usable is None or summed(usable.sum()) < 2:
            return None
        groups = None
        if texts is not None and self.wants_texts and "text" in SIDES[term]:
            groups = texts.to(usable.device)
        if term == "ct":
            return self._asked_clips(embeddings, usable, groups)
        groups = None if groups is None else groups[usable]
        return self._term(term, embeddings, usable, groups)

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
        if self.asking.absent == "zeros":
            return wanted
        return wanted & there[0].present & there[1].present

    def _term(
        self,
        term: TermName,
        embeddings: Embeddings,
        usable: Bool[Tensor, " batch"],
        groups: Int[Tensor, " row"] | None,
    ) -> Float[Tensor, ""]:
        one, other = (_pooled(embeddings.of(side))[usable] for side in SIDES[term])
        scale, directions, tile = self.scale(term), self.asking.directions, self.asking.tile
        return TERMS[term].loss(one, other, scale, directions, tile=tile, groups=groups)

    def _asked_clips(
        self,
        embeddings: Embeddings,
        usable: Bool[Tensor, " batch"],
        groups: Int[Tensor, " batch"] | None,
    ) -> Float[Tensor, ""]:
        """The term `ct`, of a matrix that each rank has whole."""
        assert embeddings.clips is not None
        usable, _ = gathered(usable)
        # "To second" is from clip to text for every other term; in the matrix rows are the texts.
        logits = self.scale("ct") * embeddings.clips[usable][:, usable].T
        groups = None if groups is None else gathered(groups)[0][usable]
        return nce_of(logits, self.asking.directions, groups)


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
