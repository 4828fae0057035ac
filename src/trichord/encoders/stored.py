"""Encoders without weights: stored features of another model, and a trainable head."""

from typing import NoReturn

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from trichord.config.features import StoredFeatures
from trichord.encoders.encoder import AudioEncoder, Encoder, TextEncoder, VisionEncoder
from trichord.encoders.graph import FixedTrunk
from trichord.types import UserError


class _NoTrunk(FixedTrunk):
    """A trunk without weights."""

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
    """Refuse to encode new media or texts.

    Raises:
        UserError: Always.
    """
    raise UserError(
        f"'{label}' is here as features only, without weights, and reads no new media or texts: use an "
        "encoder that does, or bring its features of all clips."
    )


def _initialise(encoder: Encoder, config: StoredFeatures) -> None:
    """The constructor of all three; nothing is decoded, so `decoding` is not in the preparation."""
    preparation = {
        "kind": config.kind,
        "fingerprint": config.fingerprint,
        "label": config.label,
        "width": config.width,
    }
    head = nn.Linear(config.width, config.dim)
    Encoder.__init__(encoder, _NoTrunk(config.label), head, preparation=preparation)
    encoder.stored = config.label
    encoder.files = config.files


class StoredText(TextEncoder):
    """Stored features of texts, by the text."""

    def __init__(self, config: StoredFeatures) -> None:
        _initialise(self, config)

    def prepare(self, texts: list[str]) -> Shaped[Tensor, "text token ..."]:
        """Refuse: there are no weights."""
        refuse_reading(self.stored or "")


class StoredVision(VisionEncoder):
    """Stored features of frames, by the clip's id."""

    def __init__(self, config: StoredFeatures) -> None:
        _initialise(self, config)

    def decoding(self) -> dict[str, object]:
        """Nothing."""
        return {}

    def prepare(
        self, frames: UInt8[np.ndarray, "step height width 3"]
    ) -> Shaped[Tensor, "step ..."]:
        """Refuse: there are no weights."""
        refuse_reading(self.stored or "")


class StoredAudio(AudioEncoder):
    """Stored features of audio, by the clip's id."""

    def __init__(self, config: StoredFeatures) -> None:
        _initialise(self, config)

    def decoding(self) -> dict[str, object]:
        """Nothing."""
        return {}

    def prepare(self, wave: Float[np.ndarray, "*channel sample"]) -> Shaped[Tensor, "step ..."]:
        """Refuse: there are no weights."""
        refuse_reading(self.stored or "")
