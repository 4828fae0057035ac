"""Encoders without weights: features of a model that ran elsewhere, and a head that trains."""

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from trichord.encoders.encoder import AudioEncoder, Encoder, TextEncoder, VisionEncoder
from trichord.encoders.graph import FixedTrunk
from trichord.types import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """Features as a tower.

    Attributes:
        label: The model that made them.
        fingerprint: Equal for features that may be mixed: a version or a hash of that model.
        width: Of a step.
        dim: Of the shared space.
        files: A file of them, or a folder of such files; None: they are brought in by `extract`.
    """

    label: str
    fingerprint: str
    width: int
    dim: int
    files: Path | None


class _NoTrunk(FixedTrunk):
    """Stands where the weights would be."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label
        self.fixed = (
            f"'{label}' is here as features only and has no trunk to train: leave it out of "
            "--stages.N.towers."
        )

    def forward(self, *inputs: Tensor) -> NoReturn:
        """Refuse.

        Raises:
            UserError: Always.
        """
        refuse_reading(self.label)


def refuse_reading(label: str) -> NoReturn:
    """Refuse to read anything new with a model of which only features are here.

    Raises:
        UserError: Always.
    """
    raise UserError(
        f"'{label}' is here as features only, without weights, and reads no new media or texts: use an "
        "encoder that does, or bring its features of all clips."
    )


def _begin(encoder: Encoder, kind: str, features: FeatureSpec) -> None:
    """What the constructors of the three have in common; not `decoding`: nothing is decoded."""
    preparation = {
        "kind": kind,
        "fingerprint": features.fingerprint,
        "label": features.label,
        "width": features.width,
    }
    head = nn.Linear(features.width, features.dim)
    Encoder.__init__(encoder, _NoTrunk(features.label), head, preparation=preparation)
    encoder.stored = features.label
    encoder.files = features.files


class StoredText(TextEncoder):
    """Features of texts, by the text."""

    def __init__(self, features: FeatureSpec) -> None:
        _begin(self, "features-text", features)

    def prepare(self, texts: list[str]) -> Shaped[Tensor, "text token ..."]:
        """Refuse, as for the others."""
        refuse_reading(self.stored or "")


class StoredVision(VisionEncoder):
    """Features of frames, by the clip's id."""

    def __init__(self, features: FeatureSpec) -> None:
        _begin(self, "features-vision", features)

    def decoding(self) -> dict[str, object]:
        """Nothing."""
        return {}

    def prepare(
        self, frames: UInt8[np.ndarray, "step height width 3"]
    ) -> Shaped[Tensor, "step ..."]:
        """Refuse: there are no weights."""
        refuse_reading(self.stored or "")


class StoredAudio(AudioEncoder):
    """Features of sound, by the clip's id."""

    def __init__(self, features: FeatureSpec) -> None:
        _begin(self, "features-audio", features)

    def decoding(self) -> dict[str, object]:
        """Nothing."""
        return {}

    def prepare(self, wave: Float[np.ndarray, "*channel sample"]) -> Shaped[Tensor, "step ..."]:
        """Refuse: there are no weights."""
        refuse_reading(self.stored or "")
