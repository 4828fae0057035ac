"""Towers as values: which pretrained model, and what it reads of a clip."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from trichord.config.features import AudioFeatures, TextFeatures, VisionFeatures
from trichord.config.parts import EncoderConfig
from trichord.types import Modality, Pooling
from trichord.types.plugins import Group
from trichord.types.rules import Range

if TYPE_CHECKING:  # torch stays out until something is built: parsing options must be quick
    from trichord.encoders.clap import ClapEncoder, ClapTextEncoder
    from trichord.encoders.clip import ClipTextEncoder, ClipVisionEncoder
    from trichord.encoders.clip_audio import ClipAudioEncoder
    from trichord.encoders.spectrogram import Spectrogram

CLIP = "openai/clip-vit-base-patch32"
CLAP = "laion/clap-htsat-unfused"


@dataclass(frozen=True, kw_only=True)
class ClipText(EncoderConfig):
    """CLIP's text tower: one caption, one step, pooled at the end token."""

    kind: ClassVar[str] = "clip-text"
    modality: ClassVar[Modality] = "text"
    name: str = CLIP
    """Folder or hub name of a CLIP model."""
    tokens: bool = False
    """Give each token a step, for fusions that look at words; one step a caption otherwise."""
    longest: Annotated[int, Range(3)] = 77
    """Tokens after which a caption is cut, start and end of text included (CLIP4VLA: 32)."""

    def build(self) -> "ClipTextEncoder":
        """Load the tower."""
        from trichord.encoders.clip import ClipTextEncoder

        return ClipTextEncoder(
            self.name, tokens=self.tokens, longest=self.longest, arithmetic=self.arithmetic
        )


@dataclass(frozen=True, kw_only=True)
class ClipVision(EncoderConfig):
    """CLIP's vision tower: one frame, one step."""

    kind: ClassVar[str] = "clip-vision"
    modality: ClassVar[Modality] = "vision"
    name: str = CLIP
    """Folder or hub name of a CLIP model."""
    frames_per_second: Annotated[float, Range(above=0)] = 1.0
    max_frames: Annotated[int, Range(1)] = 64
    nearest: Literal["exact", "keyframe"] = "exact"
    """The frame shown at a time, or the keyframe before it, decoding nothing else: for archives."""
    pooling: Pooling = "mean"
    """Frames to one vector: normalise the mean (SLAVA), or each frame and then the mean (CLIP4VLA)."""
    patch_dropout: Annotated[float, Range(0, below=1)] = 0.0
    """Share of each frame's patches that the tower does not see while it trains (FLIP): 0.5 doubles the
    speed; finish with some epochs at 0."""

    def build(self) -> "ClipVisionEncoder":
        """Load the tower."""
        from trichord.encoders.clip import ClipVisionEncoder

        return ClipVisionEncoder(
            self.name,
            frames_per_second=self.frames_per_second,
            max_frames=self.max_frames,
            nearest=self.nearest,
            pooling=self.pooling,
            patch_dropout=self.patch_dropout,
            arithmetic=self.arithmetic,
        )


@dataclass(frozen=True, kw_only=True)
class Clap(EncoderConfig):
    """CLAP's audio tower: one chunk (10 s in the published model), one step."""

    kind: ClassVar[str] = "clap"
    modality: ClassVar[Modality] = "audio"
    name: str = CLAP
    """Folder or hub name of a CLAP model without fusion."""
    head: Literal["pretrained", "linear"] = "pretrained"
    """`pretrained`: CLAP's two-layer projection; `linear`: one new layer, as SLAVA's text says."""
    min_tail_seconds: Annotated[float, Range(0)] = 1.0
    """A last chunk shorter than this is dropped, unless it is the only one."""

    def build(self) -> "ClapEncoder":
        """Load the tower."""
        from trichord.encoders.clap import ClapEncoder

        return ClapEncoder(
            self.name,
            head=self.head,
            min_tail_seconds=self.min_tail_seconds,
            arithmetic=self.arithmetic,
        )


@dataclass(frozen=True, kw_only=True)
class LogMel:
    """A log-mel spectrogram as librosa computes it; the defaults are CLIP4VLA's, as published."""

    rate: Annotated[int, Range(1_000)] = 16_000
    mels: Annotated[int, Range(1)] = 224
    window: Annotated[int, Range(2)] = 512
    """Points of the Fourier transform; at 512 twelve of the 224 bands hear nothing, at 1024 none."""
    shape: Literal["hann", "hamming"] = "hann"
    """Published: hann; the paper says hamming."""
    hop: Annotated[int, Range(1)] = 128
    highest: Annotated[float, Range(above=0)] = 8_000.0
    """Hz."""
    top_db: Annotated[float, Range(above=0)] = 80.0
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
class ClipAudio(EncoderConfig):
    """CLIP4VLA's audio tower: CLIP's vision tower on spectrograms, steered by an audio type token."""

    kind: ClassVar[str] = "clip-audio"
    modality: ClassVar[Modality] = "audio"
    name: str = CLIP
    """Folder or hub name of the CLIP model whose vision tower it starts from."""
    scratch: bool = False
    """Take the tower's sizes only and draw its weights (Table 5, row 1)."""
    head: Literal["pretrained", "linear"] = "pretrained"
    """`pretrained`: the vision tower's projection, as published; `linear`: a new layer of its size."""
    token: Annotated[float | Literal["none", "both", "clip"], Range(0, 1)] = 0.5
    """Audio type token: a mixture from verbal (0) to nonverbal (1), `both` side by side, `none`, or as
    each `clip` says (pretraining)."""
    log_mel: LogMel = field(default_factory=LogMel)
    frames: Annotated[int, Range(1)] = 224
    """Time steps of a segment: 1.792 s."""
    padding: Literal["as_published", "as_paper"] = "as_published"
    """Whether a clip that ends with a segment gets one more, all zero."""
    longest: Annotated[int, Range(1)] = 16
    """Segments of a clip at most, from its middle."""
    channels: Literal["mono", "left_mean_right"] = "left_mean_right"
    masking: Literal["as_published", "as_paper"] = "as_published"
    """How the copy for the intra-modal term is masked."""
    sound_seconds: Annotated[float, Range(above=0)] = 60.0
    """Of a longer clip, its middle."""
    pooling: Pooling = "mean_of_unit"
    patch_dropout: Annotated[float, Range(0, below=1)] = 0.0
    """Share of each segment's patches that the tower does not see while it trains; it always hears the
    audio type token."""

    def build(self) -> "ClipAudioEncoder":
        """Load or draw the tower; audio type tokens are drawn from torch's random numbers."""
        from trichord.encoders.clip_audio import ClipAudioEncoder, Pictures, Tower

        return ClipAudioEncoder(
            Tower(
                name=self.name,
                scratch=self.scratch,
                head=self.head,
                arithmetic=self.arithmetic,
            ),
            token=self.token,
            spectrogram=self.log_mel.build(),
            pictures=Pictures(
                frames=self.frames,
                padding=self.padding,
                longest=self.longest,
                channels=self.channels,
                masking=self.masking,
                dropout=self.patch_dropout,
            ),
            audio_seconds=self.sound_seconds,
            pooling=self.pooling,
        )


@dataclass(frozen=True, kw_only=True)
class ClapText(EncoderConfig):
    """CLAP's own text tower; searches sound before any alignment."""

    kind: ClassVar[str] = "clap-text"
    modality: ClassVar[Modality] = "text"
    name: str = CLAP
    """Folder or hub name of a CLAP model."""

    def build(self) -> "ClapTextEncoder":
        """Load the tower."""
        from trichord.encoders.clap import ClapTextEncoder

        return ClapTextEncoder(self.name, arithmetic=self.arithmetic)


ENCODERS: Group[type[EncoderConfig]] = Group(
    "encoders",
    "encoder",
    {
        one.kind: one
        for one in (
            *(ClipText, ClipVision, Clap, ClipAudio, ClapText),
            *(TextFeatures, VisionFeatures, AudioFeatures),
        )
    },
)
