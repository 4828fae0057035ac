"""Encoders side by side: text, vision and audio in one space (or, untrained, in two)."""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from trichord.encoders.clap import ClapEncoder, ClapTextEncoder
from trichord.encoders.clip import ClipTextEncoder
from trichord.encoders.clip_audio import ClipAudioEncoder, SoundToken
from trichord.encoders.encoder import Encoder
from trichord.encoders.frames import VisionEncoder
from trichord.media.decoded import Decoded
from trichord.media.plan import DecodePlan
from trichord.models.captioner import Captioner
from trichord.models.fusion import Fusion
from trichord.types import MODALITIES, Modality, UserError
from trichord.types.tensors import Batch, Embeddings, Features, Padded, Words

TextEncoder = ClipTextEncoder | ClapTextEncoder
AudioEncoder = ClapEncoder | ClipAudioEncoder
Toward = Literal["vision", "audio"]
_TOKENIZING = Lock()
"""Tokenizers refuse a second thread while they set how to pad."""
TEXTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaVectors:
    """Unit vectors of clips, zero where a clip lacks the modality, and which clips have it.

    `audio` has a vector for each sound token that was listened at.
    """

    vision: Float[np.ndarray, "clip dim"]
    has_vision: Bool[np.ndarray, " clip"]
    audio: Float[np.ndarray, "clip token sound_dim"]
    has_audio: Bool[np.ndarray, " clip"]


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
        self.fusion: Fusion | None = None
        self.captioner: Captioner | None = None
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
    def reranks(self) -> bool:
        """Whether its fusion reads text and clip together: then clips' vectors only find candidates."""
        return self.fusion is not None and not self.fusion.indexable

    @property
    def dim(self) -> int:
        """Size of the space of vision (and of audio where `aligned`)."""
        return self.vision.dim

    @property
    def plan(self) -> DecodePlan:
        """What a media file must be decoded to for the towers."""
        return self.plan_of(("audio", "vision"))

    def plan_of(self, modalities: Sequence[Modality]) -> DecodePlan:
        """What a media file must be decoded to for some of the towers."""
        return DecodePlan(
            frames=self.vision.frames if "vision" in modalities else None,
            rates=(self.audio.rate,) if "audio" in modalities else (),
            stereo=self.audio.stereo,
            sound_seconds=self.audio.sound_seconds,
        )

    def choose_sound_token(self, token: SoundToken) -> None:
        """Listen with another sound token from now on.

        Raises:
            UserError: The audio tower takes none.
        """
        if not isinstance(self.audio, ClipAudioEncoder):
            raise UserError("--sound-token: this model's audio tower takes no sound token.")
        self.audio.choose_token(token)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(chain(self.parameters(), self.buffers())).device  # graphs have no parameters

    @property
    def fingerprint(self) -> str:
        """Of everything that a vector depends on: vectors of equal fingerprints may be compared."""
        digest = hashlib.blake2b(digest_size=12)
        for name, tower in sorted(self.encoders().items()):
            # Said only where it is not SLAVA's: collections of such runs stay what they are.
            pooling = "" if tower.pooling == "mean" else f" {tower.pooling}"
            digest.update(f"{name} {tower.fingerprint}{pooling}".encode())
            for value in tower.head.state_dict().values():
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        if self.fusion is not None:
            digest.update(self.fusion.settings.encode())
            for value in self.fusion.state_dict().values():
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def encoders(self) -> Mapping[str, Encoder]:
        """Encoders by the name of what they read; `sound_text` only where it is a tower of its own."""
        named: dict[str, Encoder] = {"text": self.text, "vision": self.vision, "audio": self.audio}
        return named | ({"sound_text": self.sound_text} if self.sound_text else {})

    def compile_trunks(self) -> None:
        """Have torch compile the trunks of sight and sound: for long work, mostly on a GPU.

        Vectors stay what they are within 1e-5. Texts come in as many lengths as there are and would be
        compiled as often: their tower is left as it is.

        Raises:
            UserError: There is no C++ compiler, which torch needs for this.
        """
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            raise UserError(
                f"--compile needs a C++ compiler, and there is no '{compiler}': install one or leave "
                "the option out."
            )
        for tower in (self.vision, self.audio):
            tower.compile_trunk()

    def read(self, batch: Batch) -> Batch:
        """Apply the trunks that have not been applied yet: inputs to trunk features."""
        towers: dict[Modality, Encoder] = {
            "text": self.text, "vision": self.vision, "audio": self.audio,
        }  # fmt: skip
        features = {
            name: tower.read(inputs, batch.sound)
            for name, tower in towers.items()
            if (inputs := batch.of(name)) is not None and name not in batch.read
        }
        if batch.masked is not None and "audio" not in batch.read:
            features["masked"] = self.audio.read(batch.masked, batch.sound)
        return replace(batch, **features, read=MODALITIES)

    def forward(self, batch: Batch) -> Embeddings:
        """Embeddings of a batch of inputs or of trunk features (`batch.read`)."""
        alone = self.encode(batch)
        return replace(alone, clips=self.like(alone), words=self.expect(batch.words, alone))

    def encode(self, batch: Batch) -> Embeddings:
        """What each clip of a batch is by itself: no fusion, no captioner."""
        batch = self.read(batch)
        return Embeddings(
            text=None if batch.text is None else self.text(batch.text),
            audio=None if batch.audio is None else self.audio(batch.audio),
            vision=None if batch.vision is None else self.vision(batch.vision),
            masked=None if batch.masked is None else self.audio(batch.masked),
        )

    def like(self, alone: Embeddings) -> Float[Tensor, "text clip"] | None:
        """How like each text is to each clip, if there is a fusion and there are texts."""
        if self.fusion is None or alone.text is None:
            return None
        return self.fusion(alone.text, alone.vision, alone.audio)

    def expect(self, words: Padded | None, alone: Embeddings) -> Words | None:
        """What the captioner expects of each next word, if there is one and there are words."""
        if self.captioner is None or words is None or alone.text is None:
            return None
        assert isinstance(self.text, ClipTextEncoder)
        return self.captioner(alone.text, words, alone.vision, alone.audio, self.text.table)

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
        with _TOKENIZING:
            portions = [
                tower.prepare(list(texts[i : i + TEXTS_AT_ONCE]))
                for i in range(0, len(texts), TEXTS_AT_ONCE)
            ]
        found = [self._of_texts(tower, ids).pooled for ids in portions]
        return torch.cat(found).cpu().numpy() if found else np.zeros((0, tower.dim), np.float32)

    def words_of(self, texts: Sequence[str]) -> list[Int[Tensor, " token"]]:
        """Token ids of texts as the captioner reads and writes them.

        Raises:
            ValueError: The text tower is not CLIP's.
        """
        if not isinstance(self.text, ClipTextEncoder):
            raise ValueError("Only CLIP's text tower gives words to a captioner.")
        with _TOKENIZING:
            return self.text.words(list(texts)) if texts else []

    def texts_of(self, words: Sequence[Sequence[int]]) -> list[str]:
        """Token ids as texts, spelt as the tokenizer does: lower case, punctuation apart."""
        tokenizer: Any = self.text.tokenizer
        with _TOKENIZING:
            return [tokenizer.decode(list(ids), skip_special_tokens=True).strip() for ids in words]

    def embed_media(self, decoded: Sequence[Decoded], tokens: Sequence[float] = ()) -> MediaVectors:
        """Vectors of what is seen and heard in clips.

        An indexable fusion has its say: CLIP4VLA's global-to-local reads frames and audio segments in
        the light of one another.

        Args:
            decoded: Decoded by `plan`, or by `plan_of` one modality.
            tokens: As for `read_media`; frames are read in the light of the first one's sound.

        Raises:
            ValueError: As for `read_media`; or more steps than the fusion has room for.
        """
        vision, heard = self.read_media(decoded, tokens)
        shown = [self._in_context(vision, audio) for audio in heard]
        seen = shown[0][0]
        return MediaVectors(
            vision=seen.pooled.cpu().numpy(),
            has_vision=seen.present.cpu().numpy(),
            audio=torch.stack([audio.pooled for _, audio in shown], dim=1).cpu().numpy(),
            has_audio=heard[0].present.cpu().numpy(),
        )

    def read_media(
        self, decoded: Sequence[Decoded], tokens: Sequence[float] = ()
    ) -> tuple[Features, list[Features]]:
        """Frames of clips, and their sound at each of some sound tokens, before any fusion.

        Args:
            decoded: Decoded by `plan`, or by `plan_of` one modality.
            tokens: From verbal (0) to nonverbal (1), for audio towers that take one; empty: listen
                once, as the model does. The spectrogram is computed once for all.

        Raises:
            ValueError: Sound tokens for an audio tower that takes none.
        """
        device = self.device
        frames = [self.vision_inputs(one).to(device) for one in decoded]
        sounds = [self.audio_inputs(one).to(device) for one in decoded]
        with torch.inference_mode():
            vision = self.vision(self.vision.read_rows(frames))
            if not tokens:
                return vision, [self.audio(self.audio.read_rows(sounds))]
            return vision, [self._listen(sounds, token) for token in tokens]

    def vision_inputs(self, decoded: Decoded) -> Float[Tensor, "step 3 side side"]:
        """Trunk inputs of a clip's frames; no steps where it has none."""
        frames = decoded.frames
        return self.vision.prepare(np.zeros((0, 1, 1, 3), np.uint8) if frames is None else frames)

    def heard(self, decoded: Decoded) -> Shaped[Tensor, "..."]:
        """What the audio tower makes of a clip's sound before it is cut into steps."""
        return self.audio.hear(decoded.audio.get(self.audio.rate, np.zeros(0, np.float32)))

    def audio_inputs(self, decoded: Decoded) -> Float[Tensor, "step channel time mel"]:
        """Trunk inputs of a clip's sound; no steps where it has none."""
        return self.audio.cut(self.heard(decoded))

    def _of_texts(self, tower: TextEncoder, ids: Int[Tensor, "text token"]) -> Features:
        there = torch.ones(len(ids), 1, dtype=torch.bool)
        with torch.inference_mode():
            return tower(tower.read(Padded(ids[:, None], there).to(self.device)))

    def _listen(self, sounds: list[Float[Tensor, "_ channel time mel"]], token: float) -> Features:
        """Sound at a sound token; the model's own is put back."""
        if not isinstance(self.audio, ClipAudioEncoder):
            raise ValueError("This model's audio tower takes no sound token.")
        trunk = self.audio.sound_trunk
        own, trunk.token = trunk.token, token
        try:
            return self.audio(self.audio.read_rows(sounds))
        finally:
            trunk.token = own

    def _in_context(self, vision: Features, audio: Features) -> tuple[Features, Features]:
        """What an index can hold of clips."""
        if self.fusion is None:
            return vision, audio
        with torch.inference_mode():
            seen, heard = self.fusion.media(vision, audio)
        assert seen is not None
        assert heard is not None
        return seen, heard
