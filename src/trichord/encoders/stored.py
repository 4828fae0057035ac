"""Encoders without weights: stored features of another model, and a trainable head."""

from typing import NoReturn

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


class _Stored(Encoder):
    """The common part of all three; nothing is decoded, so `decoding` is not in the preparation."""

    def __init__(self, config: StoredFeatures) -> None:
        preparation = {
            "kind": config.kind,
            "fingerprint": config.fingerprint,
            "label": config.label,
            "width": config.width,
        }
        head = nn.Linear(config.width, config.dim)
        if config.head == "identity":
            nn.init.eye_(head.weight)
            nn.init.zeros_(head.bias)
        super().__init__(_NoTrunk(config.label), head, preparation=preparation)
        self.stored = config.label
        self.files = config.files

    def decoding(self) -> dict[str, object]:
        """Nothing."""
        return {}

    def prepare(self, *inputs: object, **named: object) -> NoReturn:
        """Refuse: there are no weights."""
        refuse_reading(self.stored or "")


class StoredText(_Stored, TextEncoder):
    """Stored features of texts, by the text."""


class StoredVision(_Stored, VisionEncoder):
    """Stored features of frames, by the clip's id."""


class StoredAudio(_Stored, AudioEncoder):
    """Stored features of audio, by the clip's id."""
