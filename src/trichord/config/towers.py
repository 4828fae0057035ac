"""Configs of the built-in encoders."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from trichord.config.features import AudioFeatures, TextFeatures, VisionFeatures
from trichord.config.parts import EncoderConfig
from trichord.types import Modality, Pooling
from trichord.types.plugins import Group
from trichord.types.rules import Range

CLIP = "openai/clip-vit-base-patch32"
CLAP = "laion/clap-htsat-unfused"
SIGLIP2 = "google/siglip2-base-patch16-224"
CLIP_TYPES = frozenset({"clip", "clipseg", "metaclip_2", "chinese_clip", "altclip"})
"""CLIPs, also of other languages; each was compared with the original."""
SIGLIP_TYPES = frozenset({"siglip", "siglip2"})
DINOV2 = "facebook/dinov2-base"
AST = "MIT/ast-finetuned-audioset-10-10-0.4593"
PE_AV = "facebook/pe-av-base-16-frame"
EMBEDDING_GEMMA2 = "google/embeddinggemma-2"


@dataclass(frozen=True, kw_only=True)
class FrameConfig(EncoderConfig):
    """Base of encoders of frames: one frame, one step."""

    modality: ClassVar[Modality] = "vision"
    frames_per_second: Annotated[float, Range(above=0)] = 1.0
    max_frames: Annotated[int, Range(1)] = 64
    nearest: Literal["exact", "keyframe"] = "exact"
    """The exact frame at each time, or the last keyframe before it, which decodes faster."""
    pooling: Pooling = "mean"
    """Normalise the mean of the frames (SLAVA), or each frame and then the mean (CLIP4VLA)."""


@dataclass(frozen=True, kw_only=True)
class ClipText(EncoderConfig):
    """CLIP's text tower: one caption, one step, pooled at the end token."""

    kind: ClassVar[str] = "clip-text"
    types: ClassVar[frozenset[str]] = CLIP_TYPES | {"clip_text_model"}
    modality: ClassVar[Modality] = "text"
    name: str = CLIP
    """Folder or hub name of a CLIP model."""
    tokens: bool = False
    """One step per token, for fusions that read tokens; otherwise one step per caption."""
    longest: Annotated[int, Range(3)] = 77
    """Most tokens of a caption, start and end of text included (CLIP4VLA: 32)."""


@dataclass(frozen=True, kw_only=True)
class ClipVision(FrameConfig):
    """CLIP's vision tower: one frame, one step."""

    kind: ClassVar[str] = "clip-vision"
    types: ClassVar[frozenset[str]] = CLIP_TYPES | {"clip_vision_model"}
    name: str = CLIP
    """Folder or hub name of a CLIP model."""
    patch_dropout: Annotated[float, Range(0, below=1)] = 0.0
    """Share of each frame's patches that are dropped in training (FLIP): 0.5 doubles the speed; finish with
    some epochs at 0."""


@dataclass(frozen=True, kw_only=True)
class SiglipText(EncoderConfig):
    """The text tower of SigLIP or SigLIP 2: 64 tokens, padding included, pooled at the last one."""

    kind: ClassVar[str] = "siglip2-text"
    types: ClassVar[frozenset[str]] = SIGLIP_TYPES | {"siglip_text_model", "siglip2_text_model"}
    modality: ClassVar[Modality] = "text"
    name: str = SIGLIP2
    """Folder or hub name of a SigLIP model."""


@dataclass(frozen=True, kw_only=True)
class SiglipVision(FrameConfig):
    """The vision tower of SigLIP or SigLIP 2 (also NaFlex): frames are squeezed, not cropped."""

    kind: ClassVar[str] = "siglip2-vision"
    types: ClassVar[frozenset[str]] = SIGLIP_TYPES | {"siglip_vision_model", "siglip2_vision_model"}
    name: str = SIGLIP2
    """Folder or hub name of a SigLIP model."""


@dataclass(frozen=True, kw_only=True)
class VisionTrunk(FrameConfig):
    """A vision model that has seen no text (DINOv2, DINOv3, I-JEPA), with a new head to train."""

    kind: ClassVar[str] = "vision-trunk"
    types: ClassVar[frozenset[str]] = frozenset(
        {"dinov2", "dinov2_with_registers", "dinov3_vit", "dinov3_convnext", "ijepa"}
    )
    name: str = DINOV2
    """Folder or hub name of a DINOv2, DINOv3 or I-JEPA model."""
    dim: Annotated[int, Range(1)] = 512
    """Size of the shared space: that of the text encoder."""


@dataclass(frozen=True, kw_only=True)
class Clap(EncoderConfig):
    """CLAP's audio tower: one chunk (10 s in the published model), one step."""

    kind: ClassVar[str] = "clap"
    types: ClassVar[frozenset[str]] = frozenset({"clap", "clap_audio_model"})
    modality: ClassVar[Modality] = "audio"
    name: str = CLAP
    """Folder or hub name of a CLAP model without fusion."""
    head: Literal["pretrained", "linear"] = "pretrained"
    """`pretrained`: CLAP's two-layer projection; `linear`: one new layer, as SLAVA's text says."""
    layers: Literal["last", "all"] = "last"
    """Features of the last layer alone, or besides them mean, maximum and deviation over each layer's map:
    lower layers know pitch and rhythm. Needs a new head: `head_hidden`."""
    min_tail_seconds: Annotated[float, Range(0)] = 1.0
    """A last chunk shorter than this is dropped, unless it is the only one."""

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`."""
        yield from super().flaws()
        if self.head == "linear" and self.head_hidden is not None:
            yield (
                "head",
                "linear: with --model.audio.head-hidden it is not linear: leave one of the two out.",
            )
        if self.layers == "all" and self.head_hidden is None:
            yield (
                "layers",
                "all: the pretrained head reads the last one: give --model.audio.head-hidden too.",
            )
        if self.layers == "all" and self.arithmetic == "graph":
            yield (
                "layers",
                "all: an exported encoder has the last one alone: leave one of the two out.",
            )


@dataclass(frozen=True, kw_only=True)
class AudioTrunk(EncoderConfig):
    """An audio model that has seen no text (AST, Whisper, wav2vec2, HuBERT), with a new head to train."""

    kind: ClassVar[str] = "audio-trunk"
    types: ClassVar[frozenset[str]] = frozenset(
        {"audio-spectrogram-transformer", "whisper", "wav2vec2", "hubert"}
    )
    modality: ClassVar[Modality] = "audio"
    name: str = AST
    """Folder or hub name of an AST, Whisper, wav2vec2 or HuBERT model."""
    dim: Annotated[int, Range(1)] = 512
    """Size of the shared space: that of the text encoder."""
    chunk_seconds: Annotated[float | None, Range(1, 600)] = None
    """Seconds of a chunk of wav2vec2 and HuBERT (10 if not given); AST always reads 10.26 s, Whisper 30."""
    min_tail_seconds: Annotated[float, Range(0)] = 1.0
    """A last chunk shorter than this is dropped, unless it is the only one."""


@dataclass(frozen=True, kw_only=True)
class LogMel:
    """A log-mel spectrogram as librosa computes it; the defaults are CLIP4VLA's, as published."""

    rate: Annotated[int, Range(1_000)] = 16_000
    mels: Annotated[int, Range(1)] = 224
    window: Annotated[int, Range(2)] = 512
    """Points of the Fourier transform; at 512 twelve of the 224 bands are empty, at 1024 none."""
    shape: Literal["hann", "hamming"] = "hann"
    """Published: hann; the paper says hamming."""
    hop: Annotated[int, Range(1)] = 128
    highest: Annotated[float, Range(above=0)] = 8_000.0
    """Hz."""
    top_db: Annotated[float, Range(above=0)] = 80.0
    edges: Literal["constant", "reflect"] = "constant"
    """Padding at the ends of a clip: silence, or the mirrored wave (older librosa). A wave of at most half
    a window gets silence."""


@dataclass(frozen=True, kw_only=True)
class SegmentConfig(EncoderConfig):
    """Base of encoders of spectrogram segments: a segment is a picture, and one step."""

    modality: ClassVar[Modality] = "audio"
    log_mel: LogMel = field(default_factory=LogMel)
    frames: Annotated[int, Range(1)] = 224
    """Time steps of a segment: 1.792 s."""
    padding: Literal["as_published", "as_paper"] = "as_published"
    """Whether a clip that ends with a full segment gets one more, all zero."""
    longest: Annotated[int, Range(1)] = 16
    """Most segments of a clip, from its middle."""
    channels: Literal["mono", "left_mean_right"] = "left_mean_right"
    masking: Literal["as_published", "as_paper"] = "as_published"
    """Masking of the copy for the intra-modal term."""
    sound_seconds: Annotated[float, Range(above=0)] = 60.0
    """Seconds of a longer clip, from its middle."""
    pooling: Pooling = "mean_of_unit"


@dataclass(frozen=True, kw_only=True)
class ClipAudio(SegmentConfig):
    """CLIP4VLA's audio tower: a vision tower on spectrograms; CLIP's is steered by an audio type token."""

    kind: ClassVar[str] = "clip-audio"
    name: str = CLIP
    """Folder or hub name of the model whose vision tower it starts from: a CLIP, or a vision model that has
    seen no text (DINOv2, DINOv3, I-JEPA, ResNet, ConvNeXt), with token none and a dim for its new head."""
    scratch: bool = False
    """Use only the tower's sizes, with random weights (Table 5, row 1)."""
    head: Literal["pretrained", "linear"] = "pretrained"
    """`pretrained`: the vision tower's projection, as published, if it has one; `linear`: a new layer."""
    token: Annotated[float | Literal["none", "both", "clip"], Range(0, 1)] = 0.5
    """Audio type token: a mixture from verbal (0) to nonverbal (1), `both` side by side, `none`, or the
    type of each `clip` (pretraining)."""
    patch_dropout: Annotated[float, Range(0, below=1)] = 0.0
    """Share of each segment's patches that are dropped in training; the audio type token stays."""


@dataclass(frozen=True, kw_only=True)
class ClapText(EncoderConfig):
    """CLAP's own text tower; it searches audio without any training."""

    kind: ClassVar[str] = "clap-text"
    types: ClassVar[frozenset[str]] = frozenset({"clap", "clap_text_model"})
    modality: ClassVar[Modality] = "text"
    name: str = CLAP
    """Folder or hub name of a CLAP model."""


@dataclass(frozen=True, kw_only=True)
class ClipClapText(EncoderConfig):
    """CLIP's and CLAP's text towers side by side: one knows words for sights, the other for sounds."""

    kind: ClassVar[str] = "clip-clap-text"
    modality: ClassVar[Modality] = "text"
    name: str = CLIP
    """Folder or hub name of a CLIP model."""
    clap: str = CLAP
    """Folder or hub name of a CLAP model."""
    head_hidden: Annotated[int | None, Range(1)] = 512
    """Width of the head's hidden layer; the head is new."""
    dim: Annotated[int | None, Range(1)] = 512
    """Size of the shared space."""

    @property
    def weight_names(self) -> dict[str, str]:
        """Folders or hub names of its weights, by the field that names each."""
        return {"name": self.name, "clap": self.clap}


@dataclass(frozen=True, kw_only=True)
class PeAvText(EncoderConfig):
    """PE-AV's text tower, with a head toward audio and another one toward vision."""

    kind: ClassVar[str] = "pe-av-text"
    types: ClassVar[frozenset[str]] = frozenset({"pe_audio", "pe_video", "pe_audio_video"})
    modality: ClassVar[Modality] = "text"
    name: str = PE_AV
    """Folder or hub name of a PE-AV or PE-A model."""
    toward: Literal["audio", "vision"] = "audio"
    """The modality that its vectors are compared with."""
    longest: Annotated[int, Range(3)] = 512
    """Most tokens of a text, start and end included."""


@dataclass(frozen=True, kw_only=True)
class PeAvAudio(EncoderConfig):
    """PE-AV's audio tower: a clip, or a chunk of a longer one, is one step."""

    kind: ClassVar[str] = "pe-av-audio"
    types: ClassVar[frozenset[str]] = frozenset({"pe_audio", "pe_audio_video"})
    modality: ClassVar[Modality] = "audio"
    name: str = PE_AV
    """Folder or hub name of a PE-AV or PE-A model."""
    # The model has positions for 400 s, and float32 counts samples exactly up to 349 s at 48 kHz.
    step_seconds: Annotated[float, Range(0.1, 300)] = 30.0
    """Longer clips are read in chunks of this length; memory grows with it."""
    min_tail_seconds: Annotated[float, Range(0)] = 1.0
    """A last chunk shorter than this is dropped, unless it is the only one."""


@dataclass(frozen=True, kw_only=True)
class PeAvVision(EncoderConfig):
    """PE-AV's vision tower, which needs `timm`: all frames of a clip are one step."""

    kind: ClassVar[str] = "pe-av-vision"
    types: ClassVar[frozenset[str]] = frozenset({"pe_video", "pe_audio_video"})
    modality: ClassVar[Modality] = "vision"
    name: str = PE_AV
    """Folder or hub name of a PE-AV model."""
    frames: Annotated[int, Range(1)] = 16
    """Frames of a clip, evenly spaced."""
    nearest: Literal["exact", "keyframe"] = "exact"
    """The exact frame at each time, or the last keyframe before it, which decodes faster."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingGemmaText(EncoderConfig):
    """EmbeddingGemma 2 on texts: the mean of all tokens, prompt included."""

    kind: ClassVar[str] = "embedding-gemma-text"
    types: ClassVar[frozenset[str]] = frozenset({"embedding_gemma2"})
    modality: ClassVar[Modality] = "text"
    name: str = EMBEDDING_GEMMA2
    """Folder or hub name of an EmbeddingGemma 2."""
    prompt: str = "query"
    """The prompt before each text, by its name in the model's config_sentence_transformers.json: `query`,
    `document`, a task such as `STS`, or `none`."""
    longest: Annotated[int, Range(8)] = 8_192
    """Most tokens of a text, prompt, start and end included."""
    width: Annotated[int | None, Range(1)] = None
    """Keep only the first numbers of each vector (Matryoshka): 512, 256 or 128; None: all 768."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingGemmaVision(FrameConfig):
    """EmbeddingGemma 2 on frames: each is an image in its own aspect ratio, one step."""

    kind: ClassVar[str] = "embedding-gemma-vision"
    types: ClassVar[frozenset[str]] = frozenset({"embedding_gemma2"})
    name: str = EMBEDDING_GEMMA2
    """Folder or hub name of an EmbeddingGemma 2."""
    pooling: Pooling = "mean_of_unit"
    """The model's vectors are of unit length, so those of frames are normalised before their mean."""
    soft_tokens: Literal[70, 140, 280, 560, 1120] = 280
    """Most tokens of a frame; with 70, as the model reads videos, a frame takes a quarter of the time."""
    width: Annotated[int | None, Range(1)] = None
    """As for the text encoder."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingGemmaAudio(EncoderConfig):
    """EmbeddingGemma 2 on sound: a clip, or a chunk of a longer one, is one step."""

    kind: ClassVar[str] = "embedding-gemma-audio"
    types: ClassVar[frozenset[str]] = frozenset({"embedding_gemma2"})
    modality: ClassVar[Modality] = "audio"
    name: str = EMBEDDING_GEMMA2
    """Folder or hub name of an EmbeddingGemma 2."""
    # The feature extractor cuts sounds at 30 s.
    step_seconds: Annotated[float, Range(0.1, 30)] = 30.0
    """Longer clips are read in chunks of this length."""
    min_tail_seconds: Annotated[float, Range(0)] = 1.0
    """A last chunk shorter than this is dropped, unless it is the only one."""
    width: Annotated[int | None, Range(1)] = None
    """As for the text encoder."""


@dataclass(frozen=True, kw_only=True)
class SentenceTransformersText(EncoderConfig):
    """Texts by a model of the package sentence-transformers, one step each."""

    kind: ClassVar[str] = "sentence-transformers-text"
    modality: ClassVar[Modality] = "text"
    name: str = ""
    """Folder or hub name of a model in the format of sentence-transformers (with `modules.json`)."""
    prompt: str = "query"
    """The prompt before each text, by its name in the model's config_sentence_transformers.json: `query`,
    `document`, another one, or `none`."""
    width: Annotated[int | None, Range(1)] = None
    """Keep only the first numbers of each vector (Matryoshka); None: all."""


@dataclass(frozen=True, kw_only=True)
class SentenceTransformersVision(FrameConfig):
    """Frames by a model of the package sentence-transformers, one step each."""

    kind: ClassVar[str] = "sentence-transformers-vision"
    name: str = ""
    """Folder or hub name of a model in the format of sentence-transformers (with `modules.json`)."""
    width: Annotated[int | None, Range(1)] = None
    """As for the text encoder."""


@dataclass(frozen=True, kw_only=True)
class SentenceTransformersAudio(EncoderConfig):
    """Sound by a model of the package sentence-transformers (CLAP or Whisper): a chunk is one step."""

    kind: ClassVar[str] = "sentence-transformers-audio"
    modality: ClassVar[Modality] = "audio"
    name: str = ""
    """Folder or hub name of a model in the format of sentence-transformers (with `modules.json`)."""
    min_tail_seconds: Annotated[float, Range(0)] = 1.0
    """A last chunk shorter than this is dropped, unless it is the only one."""
    width: Annotated[int | None, Range(1)] = None
    """As for the text encoder."""


ENCODERS: Group[type[EncoderConfig]] = Group(
    "encoders",
    "encoder",
    {
        one.kind: one
        for one in (
            *(ClipText, ClipVision, Clap, ClipAudio, ClapText, ClipClapText),
            *(SiglipText, SiglipVision),
            *(VisionTrunk, AudioTrunk),
            *(PeAvText, PeAvAudio, PeAvVision),
            *(EmbeddingGemmaText, EmbeddingGemmaVision, EmbeddingGemmaAudio),
            *(SentenceTransformersText, SentenceTransformersVision, SentenceTransformersAudio),
            *(TextFeatures, VisionFeatures, AudioFeatures),
        )
    },
)
