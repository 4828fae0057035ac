"""An experiment as a typed value: which model, trained in which stages, how long and on what."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trichord.types import MODALITIES, CaptionKind, Modality, TermName, UserError
from trichord.types.files import write_atomically

if TYPE_CHECKING:  # torch stays out until something is built: parsing options must be quick
    from trichord.encoders.clap import ClapEncoder, ClapTextEncoder
    from trichord.encoders.clip import ClipTextEncoder, ClipVisionEncoder
    from trichord.encoders.clip_audio import ClipAudioEncoder
    from trichord.encoders.spectrogram import Spectrogram
    from trichord.models.embedder import Embedder
    from trichord.models.fusion import Fusion
    from trichord.objectives import Contrastive

FORMAT = 2
"""Version of run directories; another one is refused."""

CLIP = "openai/clip-vit-base-patch32"
CLAP = "laion/clap-htsat-unfused"


@dataclass(frozen=True, kw_only=True)
class ClipText:
    """CLIP's text tower: one caption, one step, pooled at the end token."""

    kind: Literal["clip_text"] = "clip_text"
    name: str = CLIP
    """Folder or hub name of a CLIP model."""
    tokens: bool = False
    """Give each token a step, for fusions that look at words; one step a caption otherwise."""
    longest: int = 77
    """Tokens after which a caption is cut, start and end of text included (CLIP4VLA: 32)."""

    def build(self) -> "ClipTextEncoder":
        """Load the tower."""
        from trichord.encoders.clip import ClipTextEncoder

        return ClipTextEncoder(self.name, tokens=self.tokens, longest=self.longest)


@dataclass(frozen=True, kw_only=True)
class ClipVision:
    """CLIP's vision tower: one frame, one step."""

    kind: Literal["clip_vision"] = "clip_vision"
    name: str = CLIP
    """Folder or hub name of a CLIP model."""
    frames_per_second: float = 1.0
    max_frames: int = 64
    pooling: Literal["mean", "mean_of_unit"] = "mean"
    """Frames to one vector: normalise the mean (SLAVA), or each frame and then the mean (CLIP4VLA)."""

    def build(self) -> "ClipVisionEncoder":
        """Load the tower."""
        from trichord.encoders.clip import ClipVisionEncoder

        return ClipVisionEncoder(
            self.name,
            frames_per_second=self.frames_per_second,
            max_frames=self.max_frames,
            pooling=self.pooling,
        )


@dataclass(frozen=True, kw_only=True)
class Clap:
    """CLAP's audio tower: one chunk (10 s in the published model), one step."""

    kind: Literal["clap"] = "clap"
    name: str = CLAP
    """Folder or hub name of a CLAP model without fusion."""
    head: Literal["pretrained", "linear"] = "pretrained"
    """`pretrained`: CLAP's two-layer projection; `linear`: one new layer, as SLAVA's text says."""
    min_tail_seconds: float = 1.0
    """A last chunk shorter than this is dropped, unless it is the only one."""

    def build(self) -> "ClapEncoder":
        """Load the tower."""
        from trichord.encoders.clap import ClapEncoder

        return ClapEncoder(self.name, head=self.head, min_tail_seconds=self.min_tail_seconds)


@dataclass(frozen=True, kw_only=True)
class LogMel:
    """A log-mel spectrogram as librosa computes it; the defaults are CLIP4VLA's, as published."""

    rate: int = 16_000
    mels: int = 224
    window: int = 512
    """Points of the Fourier transform; at 512 twelve of the 224 bands hear nothing, at 1024 none."""
    shape: Literal["hann", "hamming"] = "hann"
    """Published: hann; the paper says hamming."""
    hop: int = 128
    highest: float = 8_000.0
    """Hz."""
    top_db: float = 80.0
    edges: Literal["constant", "reflect"] = "constant"
    """What lies beyond the ends of a clip: silence, or the wave mirrored (older librosa)."""

    def build(self) -> "Spectrogram":
        """The window and the bands."""
        from trichord.encoders.spectrogram import Spectrogram

        return Spectrogram(
            rate=self.rate,
            mels=self.mels,
            window=self.window,
            shape=self.shape,
            hop=self.hop,
            highest=self.highest,
            top_db=self.top_db,
            edges=self.edges,
        )


@dataclass(frozen=True, kw_only=True)
class ClipAudio:
    """CLIP4VLA's audio tower: CLIP's vision tower on spectrograms, steered by a sound token."""

    kind: Literal["clip_audio"] = "clip_audio"
    name: str = CLIP
    """Folder or hub name of the CLIP model whose vision tower it starts from."""
    scratch: bool = False
    """Take the tower's sizes only and draw its weights (Table 5, row 1)."""
    head: Literal["pretrained", "linear"] = "pretrained"
    """`pretrained`: the vision tower's projection, as published; `linear`: a new layer of its size."""
    token: float | Literal["none", "both", "clip"] = 0.5
    """Sound token: a mixture from verbal (0) to nonverbal (1), `both` side by side, `none`, or as
    each `clip` says (pretraining)."""
    log_mel: LogMel = field(default_factory=LogMel)
    frames: int = 224
    """Time steps of a segment: 1.792 s."""
    padding: Literal["as_published", "as_paper"] = "as_published"
    """Whether a clip that ends with a segment gets one more, all zero."""
    longest: int = 16
    """Segments of a clip at most, from its middle."""
    channels: Literal["mono", "left_mean_right"] = "left_mean_right"
    masking: Literal["as_published", "as_paper"] = "as_published"
    """How the copy for the intra-modal term is masked."""
    sound_seconds: float = 60.0
    """Of a longer clip, its middle."""
    pooling: Literal["mean", "mean_of_unit"] = "mean_of_unit"

    def build(self) -> "ClipAudioEncoder":
        """Load or draw the tower; sound tokens are drawn from torch's random numbers."""
        from trichord.encoders.clip_audio import ClipAudioEncoder, Pictures

        return ClipAudioEncoder(
            self.name,
            scratch=self.scratch,
            head=self.head,
            token=self.token,
            spectrogram=self.log_mel.build(),
            pictures=Pictures(
                frames=self.frames,
                padding=self.padding,
                longest=self.longest,
                channels=self.channels,
                masking=self.masking,
            ),
            sound_seconds=self.sound_seconds,
            pooling=self.pooling,
        )


@dataclass(frozen=True, kw_only=True)
class ClapText:
    """CLAP's own text tower; searches sound before any alignment."""

    kind: Literal["clap_text"] = "clap_text"
    name: str = CLAP
    """Folder or hub name of a CLAP model."""

    def build(self) -> "ClapTextEncoder":
        """Load the tower."""
        from trichord.encoders.clap import ClapTextEncoder

        return ClapTextEncoder(self.name)


@dataclass(frozen=True, kw_only=True)
class GlobalToGlobal:
    """CLIP4VLA's Global-Global: the text against the mean of sight and sound. Nothing to learn."""

    kind: Literal["global_to_global"] = "global_to_global"
    absent: Literal["masked", "zeros"] = "masked"
    """A clip without sound: sight alone, or the mean with zeros as published."""

    def build(self, model: "Embedder") -> "Fusion":
        """The fusion of a model's vectors."""
        from trichord.models import fusion

        return fusion.GlobalToGlobal(absent=self.absent)


@dataclass(frozen=True, kw_only=True)
class Cross:
    """A transformer over frames and segments, and over the text where the fusion looks at it.

    `global_to_local` gives every clip vectors of its own, so it can fill an index; `tight` (the
    authors' intermediate form) and `local_to_local` look at each pair and can only re-rank.
    """

    kind: Literal["cross"] = "cross"
    level: Literal["global_to_local", "tight", "local_to_local"] = "global_to_local"
    form: Literal["clip", "bert"] = "clip"
    """As released, or the older form behind the paper's Table 1."""
    from_text: bool = True
    """Start the clip form from the first layers of the text tower, as released."""
    layers: int = 4
    heads: int = 8
    dropout: float = 0.1
    text_slots: int = 32
    """Tokens it has room for."""
    frame_slots: int = 12
    segment_slots: int = 16
    absent: Literal["masked", "zeros"] = "masked"
    """A clip without sound: sight alone, or the mean with zeros as published."""

    def build(self, model: "Embedder") -> "Fusion":
        """The fusion of a model's steps."""
        from trichord.models import fusion
        from trichord.models.cross import CrossTransformer

        published = 512 if self.form == "bert" else 77
        begun: Any = model.text.trunk.model if self.from_text and self.form == "clip" else None
        tower: Any = begun.config if begun is not None else None
        heads = tower.num_attention_heads if tower else self.heads
        if model.dim % heads:
            raise UserError(f"--model.fusion.heads {heads} do not divide {model.dim} dimensions.")
        cross = CrossTransformer(
            form=self.form,
            dim=model.dim,
            layers=self.layers,
            heads=heads,
            inner=tower.intermediate_size if tower else None,
            positions=max(published, self.text_slots + self.frame_slots + self.segment_slots),
            dropout=self.dropout,
        )
        if begun is not None:
            try:
                cross.start_from(begun)
            except ValueError as error:
                raise UserError(
                    f"--model.fusion: {str(error).rstrip('.')}; or use --model.fusion.no-from-text."
                ) from error
        match self.level:
            case "global_to_local":
                return fusion.GlobalToLocal(cross, frame_slots=self.frame_slots, absent=self.absent)
            case "tight":
                return fusion.TightSequence(cross, frame_slots=self.frame_slots)
            case "local_to_local":
                return fusion.LocalToLocal(
                    cross, text_slots=self.text_slots, frame_slots=self.frame_slots
                )


@dataclass(frozen=True, kw_only=True)
class TriModal:
    """CLIP for text and vision, an audio tower beside it (SLAVA, section III-B)."""

    text: ClipText | ClapText = field(default_factory=ClipText)
    vision: ClipVision = field(default_factory=ClipVision)
    audio: Clap | ClipAudio = field(default_factory=Clap)
    sound_text: ClapText | None = None
    """A text tower of its own towards sound: the untrained pair CLIP + CLAP lives in two spaces."""
    fusion: GlobalToGlobal | Cross | None = None
    """How sight and sound make one clip; None: they are searched apart."""

    def build(self) -> "Embedder":
        """Load all towers."""
        from trichord.models.embedder import Embedder

        model = Embedder(
            text=self.text.build(),
            vision=self.vision.build(),
            audio=self.audio.build(),
            sound_text=self.sound_text.build() if self.sound_text else None,
        )
        model.fusion = self.fusion.build(model) if self.fusion else None
        return model


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

    def build(self, terms: tuple[TermName, ...] = ("av", "at", "vt")) -> "Contrastive":
        """The objective of some terms with fresh temperatures."""
        from trichord.objectives import Contrastive

        return Contrastive(
            temperature=self.temperature,
            learned=self.learned,
            shared=self.shared,
            max_scale=self.max_scale,
            directions=self.directions,
            absent=self.absent,
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
    """Retrieval tasks whose mean validation R@10 picks the best epoch."""
    batch_size: int = 128
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


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A whole run as a value; written to the run's `experiment.json` and read back equal."""

    system: str
    """Its column in a comparison."""
    model: TriModal = field(default_factory=TriModal)
    objective: InfoNCE = field(default_factory=InfoNCE)
    stages: tuple[Stage, ...] = ()
    """In order; each starts from the best step of the one before, with a fresh optimizer."""
    hand_over: Literal["best", "last"] = "best"
    """What a stage hands to the next one and the last one to the run."""
    fresh_objective: bool = True
    """Each stage starts with new temperatures."""
    start: Path | None = None
    """A run whose weights to start from, such as a pretraining."""
    select_on_test: bool = False
    """Choose the best epoch on the test split, as published: shows what that inflates, no more."""
    seed: int = 0

    @property
    def terms(self) -> tuple[TermName, ...]:
        """All terms that its stages ask for, each once."""
        draws = (draw for stage in self.stages for draw in stage.draws)
        return tuple(dict.fromkeys(term for draw in draws for term in draw.terms))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What its stages train on or choose an epoch by; all where nothing is trained."""
        if not self.stages or "ct" in self.terms:
            return MODALITIES
        galleries = {task.split("<-")[0] for stage in self.stages for task in stage.criterion}
        letters = "".join(self.terms)
        needed: dict[Modality, bool] = {
            "text": True,
            "audio": "a" in letters or "m" in letters or bool(galleries & {"audio", "clip"}),
            "vision": "v" in letters or bool(galleries & {"visual", "clip"}),
        }
        return tuple(name for name, wanted in needed.items() if wanted)


def write_experiment(path: Path, experiment: Experiment) -> None:
    """Write an experiment as JSON, with the format version."""
    from pydantic import TypeAdapter

    body = TypeAdapter(Experiment).dump_json(experiment, indent=2).decode()
    write_atomically(path, f'{{"format": {FORMAT}, "experiment":\n{body}\n}}\n')


def read_experiment(path: Path) -> Experiment:
    """Read an experiment back.

    Raises:
        UserError: Missing, of another format version, or with an unknown or ill-typed field.
    """
    import json

    from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

    if not path.is_file():
        raise UserError(f"{path} is missing: '{path.parent}' is not a run of Trichord.")
    try:
        document = json.loads(path.read_text())
        version = document["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not an experiment: train the run again.") from error
    if version != FORMAT:
        raise UserError(
            f"{path} has format {version}, this version of Trichord reads {FORMAT}: "
            "train the run again or install the version that wrote it."
        )
    try:
        strict = with_config(ConfigDict(extra="forbid"))(Experiment)
        return TypeAdapter(strict).validate_json(json.dumps(document["experiment"]))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {place}: {first['msg']}.") from error
