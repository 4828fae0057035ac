"""Training as values: the loss, what a mini-batch holds, the optimizer, a stage."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from trichord.types import CaptionKind, Modality, TermName, UserError

if TYPE_CHECKING:  # torch stays out until something is built: parsing options must be quick
    from trichord.objectives import Contrastive


@dataclass(frozen=True, kw_only=True)
class InfoNCE:
    """The loss of each pair of modalities. SLAVA states no temperature; these are CLIP's choices."""

    temperature: float = 0.07
    """Where it starts."""
    learned: bool = True
    shared: bool = False
    """One temperature for all pairs instead of one each."""
    max_scale: float = 100.0
    """Bound of the inverse temperature."""
    directions: Literal["both", "to_second", "to_first"] = "both"
    """A pair is named first-second ("av": audio, vision); CLIP averages both ways of asking."""
    absent: Literal["masked", "zeros"] = "masked"
    """Clips without a modality: left out of its terms, or zero vectors among them as published."""
    same_text: Literal["negatives", "positives"] = "negatives"
    """Clips of one batch whose captions read the same: negatives of each other's captions as in both
    papers, or further positives."""
    tile: int = 2048
    """Rows and columns of scores held at once: what a larger batch needs of memory grows with its rows
    alone. No effect on the results but for rounding; no more rows than these are scored whole."""

    def build(self, terms: tuple[TermName, ...] = ("av", "at", "vt")) -> "Contrastive":
        """The objective of some terms with fresh temperatures.

        Raises:
            UserError: No tile to hold scores.
        """
        from trichord.objectives import Asking, Contrastive

        if self.tile < 1:
            raise UserError(f"--objective.tile {self.tile}: at least 1 row of scores must be held.")
        return Contrastive(
            temperature=self.temperature,
            learned=self.learned,
            shared=self.shared,
            max_scale=self.max_scale,
            asking=Asking(
                directions=self.directions,
                absent=self.absent,
                same_text=self.same_text,
                tile=self.tile,
            ),
            terms=terms,
        )


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One way to fill a mini-batch: these captions, these terms."""

    terms: tuple[TermName, ...]
    captions: tuple[CaptionKind, ...] = ()
    """Kinds to draw one caption per clip from; empty: no text."""
    weights: tuple[float, ...] = ()
    """Of the terms, in their order; all 1 if empty."""
    chance: float = 1.0
    """How often it is drawn, relative to the stage's other draws."""


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Decoupled weight decay on matrices; none on biases and temperatures."""

    kind: Literal["adamw"] = "adamw"
    lr: float = 1e-4
    weight_decay: float = 1e-2
    beta1: float = 0.9
    beta2: float = 0.98
    warmup_steps: int = 0
    """The rate grows linearly over these steps."""
    schedule: Literal["constant", "cosine"] = "constant"
    """What follows: the rate stays, or falls to zero by the end of the stage's last epoch."""
    trunk_share: float = 1.0
    """Rate of trunks relative to that of heads and fusion."""


@dataclass(frozen=True, kw_only=True)
class BertAdam:
    """As published: Adam without bias correction, gradients clipped for each parameter too.

    Warm-up, then cosine, over shares of the stage. Encoders in `slow` have the rate `lr *
    slow_share` and a weight decay of 0.2 (biases apart); everything else has `lr` and no decay.
    """

    kind: Literal["bert_adam"] = "bert_adam"
    lr: float = 1e-7
    slow: tuple[Modality, ...] = ("text", "vision")
    """CLIP's two towers; audio too in runs with a cross transformer."""
    slow_share: float = 1.0
    weight_decay: float = 0.2
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-6
    warmup: float = 0.1
    """Share of the stage's steps."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One leg of training: what trains, on which captions, with which terms, and what decides."""

    name: str
    trains: tuple[Modality, ...]
    """Encoders whose heads train."""
    draws: tuple[Draw, ...]
    draw_per: Literal["batch", "clip", "turn"] = "batch"
    """Draw anew per mini-batch (SLAVA), per clip, or take turns."""
    towers: tuple[Modality, ...] = ()
    """Encoders of `trains` whose trunks train too: these are read from media, not from the cache."""
    criterion: tuple[str, ...]
    """What picks the best epoch, on the validation clips: the mean R@10 of retrieval tasks, or, of
    `words<-KIND`, the likelihood of the words of captions of that kind."""
    batch_size: int = 128
    """Of all processes together."""
    chunk: int | None = None
    """Clips that a process takes through the towers at once, where a mini-batch does not fit into
    memory: one loss and the same gradients for a second forward pass; None: the whole batch."""
    epochs: int = 100
    patience: int = 15
    """Stop after this many epochs without a better criterion."""
    optimizer: AdamW | BertAdam = field(default_factory=AdamW)
    clip_norm: float = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward pass; `auto`: bfloat16 on a GPU, float32 elsewhere."""
    nonverbal_share: float | None = None
    """Share of nonverbal clips in every batch, the rest verbal (pretraining on two corpora: 0.5);
    None: every clip once an epoch."""
