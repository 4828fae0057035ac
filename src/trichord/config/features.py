"""Configs of encoders whose features are stored, without weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from trichord.config.parts import EncoderConfig
from trichord.types import Modality
from trichord.types.rules import Range


@dataclass(frozen=True, kw_only=True)
class StoredFeatures(EncoderConfig):
    """Stored features of any model, and a trainable linear head: no weights, no decoding.

    For training, evaluation and comparison; new media cannot be indexed with them.
    """

    label: str = "features"
    """The model that computed them, for messages and cards."""
    fingerprint: str = ""
    """A version or hash of that model: only features of equal fingerprint, label and width are mixed."""
    licence: str = ""
    """Licence of that model's weights."""
    width: Annotated[int, Range(1)] = 512
    """Size of a step (a frame, a second of audio, a text)."""
    dim: Annotated[int, Range(1)] = 512
    """Size of the shared space, as for the other encoders."""
    head: Literal["random", "identity"] = "random"
    """How the linear head starts; `identity` is for vectors that are aligned already: the epoch before
    training then measures the model as it is."""
    files: Path | None = None
    """An .npz or Parquet file, or a folder of such files, as 'trichord extract --vision' takes them; by
    the clip's id, or the text itself. None: the features that 'trichord extract' imported."""

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`."""
        yield from super().flaws()
        if self.head == "identity" and self.head_hidden is not None:
            yield (
                "head",
                "identity: with `head_hidden` the head is another one: leave one of the two out.",
            )
        if not self.label:
            yield "label", "is empty: name the model that made the features."
        if self.head == "identity" and self.width != self.dim:
            yield (
                "head",
                f"identity: the vectors have {self.width} numbers, the shared space {self.dim}: make width "
                "and dim equal.",
            )
        if self.name:
            yield "name", "has no effect: features have no weights; leave it out."
        if self.arithmetic != "float32":
            yield "arithmetic", "must be float32: nothing is computed."


@dataclass(frozen=True, kw_only=True)
class TextFeatures(StoredFeatures):
    """Features of texts; other texts cannot be queries."""

    kind: ClassVar[str] = "features-text"
    modality: ClassVar[Modality] = "text"


@dataclass(frozen=True, kw_only=True)
class VisionFeatures(StoredFeatures):
    """Features of frames."""

    kind: ClassVar[str] = "features-vision"
    modality: ClassVar[Modality] = "vision"


@dataclass(frozen=True, kw_only=True)
class AudioFeatures(StoredFeatures):
    """Features of audio."""

    kind: ClassVar[str] = "features-audio"
    modality: ClassVar[Modality] = "audio"
