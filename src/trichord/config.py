"""An experiment as a typed value: which model, trained in which stages, how long and on what."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trichord.types import CaptionKind, Modality, TermName, UserError
from trichord.types.files import write_atomically

if TYPE_CHECKING:  # torch stays out until something is built: parsing options must be quick
    from trichord.encoders.clap import ClapEncoder, ClapTextEncoder
    from trichord.encoders.clip import ClipTextEncoder, ClipVisionEncoder
    from trichord.models.embedder import Embedder
    from trichord.objectives import Contrastive

FORMAT = 1
"""Version of run directories; another one is refused."""

CLIP = "openai/clip-vit-base-patch32"
CLAP = "laion/clap-htsat-unfused"


@dataclass(frozen=True, kw_only=True)
class ClipText:
    """CLIP's text tower: one caption, one step, pooled at the end token."""

    kind: Literal["clip_text"] = "clip_text"
    name: str = CLIP
    """Folder or hub name of a CLIP model."""

    def build(self) -> "ClipTextEncoder":
        """Load the tower."""
        from trichord.encoders.clip import ClipTextEncoder

        return ClipTextEncoder(self.name)


@dataclass(frozen=True, kw_only=True)
class ClipVision:
    """CLIP's vision tower: one frame, one step."""

    kind: Literal["clip_vision"] = "clip_vision"
    name: str = CLIP
    """Folder or hub name of a CLIP model."""
    frames_per_second: float = 1.0
    max_frames: int = 64

    def build(self) -> "ClipVisionEncoder":
        """Load the tower."""
        from trichord.encoders.clip import ClipVisionEncoder

        return ClipVisionEncoder(
            self.name, frames_per_second=self.frames_per_second, max_frames=self.max_frames
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
class TriModal:
    """CLIP for text and vision, an audio tower beside it (SLAVA, section III-B)."""

    text: ClipText | ClapText = field(default_factory=ClipText)
    vision: ClipVision = field(default_factory=ClipVision)
    audio: Clap = field(default_factory=Clap)
    sound_text: ClapText | None = None
    """A text tower of its own towards sound: the untrained pair CLIP + CLAP lives in two spaces."""

    def build(self) -> "Embedder":
        """Load all towers."""
        from trichord.models.embedder import Embedder

        return Embedder(
            text=self.text.build(),
            vision=self.vision.build(),
            audio=self.audio.build(),
            sound_text=self.sound_text.build() if self.sound_text else None,
        )


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

    def build(self) -> "Contrastive":
        """The objective with fresh temperatures."""
        from trichord.objectives import Contrastive

        return Contrastive(
            temperature=self.temperature,
            learned=self.learned,
            shared=self.shared,
            max_scale=self.max_scale,
            directions=self.directions,
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

    lr: float = 1e-4
    weight_decay: float = 1e-2
    beta1: float = 0.9
    beta2: float = 0.98
    warmup_steps: int = 0
    """The rate grows linearly over these steps and then stays."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One leg of training: what trains, on which captions, with which terms, and what decides."""

    name: str
    trains: tuple[Modality, ...]
    """Encoders whose heads train."""
    draws: tuple[Draw, ...]
    draw_per: Literal["batch", "clip", "turn"] = "batch"
    """Draw anew per mini-batch (SLAVA), per clip, or take turns."""
    towers: bool = False
    """Also train the trunks of `trains`; needs media, not cached features."""
    criterion: tuple[str, ...]
    """Retrieval tasks whose mean validation R@10 picks the best epoch."""
    batch_size: int = 128
    epochs: int = 100
    patience: int = 15
    """Stop after this many epochs without a better criterion."""
    optimizer: AdamW = field(default_factory=AdamW)
    clip_norm: float = 1.0


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
    seed: int = 0


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
