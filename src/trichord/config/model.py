"""The config of a model: encoders, a fusion, a captioner."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from trichord.config.limits import TRAINING_ONLY
from trichord.config.parts import CaptionerConfig, EncoderConfig, FusionConfig, OneOf, build
from trichord.config.towers import ENCODERS, Clap, ClipText, ClipVision
from trichord.types.comparable import Pair, comparable_pairs
from trichord.types.plugins import Group
from trichord.types.rules import Range


@dataclass(frozen=True, kw_only=True)
class GlobalToGlobal(FusionConfig):
    """CLIP4VLA's Global-Global: the text against the mean of vision and audio. No parameters."""

    kind: ClassVar[str] = "global-to-global"
    absent: Literal["masked", "zeros"] = "masked"
    """A clip without audio: vision alone, or the mean with zeros as published."""


@dataclass(frozen=True, kw_only=True)
class Cross(FusionConfig):
    """A transformer over frames and segments, and over the text in pairwise fusions.

    `global_to_local` gives every clip vectors of its own, so it can fill an index; `tight` (the
    authors' intermediate form) and `local_to_local` score pairs and can only re-rank.
    """

    kind: ClassVar[str] = "cross"
    level: Literal["global_to_local", "tight", "local_to_local"] = "global_to_local"
    form: Literal["clip", "bert"] = "clip"
    """As released, or the older form behind the paper's Table 1."""
    from_text: bool = True
    """Initialise the clip form from the first layers of the text tower, as released."""
    layers: Annotated[int, Range(1)] = 4
    heads: Annotated[int, Range(1)] = 8
    dropout: Annotated[float, Range(0, below=1)] = field(default=0.1, metadata=TRAINING_ONLY)
    text_slots: Annotated[int, Range(1)] = 32
    """Most tokens of a text."""
    frame_slots: Annotated[int, Range(0)] = 12
    segment_slots: Annotated[int, Range(0)] = 16
    absent: Literal["masked", "zeros"] = "masked"
    """A clip without audio: vision alone, or the mean with zeros as published."""


@dataclass(frozen=True, kw_only=True)
class CaptionGenerator(CaptionerConfig):
    """CLIP4VLA's Multimodal Caption Generator: a transformer over words, frames and segments."""

    kind: ClassVar[str] = "caption-generator"
    from_text: bool = True
    """Initialise from the first layers of the text tower, as published."""
    layers: Annotated[int, Range(1)] = 4
    heads: Annotated[int, Range(1)] = 8
    """If it is not initialised from the text tower."""
    dropout: Annotated[float, Range(0, below=1)] = 0.1
    text_slots: Annotated[int, Range(1)] = 32
    """Most tokens of a caption (VATEX: 48)."""
    frame_slots: Annotated[int, Range(0)] = 12
    segment_slots: Annotated[int, Range(0)] = 16
    padding: Literal["ignored", "as_published"] = "ignored"
    """Whether the loss counts the positions after a caption's end; published: it does."""

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`."""
        if not self.reads:
            yield "reads", "is empty: name vision, audio or both."


FUSIONS: Group[type[FusionConfig]] = Group(
    "fusions", "fusion", {one.kind: one for one in (GlobalToGlobal, Cross)}
)
CAPTIONERS: Group[type[CaptionerConfig]] = Group(
    "captioners", "captioner", {CaptionGenerator.kind: CaptionGenerator}
)


TOWERS = ("text", "vision", "audio", "sound_text")
"""Names of a model's encoders, in it and in its config."""


@dataclass(frozen=True, kw_only=True)
class TriModal:
    """CLIP for text and vision, an audio tower beside it (SLAVA, section III-B)."""

    text: Annotated[EncoderConfig, OneOf(ENCODERS, "text")] = field(default_factory=ClipText)
    vision: Annotated[EncoderConfig, OneOf(ENCODERS, "vision")] = field(default_factory=ClipVision)
    audio: Annotated[EncoderConfig, OneOf(ENCODERS, "audio")] = field(default_factory=Clap)
    sound_text: Annotated[EncoderConfig | None, OneOf(ENCODERS, "text")] = None
    """A second text encoder, toward audio, as in the untrained pair CLIP + CLAP."""
    one_space: bool = False
    """Vision and audio are compared in spite of a second text encoder: PE-AV has text heads by partner."""
    width: Annotated[int | None, Range(1)] = None
    """Keep only the first numbers of each vector (Matryoshka), in the index too: EmbeddingGemma 2."""
    fusion: Annotated[FusionConfig | None, OneOf(FUSIONS)] = None
    """How vision and audio become one score of a clip; None: they are searched separately."""
    captioner: Annotated[CaptionerConfig | None, OneOf(CAPTIONERS)] = None
    """Generates captions of clips; None: no captions."""

    @property
    def comparable(self) -> frozenset[Pair]:
        """Pairs of modalities whose encoders share a space."""
        return comparable_pairs(one_space=self.sound_text is None or self.one_space)

    def towers(self) -> dict[str, EncoderConfig]:
        """Configs of the encoders by name, without those that are None; `width` is set in each."""
        towers: dict[str, Any] = {
            name: tower for name in TOWERS if (tower := getattr(self, name)) is not None
        }
        if self.width is None:
            return towers
        return {
            name: replace(tower, width=self.width) if hasattr(tower, "width") else tower
            for name, tower in towers.items()
        }

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`: an encoder of another modality."""
        if self.one_space and self.sound_text is None:
            yield (
                "one_space",
                "is for a model with sound_text; others have one space anyway: leave it out.",
            )
        for name, tower in self.towers().items():
            if self.width is not None and not hasattr(tower, "width"):
                yield (
                    "width",
                    f"is for encoders whose vectors can be cut, and {tower.kind} is none: leave it out.",
                )
            reads = "text" if name == "sound_text" else name
            if tower.modality != reads:
                yield (
                    name,
                    f"is {tower.kind}, which reads {tower.modality}: give one that reads {reads}.",
                )

    @property
    def weights(self) -> tuple[str, ...]:
        """Folders or hub names of all encoders' weights, each once."""
        every = (one for tower in self.towers().values() for one in tower.weight_names.values())
        return tuple(dict.fromkeys(every))

    def renamed(self, names: Mapping[str, str]) -> "TriModal":
        """The same model with encoders from other folders or hub names; others stay as they are."""
        towers: dict[str, Any] = {
            name: renamed
            for name, tower in self.towers().items()
            if (renamed := tower.renamed(names)) is not tower
        }
        return replace(self, **towers)

    def build(self) -> Any:
        """Load all encoders and put the model together."""
        return build(self)
