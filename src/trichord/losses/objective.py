"""The objective of a stage: the modalities, rows and temperature of each term."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trichord.config.training import InfoNCE
from trichord.distributed import all_gather, all_sum, world_size
from trichord.losses.caption_loss import caption_loss
from trichord.losses.distillation import distillation_loss, vector_distillation_loss
from trichord.losses.info_nce import info_nce, info_nce_of_logits, intra_nce
from trichord.losses.missing import pad_missing
from trichord.losses.sigmoid import sigmoid_loss
from trichord.losses.tiled_logsumexp import Directions
from trichord.losses.triples import area_nce, volume_nce
from trichord.types import UserError
from trichord.types.tensors import Embeddings, Features
from trichord.types.terms import Term, term_of

PAIRS = ("av", "at", "vt")


class Loss(Protocol):
    """A loss of rows of vectors, as `trichord.config.Term` holds it.

    In distributed training it gets the rows of its own process and must return the same number in
    each: `trichord.distributed.all_gather_with_grad` gathers the rows of all, with gradients.
    """

    def __call__(
        self,
        *vectors: Float[Tensor, "row dim"],
        scale: Float[Tensor, ""],
        directions: Directions,
        tile: int,
        groups: Int[Tensor, " row"] | None,
        **weights: Float[Tensor, ""],
    ) -> Float[Tensor, ""]:
        """The loss, averaged over rows. A function may ignore the rest as `**_`.

        Args:
            *vectors: Unit vectors of each side of the term; row i of all of them is of one clip.
            scale: Inverse temperature of the term, with a gradient if it is learned.
            directions: As for `info_nce`.
            tile: Rows of scores to compute at once.
            groups: Equal numbers for rows with equal captions, if these are positives of one
                another; else None.
            **weights: Numbers that the loss learns, as `Term.weights` names them.
        """
        ...


BUILT_IN: dict[str, Callable[..., Tensor]] = {
    "info_nce": info_nce,
    "intra_nce": intra_nce,
    "sigmoid": sigmoid_loss,
    "volume": volume_nce,
    "area": area_nce,
    "distil": distillation_loss,
    "distil_vectors": vector_distillation_loss,
}


class Objective(nn.Module):
    """The terms of a stage, with weight 1 each, and what they learn: temperatures, biases."""

    def __init__(self, config: InfoNCE, terms: Sequence[str] = PAIRS) -> None:
        """Start the temperatures.

        Args:
            config: A start above the bound of the scale is clamped to it.
            terms: Names of the terms that will be computed.

        Raises:
            UserError: There is no term of a name, or a setting that a term does not have.
        """
        super().__init__()
        self.config = config
        self.terms = {name: term_of(name) for name in terms}
        for option, wrong in config.conflicts(tuple(self.terms.values())):
            raise UserError(f"--objective.{option} {wrong}")
        # The log is learned, as in CLIP: the scale stays positive, and a step multiplies it.
        start = torch.full((), math.log(1 / config.temperature))
        # The caption loss is not contrastive and has no temperature.
        own = tuple(name for name, term in self.terms.items() if term.contrasts)
        self.log_scale = nn.ParameterDict(
            {
                name: nn.Parameter(start.clone(), requires_grad=config.learned)
                for name in (("all",) if config.shared else own)
            }
        )
        self.weights = nn.ParameterDict(
            {
                f"{kind}:{name}": nn.Parameter(
                    torch.tensor(weight.start), requires_grad=config.learned
                )
                for kind, term in self.terms.items()
                for name, weight in term.weights.items()
            }
        )
        self.clamp_scales()

    @torch.no_grad()
    def clamp_scales(self) -> None:
        """Clamp the scales and the weights of losses, after each step and after loading.

        The parameter is clamped, not its value in the loss, as in CLIP: a clamped value has no gradient,
        and a scale that once reached the bound would stay there.
        """
        for log_scale in self.log_scale.values():
            log_scale.clamp_(max=math.log(self.config.max_scale))
        for name, value in self.weights.items():
            kind, _, keyword = name.partition(":")
            value.clamp_(*self.terms[kind].weights[keyword].bounds)

    def scale(self, term: str) -> Float[Tensor, ""]:
        """Inverse temperature of a term."""
        return self._scale(self.log_scale["all" if "all" in self.log_scale else term])

    def scales(self) -> dict[str, float]:
        """All inverse temperatures by name, for the log."""
        return {name: float(self._scale(value).detach()) for name, value in self.log_scale.items()}

    def learned_weights(self) -> dict[str, float]:
        """All weights of losses, as `TERM:NAME`, for the log."""
        return {name: float(value.detach()) for name, value in self.weights.items()}

    def _scale(self, log_scale: Tensor) -> Float[Tensor, ""]:
        scale = log_scale.exp()
        # exp(log(100)) is 100.00001 in float32. A fixed scale has no gradient to lose: it is exact.
        return scale if log_scale.requires_grad else scale.clamp(max=self.config.max_scale)

    @property
    def needs_texts(self) -> bool:
        """Whether `forward` needs the numbers of equal texts."""
        return self.config.same_text == "positives"

    def forward(
        self,
        embeddings: Embeddings,
        rows: dict[str, Bool[Tensor, " batch"]],
        texts: Int[Tensor, " batch"] | None = None,
        owners: Int[Tensor, " batch"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Each term over its rows that have all of its modalities.

        Across ranks a term covers all rows and is the same number on each; its gradient is the mean of
        the ranks' gradients. A rank may have no rows of a term.

        Args:
            embeddings: Of a batch of clips; `clips`, if present, of all ranks' texts and clips in order.
            rows: The clips of each term; the same terms on all ranks.
            texts: Numbers of the batch's texts, equal for equal texts; negative: no other is equal.
            owners: Numbers of the texts' clips, if clips have several: then all texts of a clip are
                positives of it.

        Returns:
            Terms by name. A contrastive term with fewer than two rows is left out: it has no
            negatives, and without rows it is NaN.

        Raises:
            ValueError: `texts` are needed and missing.
        """
        textual = any(one.contrasts and "text" in one.sides for one in map(self._term, rows))
        if self.needs_texts and textual and texts is None:
            raise ValueError("Equal texts are to be positives: pass the numbers of the texts.")
        same = owners if owners is not None else texts if self.needs_texts else None
        if world_size() > 1:
            # A rank may have no features at all. Then the number of clips is
            # known from the masks, and the device from the temperatures.
            count = max((len(mask) for mask in rows.values()), default=0)
            device = next((one.device for one in self.parameters()), None)
            embeddings = pad_missing(embeddings, count, device)
        values: dict[str, Float[Tensor, ""] | None] = {}
        for name, mask in rows.items():
            term = self._term(name)
            groups = same if "text" in term.sides else None
            if term.loss in ("fused", "words"):
                values[name] = self._of_model(name, embeddings, mask, groups)
            elif (selected_rows := self._rows(term, embeddings, mask, groups)) is not None:
                vectors, groups = selected_rows
                loss, settings = self._loss(name, groups)
                if term.loss == "distil":
                    settings["teacher_scale"] = self._teacher_scale(term, embeddings)
                value = loss(*vectors, **settings)
                own, taught = vectors[: len(term.sides)], vectors[len(term.sides) :]
                for weight, parts in self._shorter(name, own):
                    value = value + weight * loss(*parts, *taught, **settings)
                values[name] = value
        return {name: value for name, value in values.items() if value is not None}

    def _term(self, name: str) -> Term:
        return self.terms.get(name) or term_of(name)  # a term without scale, such as `lm`

    def _teacher_scale(self, term: Term, embeddings: Embeddings) -> float:
        if self.config.teacher_temperature is not None:
            return 1 / self.config.teacher_temperature
        assert embeddings.teacher is not None
        return embeddings.teacher.scales[frozenset(term.sides)]

    def _loss(
        self, name: str, groups: Int[Tensor, " row"] | None
    ) -> tuple[Callable[..., Float[Tensor, ""]], dict[str, Any]]:
        """The loss of a term, and its keyword arguments."""
        term = self._term(name)
        settings: dict[str, Any] = {
            "scale": self.scale(name) if term.contrasts else torch.ones(()),
            "directions": self.config.directions,
            "tile": self.config.tile,
            "groups": groups,
        }
        learned = {keyword: self.weights[f"{name}:{keyword}"] for keyword in term.weights}
        loss = _checked(name, term.loss) if callable(term.loss) else BUILT_IN[term.loss]
        return loss, settings | learned

    def _shorter(
        self, name: str, vectors: Sequence[Float[Tensor, "row dim"]]
    ) -> Iterator[tuple[float, list[Float[Tensor, "row width"]]]]:
        """Weights and vectors of the widths that are trained besides the whole.

        Source: Matryoshka representations (Kusupati et al., 2022), eq. 1, with one loss for all widths.
        """
        widths = self.config.matryoshka
        weights = self.config.matryoshka_weights or (1.0,) * len(widths)
        for width, weight in zip(widths, weights, strict=True):
            whole = min(side.shape[1] for side in vectors)
            if width >= whole:
                raise UserError(
                    f"--objective.matryoshka {width}: the vectors of '{name}' have {whole} numbers: give "
                    "shorter widths; the whole is trained anyway."
                )
            # Not unit vectors: lengths of parts differ, and cosines need equal ones.
            yield weight, [F.normalize(side[:, :width], dim=1) for side in vectors]

    def _rows(
        self,
        term: Term,
        embeddings: Embeddings,
        mask: Bool[Tensor, " batch"],
        groups: Int[Tensor, " batch"] | None,
    ) -> tuple[list[Float[Tensor, "row dim"]], Int[Tensor, " row"] | None] | None:
        """Vectors of each side of a term, then the teacher's; groups of equal texts; None: too few rows."""
        sides = [one for side in term.sides if (one := embeddings.of(side)) is not None]
        taught = _taught(term, embeddings)
        # After `pad_missing` a side is missing on all ranks
        # or on none, so no rank waits for the others.
        if len(sides) < len(term.sides):
            return None
        selected = mask.to(sides[0].mask.device)
        needed = (sides if self.config.absent == "masked" else []) + taught
        selected = torch.stack([selected, *(side.present for side in needed)]).all(dim=0)
        # Counted over all ranks, which must decide equally: the loss exchanges
        # rows. So a rank may have only one row, or none.
        if all_sum(selected.sum()) < (2 if term.contrasts else 1):
            return None
        if groups is not None:
            groups = groups.to(selected.device)[selected]
        return [side.pooled[selected] for side in sides + taught], groups

    def _of_model(
        self,
        name: str,
        embeddings: Embeddings,
        mask: Bool[Tensor, " batch"],
        groups: Int[Tensor, " batch"] | None,
    ) -> Float[Tensor, ""] | None:
        """A term of the captioner or the fusion; None: too few rows."""
        if self._term(name).loss == "words":
            words = embeddings.words
            return None if words is None else caption_loss(words, mask.to(words.rows.device))
        selected = _clips_with_text(embeddings, mask)
        if selected is None or all_sum(selected.sum()) < 2:
            return None
        assert embeddings.similarity is not None
        selected, _ = all_gather(selected)  # each rank has the whole matrix
        # "a_to_b" is from clip to text, as for every other term; in the matrix rows are the texts.
        logits = self.scale(name) * embeddings.similarity[selected][:, selected].T
        if groups is not None:
            groups = all_gather(groups.to(selected.device))[0][selected]
        return info_nce_of_logits(logits, self.config.directions, groups)


def _taught(term: Term, embeddings: Embeddings) -> list[Features]:
    """A teacher's vectors of the sides of a term; empty if it learns from none.

    Raises:
        ValueError: There is no teacher.
    """
    if not term.distils:
        return []
    if embeddings.teacher is None:
        raise ValueError(f"'{term.kind}' learns from a teacher: pass its vectors.")
    return embeddings.teacher.of(term.sides)


def _checked(name: str, loss: Callable[..., object]) -> Callable[..., Tensor]:
    """A plug-in's loss, whose value is checked."""

    def compute(*vectors: Tensor, **settings: Any) -> Tensor:
        value = loss(*vectors, **settings)
        _require_scalar(name, value, vectors)
        assert isinstance(value, Tensor)
        return value

    return compute


def _require_scalar(name: str, value: object, vectors: Sequence[Tensor]) -> None:
    """Require a plug-in's loss to be a scalar with a gradient.

    Raises:
        UserError: It is not.
    """
    if not isinstance(value, Tensor) or value.ndim:
        result = (
            f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        )
        raise UserError(f"The loss of the term '{name}' gives {result}: give a scalar tensor.")
    if any(one.requires_grad for one in vectors) and not value.requires_grad:
        raise UserError(
            f"The loss of the term '{name}' has no gradient: compute it from the vectors, undetached."
        )


def _clips_with_text(
    embeddings: Embeddings, mask: Bool[Tensor, " batch"]
) -> Bool[Tensor, " batch"] | None:
    """Clips that have a text and at least one of vision and audio."""
    text, media = embeddings.text, [embeddings.vision, embeddings.audio]
    present = [features.present for features in media if features is not None]
    if embeddings.similarity is None or text is None or not present:
        return None
    return mask.to(text.mask.device) & text.present & torch.stack(present).any(dim=0)
