"""Encoders of which only features are here, as values."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from trichord.config.limits import broken_rules
from trichord.config.parts import EncoderConfig
from trichord.types import Modality
from trichord.types.rules import Range

if TYPE_CHECKING:  # torch stays out until something is built: parsing options must be quick
    from trichord.encoders.encoder import Encoder
    from trichord.encoders.stored import FeatureSpec


@dataclass(frozen=True, kw_only=True)
class StoredFeatures(EncoderConfig):
    """Features of any model, and a linear head that trains: no weights are loaded, nothing is decoded.

    They train, evaluate and compare; new media cannot be indexed with them.
    """

    label: str = "features"
    """The model that made them, for messages and cards."""
    fingerprint: str = ""
    """A version or hash of that model: only features of equal fingerprint, label and width are mixed."""
    licence: str = ""
    """Of that model's weights."""
    width: Annotated[int, Range(1)] = 512
    """Numbers of a step (a frame, a second of sound, a text)."""
    dim: Annotated[int, Range(1)] = 512
    """Size of the shared space: that of the other encoders."""
    files: Path | None = None
    """An .npz or Parquet file, or a folder of such files, as 'trichord extract --vision' takes them; by
    the clip's id, or the text itself. Not given: those that 'trichord extract' brought in."""

    def fetch(self) -> None:
        """Nothing: there are no weights."""

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`."""
        yield from broken_rules(
            (not self.label, "label", "is empty: name the model that made the features."),
            (bool(self.name), "name", "has no effect: features have no weights; leave it out."),
            (self.arithmetic != "float32", "arithmetic", "must be float32: nothing is computed."),
        )

    def features(self) -> "FeatureSpec":
        """What the encoder is told."""
        from trichord.encoders.stored import FeatureSpec

        return FeatureSpec(
            label=self.label,
            fingerprint=self.fingerprint,
            width=self.width,
            dim=self.dim,
            files=self.files,
        )


@dataclass(frozen=True, kw_only=True)
class TextFeatures(StoredFeatures):
    """Features of texts; no other text can be searched with."""

    kind: ClassVar[str] = "features-text"
    modality: ClassVar[Modality] = "text"

    def build(self) -> "Encoder":
        """Draw the head."""
        from trichord.encoders.stored import StoredText

        return StoredText(self.features())


@dataclass(frozen=True, kw_only=True)
class VisionFeatures(StoredFeatures):
    """Features of frames."""

    kind: ClassVar[str] = "features-vision"
    modality: ClassVar[Modality] = "vision"

    def build(self) -> "Encoder":
        """Draw the head."""
        from trichord.encoders.stored import StoredVision

        return StoredVision(self.features())


@dataclass(frozen=True, kw_only=True)
class AudioFeatures(StoredFeatures):
    """Features of sound."""

    kind: ClassVar[str] = "features-audio"
    modality: ClassVar[Modality] = "audio"

    def build(self) -> "Encoder":
        """Draw the head."""
        from trichord.encoders.stored import StoredAudio

        return StoredAudio(self.features())
