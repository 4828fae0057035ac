"""The objective of a stage: which sides a term compares, which rows count in it, at what temperature."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trichord.distributed import gathered, ranks, summed
from trichord.objectives.absence import completed
from trichord.objectives.terms import Directions, nce_of, word_loss
from trichord.objectives.tiled import tiled_intra_nce, tiled_nce
from trichord.types.tensors import Embeddings, Features
from trichord.types.terms import Term, term_of

PAIRS = ("av", "at", "vt")
Absent = Literal["masked", "zeros"]
SameText = Literal["negatives", "positives"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOptions:
    """What all terms of an objective have in common."""

    directions: Directions = "both"
    """As for `info_nce`."""
    absent: Absent = "masked"
    """Leave clips that lack a modality out of its terms, or keep them as zero vectors in every softmax
    (CLIP4VLA as published)."""
    same_text: SameText = "negatives"
    """What a clip whose caption reads the same is to a caption."""
    tile: int = 2048
    """Rows and columns of scores held at once; no more rows than these are scored whole."""


class Loss(Protocol):
    """A loss of rows of vectors, as `trichord.config.Term` holds it.

    Under several processes it gets the rows of its own process and must give the same number in each:
    `trichord.distributed.shared` gathers the rows of all, with gradients.
    """

    def __call__(
        self,
        *vectors: Float[Tensor, "row dim"],
        scale: Float[Tensor, ""],
        options: LossOptions,
        groups: Int[Tensor, " row"] | None,
    ) -> Float[Tensor, ""]:
        """The loss, averaged over rows.

        Args:
            *vectors: Unit vectors of each side of the term; row i of all of them is of one clip.
            scale: Inverse temperature of the term; it has a gradient where it is learned.
            options: Of the objective.
            groups: Equal numbers for rows whose captions read the same, where these are to be
                positives of one another; else None.
        """
        ...


BUILT_IN = {"info_nce": tiled_nce, "intra_nce": tiled_intra_nce}


class Contrastive(nn.Module):
    """The terms that a stage asks for, with weight 1 each: InfoNCE between modalities, and captions."""

    def __init__(
        self,
        *,
        temperature: float,
        learned: bool,
        shared: bool,
        max_scale: float,
        options: LossOptions,
        terms: Sequence[str] = PAIRS,
    ) -> None:
        """Start the temperatures.

        Args:
            temperature: Where each starts; one below the bound starts at it.
            learned: Whether they train.
            shared: One for all pairs instead of one each.
            max_scale: Bound of the inverse temperature; CLIP: training diverges beyond 100.
            options: Of all terms.
            terms: Names of those that will be asked for.

        Raises:
            UserError: There is no term of a name.
        """
        super().__init__()
        self.options = options
        self.terms = {name: term_of(name) for name in terms}
        self.max_scale = max_scale
        start = torch.full((), math.log(1 / temperature))
        own = tuple(name for name, term in self.terms.items() if term.contrasts)
        self.log_scale = nn.ParameterDict(
            {
                name: nn.Parameter(start.clone(), requires_grad=learned)
                for name in (("all",) if shared else own)
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

    def scale(self, term: str) -> Float[Tensor, ""]:
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
        return self.options.same_text == "positives"

    def forward(
        self,
        embeddings: Embeddings,
        rows: dict[str, Bool[Tensor, " batch"]],
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
        textual = any(one.contrasts and "text" in one.sides for one in map(self._term, rows))
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
        name: str,
        embeddings: Embeddings,
        wanted: Bool[Tensor, " batch"],
        texts: Int[Tensor, " batch"] | None,
    ) -> Float[Tensor, ""] | None:
        term = self._term(name)
        if term.loss == "words":
            words = embeddings.words
            return None if words is None else word_loss(words, wanted.to(words.rows.device))
        usable = self._usable(term, embeddings, wanted)
        if usable is None or summed(usable.sum()) < 2:
            return None
        groups = None
        if texts is not None and self.wants_texts and "text" in term.sides:
            groups = texts.to(usable.device)
        if term.loss == "fused":
            return self._fused(name, embeddings, usable, groups)
        vectors = [_pooled(embeddings.of(side))[usable] for side in term.sides]
        groups = None if groups is None else groups[usable]
        scale, options = self.scale(name), self.options
        if callable(term.loss):
            return term.loss(*vectors, scale=scale, options=options, groups=groups)
        left, right = vectors
        loss = BUILT_IN[term.loss]
        return loss(left, right, scale, options.directions, tile=options.tile, groups=groups)

    def _term(self, name: str) -> Term:
        return self.terms.get(name) or term_of(name)  # without a scale of its own, such as `lm`

    def _usable(
        self, term: Term, embeddings: Embeddings, wanted: Bool[Tensor, " batch"]
    ) -> Bool[Tensor, " batch"] | None:
        """Rows that count in a term; None where the batch lacks one of its sides."""
        if term.loss == "fused":
            return _clips_with_text(embeddings, wanted)
        sides = [embeddings.of(side) for side in term.sides]
        there = [side for side in sides if side is not None]
        if len(there) < len(sides):
            return None
        wanted = wanted.to(there[0].mask.device)
        if self.options.absent == "zeros":
            return wanted
        return torch.stack([wanted, *(side.present for side in there)]).all(dim=0)

    def _fused(
        self,
        name: str,
        embeddings: Embeddings,
        usable: Bool[Tensor, " batch"],
        groups: Int[Tensor, " batch"] | None,
    ) -> Float[Tensor, ""]:
        """A term of texts and clips, of a matrix that each rank has whole."""
        assert embeddings.clips is not None
        usable, _ = gathered(usable)
        # "a_to_b" is from clip to text, as for every other term; in the matrix rows are the texts.
        logits = self.scale(name) * embeddings.clips[usable][:, usable].T
        groups = None if groups is None else gathered(groups)[0][usable]
        return nce_of(logits, self.options.directions, groups)


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
