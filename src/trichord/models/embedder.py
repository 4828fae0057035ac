"""Encoders side by side: text, vision and audio in one space (or, untrained, in two)."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trichord.encoders.clap import ClapEncoder, ClapTextEncoder
from trichord.encoders.clip import ClipTextEncoder, ClipVisionEncoder
from trichord.encoders.encoder import Encoder
from trichord.media.decoded import Decoded
from trichord.media.plan import DecodePlan
from trichord.types import Modality, UserError
from trichord.types.tensors import Batch, Embeddings, Features, Padded

TextEncoder = ClipTextEncoder | ClapTextEncoder
VisionEncoder = ClipVisionEncoder
AudioEncoder = ClapEncoder
Toward = Literal["vision", "audio"]
TEXTS_AT_ONCE = 256


class Embedder(nn.Module):
    """Turns batches of clips into embeddings, and texts, frames and sounds into vectors."""

    def __init__(
        self,
        text: TextEncoder,
        vision: VisionEncoder,
        audio: AudioEncoder,
        sound_text: TextEncoder | None = None,
    ) -> None:
        """Put encoders side by side.

        Args:
            text: Searches vision, and audio too once aligned.
            vision: Of frames.
            audio: Of sound.
            sound_text: A text tower of its own towards sound, for the untrained pair CLIP + CLAP.

        Raises:
            UserError: Projection sizes differ where vectors will be compared.
        """
        super().__init__()
        self.text = text
        self.vision = vision
        self.audio = audio
        self.sound_text = sound_text
        pairs = [(self.text, self.vision), (self.sound_text or self.text, self.audio)]
        for text, media in pairs:
            if text.dim != media.dim:
                raise UserError(
                    f"Text embeds into {text.dim} dimensions, the tower it searches into "
                    f"{media.dim}: choose towers with the same projection size."
                )

    @property
    def aligned(self) -> bool:
        """Whether sight and sound share a space; the untrained pair's don't."""
        return self.sound_text is None

    @property
    def dim(self) -> int:
        """Size of the space of vision (and of audio where `aligned`)."""
        return self.vision.dim

    @property
    def plan(self) -> DecodePlan:
        """What a media file must be decoded to for the towers."""
        return DecodePlan(frames=self.vision.frames, rates=(self.audio.rate,))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    @property
    def fingerprint(self) -> str:
        """Of everything that a vector depends on: vectors of equal fingerprints may be compared."""
        digest = hashlib.blake2b(digest_size=12)
        for name, tower in sorted(self.encoders().items()):
            digest.update(f"{name} {tower.fingerprint}".encode())
            for value in tower.head.state_dict().values():
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def encoders(self) -> Mapping[str, Encoder]:
        """Encoders by the name of what they read; `sound_text` only where it is a tower of its own."""
        named: dict[str, Encoder] = {"text": self.text, "vision": self.vision, "audio": self.audio}
        return named | ({"sound_text": self.sound_text} if self.sound_text else {})

    def read(self, batch: Batch) -> Batch:
        """Apply the trunks: inputs to trunk features."""
        if batch.read:
            return batch
        towers: dict[Modality, Encoder] = {
            "text": self.text, "vision": self.vision, "audio": self.audio,
        }  # fmt: skip
        read = {
            name: tower.read(inputs)
            for name, tower in towers.items()
            if (inputs := batch.of(name)) is not None
        }
        return Batch(ids=batch.ids, **read, read=True)

    def forward(self, batch: Batch) -> Embeddings:
        """Embeddings of a batch of inputs or of trunk features (`batch.read`)."""
        batch = self.read(batch)
        return Embeddings(
            text=None if batch.text is None else self.text(batch.text),
            audio=None if batch.audio is None else self.audio(batch.audio),
            vision=None if batch.vision is None else self.vision(batch.vision),
        )

    def text_toward(self, toward: Toward) -> TextEncoder:
        """The text tower that searches a modality."""
        return self.sound_text if toward == "audio" and self.sound_text else self.text

    def embed_text(
        self, texts: Sequence[str], toward: Toward = "vision"
    ) -> Float[np.ndarray, "text dim"]:
        """Unit vectors of texts.

        Args:
            texts: Each at least one character besides blanks; over-long ones lose their end.
            toward: What the vectors will be compared with; matters while `aligned` is False.

        Raises:
            UserError: A text is empty.
        """
        if blank := [i for i, text in enumerate(texts) if not text.strip()]:
            raise UserError(
                f"Text {blank[0] + 1} of {len(texts)} is empty: give at least one word."
            )
        tower = self.text_toward(toward)
        portions = [
            tower.prepare(list(texts[i : i + TEXTS_AT_ONCE]))
            for i in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        found = [self._features(tower, list(ids[:, None])).pooled for ids in portions]
        return torch.cat(found).cpu().numpy() if found else np.zeros((0, tower.dim), np.float32)

    def embed_vision(
        self, decoded: Sequence[Decoded]
    ) -> tuple[Float[np.ndarray, "clip dim"], Bool[np.ndarray, " clip"]]:
        """Unit vectors of pictures, zero where a clip has none, and which have one.

        Args:
            decoded: Decoded by `plan`.
        """
        return _arrays(self._features(self.vision, [self.vision_inputs(one) for one in decoded]))

    def embed_audio(
        self, decoded: Sequence[Decoded]
    ) -> tuple[Float[np.ndarray, "clip dim"], Bool[np.ndarray, " clip"]]:
        """Unit vectors of sounds, zero where a clip has none, and which have one.

        Args:
            decoded: Decoded by `plan`.
        """
        return _arrays(self._features(self.audio, [self.audio_inputs(one) for one in decoded]))

    def vision_inputs(self, decoded: Decoded) -> Float[Tensor, "step 3 side side"]:
        """Trunk inputs of a clip's frames; no steps where it has none."""
        frames = decoded.frames
        return self.vision.prepare(np.zeros((0, 1, 1, 3), np.uint8) if frames is None else frames)

    def audio_inputs(self, decoded: Decoded) -> Float[Tensor, "step 1 time mel"]:
        """Trunk inputs of a clip's sound; no steps where it has none."""
        return self.audio.prepare(decoded.audio.get(self.audio.rate, np.zeros(0, np.float32)))

    def _features(self, tower: Encoder, rows: list[Tensor]) -> Features:
        with torch.inference_mode():
            return tower(tower.read(Padded.stack(rows).to(self.device)))


def _arrays(
    features: Features,
) -> tuple[Float[np.ndarray, "clip dim"], Bool[np.ndarray, " clip"]]:
    return features.pooled.cpu().numpy(), features.present.cpu().numpy()
