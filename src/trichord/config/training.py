"""Configs of training: the loss, mini-batches, the optimizer, a stage."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from trichord.config.parts import OneOf, build
from trichord.types import CAPTION_KINDS, CaptionKind, Modality
from trichord.types.plugins import Group
from trichord.types.rules import Range
from trichord.types.terms import LOSSES, Term, term_of

WORDS = "words<-"
"""Prefix of criteria about generated captions."""
CRITERIA: tuple[str, ...] = (
    *(f"{what}<-{kind}" for what in ("visual", "audio", "clip") for kind in CAPTION_KINDS),
    "visual<-sound",
    *(f"{WORDS}{kind}" for kind in CAPTION_KINDS),
)
"""Criteria for the best epoch: the tasks of `trichord.evaluation.retrieval`, and generated captions."""


@dataclass(frozen=True, kw_only=True)
class InfoNCE:
    """The loss of each pair of modalities. SLAVA states no temperature; these are CLIP's choices."""

    temperature: Annotated[float, Range(above=0)] = 0.07
    """Initial value."""
    learned: bool = True
    """Temperatures, and the weights of losses, such as the bias of `vt-sigmoid`."""
    shared: bool = False
    """One temperature for all pairs instead of one each."""
    max_scale: Annotated[float, Range(above=0)] = 100.0
    """Bound of the inverse temperature."""
    directions: Literal["both", "a_to_b", "b_to_a"] = "both"
    """A pair is named first-second ("av": audio, vision); CLIP averages both directions."""
    absent: Literal["masked", "zeros"] = "masked"
    """Clips without a modality: left out of its terms, or kept as zero vectors as published."""
    same_text: Literal["negatives", "positives"] = "negatives"
    """Clips of a batch with equal captions: negatives of each other's captions as in both papers, or
    further positives."""
    tile: Annotated[int, Range(1)] = 2048
    """Rows and columns of scores that are computed at once: the memory of larger batches grows linearly.
    No effect on the results except rounding; a batch of no more rows is one tile."""
    matryoshka: Annotated[tuple[int, ...], Range(1)] = ()
    """Widths of shorter vectors that train too (Matryoshka): the loss of a term is that of whole vectors,
    plus that of their first numbers, normalised again, for each width. `lm` has no vectors and stays as it
    is."""
    matryoshka_weights: Annotated[tuple[float, ...], Range(0)] = ()
    """Weights of these losses, in order; all 1 if empty. The loss of whole vectors has the weight 1."""
    teacher_temperature: Annotated[float | None, Range(above=0)] = None
    """Of the teacher's softmax in `av-distil`, `at-distil` and `vt-distil`; None: what the teacher's run
    learned for the pair, or 0.01, as of published models."""

    def build(self, terms: tuple[str, ...] = ("av", "at", "vt")) -> Any:
        """The objective of some terms, with new temperatures."""
        return build(self, terms)

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`."""
        yield from _matryoshka_flaws(self.matryoshka, self.matryoshka_weights)
        scale = 1 / self.temperature
        if scale > self.max_scale * (1 + 1e-6):  # 1 / 0.01 is not always 100
            yield (
                "temperature",
                f"{self.temperature:g}: it is an inverse temperature of {scale:g}, above "
                f"--objective.max-scale {self.max_scale:g}: raise one of the two.",
            )

    def conflicts(self, terms: tuple[Term, ...]) -> Iterator[tuple[str, str]]:
        """Settings that some terms do not have: the field, and the text that follows its name."""
        if self.teacher_temperature is not None and all(term.loss != "distil" for term in terms):
            yield (
                "teacher-temperature",
                f"{self.teacher_temperature:g}: only av-distil, at-distil and vt-distil use it: add one of "
                "them, or leave it out.",
            )
        for term in terms:
            if term.loss == "sigmoid" and self.directions != "both":
                yield (
                    "directions",
                    f"{self.directions}: '{term.kind}' classifies pairs, which have no direction: "
                    "choose both.",
                )
            if term.loss in ("sigmoid", "volume", "area") and self.absent == "zeros":
                yield (
                    "absent",
                    f"zeros: '{term.kind}' takes a zero vector for a match or a mismatch of its own: "
                    "choose masked.",
                )
            if term.loss == "distil_vectors" and self.matryoshka:
                yield (
                    "matryoshka",
                    f"{' '.join(map(str, self.matryoshka))}: '{term.kind}' imitates whole vectors: leave "
                    "out one of the two.",
                )
            if term.loss == "fused" and self.matryoshka:
                yield (
                    "matryoshka",
                    f"{' '.join(map(str, self.matryoshka))}: '{term.kind}' compares by a fusion, which "
                    "takes whole vectors: leave out one of the two.",
                )


def _matryoshka_flaws(
    widths: tuple[int, ...], weights: tuple[float, ...]
) -> Iterator[tuple[str, str]]:
    listed = " ".join(map(str, widths))
    if len(set(widths)) < len(widths):
        yield "matryoshka", f"{listed}: name each width once."
    if len(weights) not in (0, len(widths)):
        given = f"{len(weights)} for {len(widths)} widths of --objective.matryoshka"
        yield (
            "matryoshka-weights",
            f"{' '.join(f'{x:g}' for x in weights)}: {given}; give one for each.",
        )


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One way to fill a mini-batch: these captions, these terms."""

    terms: tuple[str, ...]
    """Names of terms: built in, or of a package or `--plugin` file (`trichord.types.terms`)."""
    captions: tuple[CaptionKind, ...] = ()
    """Kinds of captions, of which one per clip is drawn; empty: no text."""
    weights: Annotated[tuple[float, ...], Range(0)] = ()
    """Of the terms, in order; all 1 if empty."""
    chance: Annotated[float, Range(0)] = 1.0
    """Relative frequency among the stage's draws."""

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`."""
        repeated = [term for term, count in Counter(self.terms).items() if count > 1]
        weights = self.weights or (1.0,)
        listed = " ".join(f"{weight:g}" for weight in weights)
        unknown = [name for name in self.terms if name not in LOSSES.kinds()]
        if not self.terms:
            yield "terms", "is empty: name at least one term."
        if unknown:
            yield (
                "terms",
                f"{' '.join(unknown)}: choose one of {', '.join(LOSSES.kinds())}; others come with an "
                "installed package or by --plugin FILE.",
            )
        if repeated:
            yield "terms", f"names {', '.join(repeated)} twice: name it once, with a weight."
        if len(self.weights) not in (0, len(self.terms)):
            given = f"{len(weights)} for {len(self.terms)} terms"
            yield "weights", f"{listed}: {given}; give one for each."
        if not 0 < sum(weights) < math.inf:
            yield "weights", f"{listed}: give finite numbers, not all of them 0."


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Base of an optimizer's config."""

    kind: ClassVar[str] = ""


@dataclass(frozen=True, kw_only=True)
class ScheduledConfig(OptimizerConfig):
    """Base of optimizers with a warm-up and a schedule of the learning rate."""

    lr: Annotated[float, Range(0)] = 1e-4
    weight_decay: Annotated[float, Range(0)] = 1e-2
    """On matrices, not on biases and temperatures."""
    warmup_steps: Annotated[int, Range(0)] = 0
    """Steps of linear warm-up."""
    schedule: Literal["constant", "cosine", "linear", "wsd"] = "constant"
    """After the warm-up: constant, cosine or linear to zero at the end of the stage's last epoch, or `wsd`
    (warm-up, stable, decay): constant and at the end linear to zero."""
    decay_share: Annotated[float, Range(above=0, high=1)] = 0.2
    """Share of the stage's steps in which `wsd` decays."""
    trunk_share: Annotated[float, Range(0)] = 1.0
    """Learning rate of trunks relative to heads, fusion and low-rank adapters."""

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`."""
        if self.schedule != "wsd" and self.decay_share != ScheduledConfig.decay_share:
            yield (
                "decay_share",
                f"{self.decay_share:g}: only --stages.N.optimizer.schedule wsd decays so.",
            )


@dataclass(frozen=True, kw_only=True)
class AdamW(ScheduledConfig):
    """AdamW."""

    kind: ClassVar[str] = "adamw"
    beta1: Annotated[float, Range(0, below=1)] = 0.9
    beta2: Annotated[float, Range(0, below=1)] = 0.98


@dataclass(frozen=True, kw_only=True)
class Muon(ScheduledConfig):
    """Muon for the matrices of linear layers, heads and adapters too; AdamW for everything else.

    Everything else is tables of embeddings, kernels of convolutions, vectors and temperatures. The update
    of a matrix has the size of AdamW's, so both have the same learning rate.

    Source: Jordan et al. (2024), "Muon"; its scale: Liu et al. (2025), "Muon is Scalable for LLM Training".
    """

    kind: ClassVar[str] = "muon"
    momentum: Annotated[float, Range(0, below=1)] = 0.95
    beta1: Annotated[float, Range(0, below=1)] = 0.9
    beta2: Annotated[float, Range(0, below=1)] = 0.98


@dataclass(frozen=True, kw_only=True)
class Adafactor(ScheduledConfig):
    """Adafactor, which keeps a row and a column of second moments for each matrix, and no first ones.

    Source: Shazeer and Stern (2018), "Adafactor".
    """

    kind: ClassVar[str] = "adafactor"


@dataclass(frozen=True, kw_only=True)
class BertAdam(OptimizerConfig):
    """As published: Adam without bias correction, gradients also clipped per parameter.

    Warm-up, then cosine, over shares of the stage. Encoders in `slow` have the rate `lr *
    slow_share` and a weight decay of 0.2 (not on biases); everything else has `lr` and no decay.
    """

    kind: ClassVar[str] = "bert-adam"
    lr: Annotated[float, Range(0)] = 1e-7
    slow: tuple[Modality, ...] = ("text", "vision")
    """CLIP's two towers; audio too in runs with a cross transformer."""
    slow_share: Annotated[float, Range(0)] = 1.0
    weight_decay: Annotated[float, Range(0)] = 0.2
    beta1: Annotated[float, Range(0, below=1)] = 0.9
    beta2: Annotated[float, Range(0, below=1)] = 0.98
    epsilon: Annotated[float, Range(above=0)] = 1e-6
    warmup: Annotated[float, Range(0, 1)] = 0.1
    """Share of the stage's steps."""


OPTIMIZERS: Group[type[OptimizerConfig]] = Group(
    "optimizers",
    "optimizer",
    {one.kind: one for one in (AdamW, Muon, Adafactor, BertAdam)},
    closed=True,
)


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters (LoRA): small matrices beside the frozen ones of a trunk, which train instead.

    Source: Hu et al. (2022), "LoRA: Low-Rank Adaptation of Large Language Models".
    """

    rank: Annotated[int, Range(0)] = 0
    """Of the adapters; 0: none, trunks train whole."""
    alpha: Annotated[int, Range(1)] = 16
    """The product of an adapter counts alpha / rank."""
    dropout: Annotated[float, Range(0, below=1)] = 0.0
    """Of the adapters' inputs."""
    targets: tuple[str, ...] = ()
    """Last names of the linear layers that get adapters, such as q_proj, or all-linear; those of attention
    if empty."""

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`."""
        if not self.rank and replace(self, rank=1) != Lora(rank=1):
            yield (
                "rank",
                "0: then there are no adapters: give a rank, such as 8, or no --stages.N.lora.",
            )


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of training: what trains, on which captions, with which terms and criterion."""

    name: str
    trains: tuple[Modality, ...]
    """Encoders whose heads train."""
    draws: tuple[Draw, ...]
    draw_per: Literal["batch", "clip", "turn"] = "batch"
    """Draw per mini-batch (SLAVA), per clip, or in turns."""
    towers: tuple[Modality, ...] = ()
    """Encoders of `trains` whose trunks train too: they read media, not cached features."""
    lora: Lora = field(default_factory=Lora)
    """Train low-rank adapters in the trunks of `towers`, not the trunks themselves."""
    criterion: tuple[str, ...]
    """Chooses the best epoch, on the validation clips: the mean R@10 of retrieval tasks, or, for
    `words<-KIND`, the likelihood of a token in captions of that kind. If a task has fewer than 50
    candidates, the mean reciprocal rank over the queries of all tasks."""
    batch_size: Annotated[int, Range(1)] = 128
    """Clips, of all processes together."""
    captions_per_clip: Annotated[int, Range(1)] = 1
    """Different captions that are drawn for each clip, as far as it has them: positives of the clip and of
    one another, each encoded with a copy of the clip. Terms without text take each clip once."""
    negatives: Annotated[int, Range(0)] = 0
    """Hard negatives: from the second epoch on, so many clips whose captions the present model takes for
    those of a clip stand in its mini-batch. Before each epoch all clips are embedded for it."""
    negatives_share: Annotated[float, Range(0, 1)] = 0.95
    """Of the score of a clip's own caption: what scores more is a near duplicate and no negative."""
    chunk: Annotated[int | None, Range(1)] = None
    """Clips that a process encodes at once, if a mini-batch does not fit into memory: the same loss and
    gradients, at the price of a second forward pass; None: the whole batch."""
    epochs: Annotated[int, Range(1)] = 100
    patience: Annotated[int, Range(1)] = 15
    """Stop after this many epochs without a better criterion."""
    optimizer: Annotated[OptimizerConfig, OneOf(OPTIMIZERS)] = field(default_factory=AdamW)
    clip_norm: Annotated[float, Range(above=0)] = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward pass; `auto`: bfloat16 on a GPU, float32 elsewhere."""
    nonverbal_share: Annotated[float | None, Range(0, 1)] = None
    """Share of nonverbal clips in every batch, the rest verbal (pretraining on two corpora: 0.5);
    None: every clip once an epoch."""

    @property
    def terms(self) -> tuple[str, ...]:
        """All terms of its draws, each once."""
        return tuple(dict.fromkeys(term for draw in self.draws for term in draw.terms))

    @property
    def compared_with_text(self) -> tuple[Modality, ...]:
        """Modalities that its terms compare with captions."""
        terms = [term_of(name) for name in self.terms]
        sides = {
            side for one in terms if one.contrasts and "text" in one.sides for side in one.sides
        }
        media: tuple[Modality, ...] = ("vision", "audio")
        return tuple(side for side in media if side in sides)

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`."""
        terms = [term_of(name, "--stages.N.draws.N.terms") for name in self.terms]
        contrasts = any(term.contrasts for term in terms)
        losses = {term.loss for term in terms}
        unknown_tasks = ", ".join(name for name in self.criterion if name not in CRITERIA)
        kinds = {name.startswith(WORDS) for name in self.criterion}
        if not any(draw.chance for draw in self.draws):
            yield "draws", "draw nothing: give at least one of them a chance above 0."
        yield from self._flaws_of_trainables()
        if contrasts and self.batch_size < 2:
            yield (
                "batch-size",
                f"{self.batch_size}: the stage contrasts clips with one another; give 2 or more.",
            )
        yield from self._flaws_of_negatives()
        if self.chunk is not None and "words" in losses:
            yield (
                "chunk",
                f"{self.chunk}: the stage writes captions ('lm'), which contrasts nothing: leave the "
                "option out and take a smaller --stages.N.batch-size.",
            )
        if unknown_tasks:
            yield "criterion", f"{unknown_tasks}: choose one of {', '.join(CRITERIA)}."
        if len(kinds) > 1:
            yield (
                "criterion",
                f"mixes retrieval tasks with {WORDS}KIND, whose numbers do not compare: keep one of both.",
            )

    def _flaws_of_trainables(self) -> Iterator[tuple[str, str]]:
        headless = ", ".join(sorted(set(self.towers) - set(self.trains)))
        losses = {term_of(name).loss for name in self.terms}
        if headless:
            yield (
                "towers",
                f"trains the trunk of {headless} but not its head: add it to --stages.N.trains or take it "
                "out of --stages.N.towers.",
            )
        if self.lora.rank and not self.towers:
            yield "lora.rank", f"{self.lora.rank}: name the trunks to adapt by --stages.N.towers."
        if not self.trains and losses.isdisjoint({"fused", "words"}):
            yield "trains", "is empty: nothing would train; name encoders whose heads train."

    def _flaws_of_negatives(self) -> Iterator[tuple[str, str]]:
        if not self.negatives and self.negatives_share != Stage.negatives_share:
            yield "negatives-share", f"{self.negatives_share:g}: give --stages.N.negatives too."
        if not self.negatives:
            return
        if self.negatives >= self.batch_size:
            yield (
                "negatives",
                f"{self.negatives}: give less than the batch size, {self.batch_size}.",
            )
        if not self.compared_with_text:
            yield (
                "negatives",
                f"{self.negatives}: no term compares captions with clips: add at or vt, or leave it out.",
            )
        if self.nonverbal_share is not None:
            yield (
                "negatives",
                f"{self.negatives}: the batches are drawn by --stages.N.nonverbal-share: leave out one of "
                "the two.",
            )
