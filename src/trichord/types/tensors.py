"""Batches, features and embeddings: the tensors that flow from media to loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from trichord.types import Modality, Side


@dataclass(frozen=True, slots=True)
class Padded:
    """Rows of variable length, padded at the end, with a mask of real steps.

    A row whose mask is all False lacks the modality; its values are never read.
    """

    values: Shaped[Tensor, "batch step ..."]
    mask: Bool[Tensor, "batch step"]

    @property
    def present(self) -> Bool[Tensor, " batch"]:
        """Which rows have at least one real step."""
        return self.mask.any(dim=1)

    def to(self, device: torch.device | str) -> "Padded":
        """The same on another device."""
        return replace(self, values=self.values.to(device), mask=self.mask.to(device))

    @classmethod
    def stack(cls, rows: list[Shaped[Tensor, "_ ..."]]) -> "Padded":
        """Pad rows of (step, ...) to the longest; a row without steps becomes a masked one."""
        longest = max(1, max(len(row) for row in rows))
        values = rows[0].new_zeros((len(rows), longest, *rows[0].shape[1:]))
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            values[i, : len(row)] = row
            mask[i, : len(row)] = True
        return cls(values, mask)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of clips as input of their towers.

    A modality is None where the whole batch lacks it, a masked row where one clip does. `precomputed` names
    the modalities whose towers have been applied already: their values are trunk features (batch,
    step, width) and only heads remain.

    `words` are the token ids of the captions, (batch, token), where a model writes captions. `masked`
    is a copy of the audio with stretches of time and bands hidden, for CLIP4VLA's intra-modal term.
    `audio_type` is a number per clip from verbal (0) to nonverbal (1), for towers that take one.
    """

    ids: tuple[str, ...]
    text: Padded | None = None
    audio: Padded | None = None
    vision: Padded | None = None
    words: Padded | None = None
    masked: Padded | None = None
    audio_type: Float[Tensor, " batch"] | None = None
    precomputed: tuple[Modality, ...] = ()

    def to(self, device: torch.device | str) -> "Batch":
        """The same on another device."""
        return replace(
            self,
            **{
                f.name: value.to(device)
                for f in fields(self)
                if isinstance(value := getattr(self, f.name), Padded | Tensor)
            },
        )

    def of(self, modality: Modality) -> Padded | None:
        """The padded values of one modality."""
        return getattr(self, modality)


@dataclass(frozen=True, slots=True)
class Features:
    """One modality of a batch in the shared space.

    `pooled` is the papers' global vector (unit length; zero where not `present`), `steps` their local
    ones (a frame, an audio chunk, a token; as projected, not normalised).
    """

    pooled: Float[Tensor, "batch dim"]
    steps: Float[Tensor, "batch step dim"]
    mask: Bool[Tensor, "batch step"]

    @property
    def present(self) -> Bool[Tensor, " batch"]:
        """Which rows have this modality."""
        return self.mask.any(dim=1)


@dataclass(frozen=True, slots=True)
class Words:
    """Logits at each place of captions, the target token there, and its row."""

    logits: Float[Tensor, "place token"]
    targets: Int[Tensor, " place"]
    rows: Int[Tensor, " place"]


@dataclass(frozen=True, slots=True)
class Targets:
    """A teacher's unit vectors of a batch, for distillation.

    Attributes:
        audio: Of the clips, as `vision`.
        vision: Masked where a clip lacks it.
        text: Of the captions, toward vision.
        sound_text: Of the captions, toward audio.
        scales: The teacher's inverse temperature of each pair.
    """

    audio: Features
    vision: Features
    text: Features
    sound_text: Features
    scales: Mapping[frozenset[Side], float]

    def of(self, sides: Sequence[Side]) -> list[Features]:
        """The teacher's vectors of the sides of a term; texts are those toward the other side."""
        text = self.sound_text if "audio" in sides else self.text
        known = {"audio": self.audio, "vision": self.vision, "text": text}
        return [known[side] for side in sides]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Output of a model for a batch; None if the batch lacks a modality.

    `masked` is the masked copy of the audio; `similarity` the similarity of each text to each clip,
    vision and audio fused, if the model has a fusion and the batch has text; `words` the predictions
    of a captioner; `teacher` the vectors of another model to learn from.
    """

    text: Features | None
    audio: Features | None
    vision: Features | None
    masked: Features | None = None
    similarity: Float[Tensor, "text clip"] | None = None
    words: Words | None = None
    teacher: Targets | None = None

    def of(self, side: Side) -> Features | None:
        """The features of one modality, or of the masked audio."""
        return getattr(self, side)
