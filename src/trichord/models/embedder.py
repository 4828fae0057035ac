"""The embedding model: text, vision and audio encoders with one space or two."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from threading import Lock
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from trichord.encoders.encoder import (
    AudioEncoder,
    AudioType,
    Encoder,
    TextEncoder,
    VisionEncoder,
)
from trichord.encoders.stored import refuse_reading
from trichord.encoders.words import WordEncoder
from trichord.media.decoded import Decoded
from trichord.media.plan import DecodePlan
from trichord.models.captioner import Captioner
from trichord.models.fusion import Fusion
from trichord.types import MODALITIES, Modality, UserError
from trichord.types.comparable import Pair, comparable_pairs, compares
from trichord.types.extras import require_compiler
from trichord.types.tensors import Batch, Embeddings, Features, Padded, Words

Toward = Literal["vision", "audio"]
_TOKENIZING = Lock()
"""Tokenizers refuse a second thread while they set how to pad."""
TEXTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaVectors:
    """Unit vectors of clips, zero if a clip lacks the modality, and which clips have it.

    `audio` has a vector for each audio type token.
    """

    vision: Float[np.ndarray, "clip dim"]
    has_vision: Bool[np.ndarray, " clip"]
    audio: Float[np.ndarray, "clip token audio_dim"]
    has_audio: Bool[np.ndarray, " clip"]


class Embedder(nn.Module):
    """Embeds batches of clips, texts and media."""

    _joint: bool = False

    def __init__(
        self,
        text: TextEncoder,
        vision: VisionEncoder,
        audio: AudioEncoder,
        sound_text: TextEncoder | None = None,
        *,
        one_space: bool = False,
    ) -> None:
        """Combine encoders.

        Args:
            text: Compared with vision, and with audio unless there is `sound_text`.
            vision: Encodes frames.
            audio: Encodes audio.
            sound_text: A second text encoder, compared with audio.
            one_space: Whether vision and audio are compared although there is `sound_text`, as with
                PE-AV's text heads by partner. Otherwise they then have two spaces, as in the untrained
                pair CLIP + CLAP.

        Raises:
            UserError: Encoders that are compared have different projection sizes.
        """
        super().__init__()
        self.text = text
        self.vision = vision
        self.audio = audio
        self.sound_text = sound_text
        self.fusion: Fusion | None = None
        self.captioner: Captioner | None = None
        self._joint = one_space
        pairs = [(self.text, self.vision), (self.sound_text or self.text, self.audio)]
        for text, media in pairs:
            if text.dim != media.dim:
                raise UserError(
                    f"Text embeds into {text.dim} dimensions, the tower it searches into "
                    f"{media.dim}: choose towers with the same projection size, or give one a new head of "
                    f"that size, as in --model.{media.modality}.dim {text.dim}."
                )
        if self.one_space and vision.dim != audio.dim:
            raise UserError(
                f"--model.one-space: vision has {vision.dim} dimensions, audio {audio.dim}: give both "
                "from one model, or leave it out."
            )

    @property
    def one_space(self) -> bool:
        """Whether vision and audio share a space, with or without a second text encoder."""
        return self.sound_text is None or self._joint

    @property
    def comparable(self) -> frozenset[Pair]:
        """Comparable pairs of modalities; audio and vision only in one space."""
        return comparable_pairs(one_space=self.one_space)

    def compares(self, one: Modality, other: Modality) -> bool:
        """Whether the vectors of two modalities may be compared."""
        return compares(self.comparable, one, other)

    @property
    def texts_differ(self) -> bool:
        """Whether a text has different vectors toward vision and audio."""
        return self.sound_text is not None

    @property
    def reranks(self) -> bool:
        """Whether its fusion scores pairs: then clips' vectors only find candidates."""
        return self.fusion is not None and not self.fusion.indexable

    @property
    def dim(self) -> int:
        """Size of the space of vision, and of audio if the two are comparable."""
        return self.vision.dim

    @property
    def plan(self) -> DecodePlan:
        """What the encoders need decoded of a media file."""
        return self.plan_of(("audio", "vision"))

    def plan_of(self, modalities: Sequence[Modality]) -> DecodePlan:
        """What the encoders of some modalities need decoded of a media file."""
        return DecodePlan(
            frames=self.vision.frames if "vision" in modalities else None,
            rates=(self.audio.rate,) if "audio" in modalities else (),
            stereo=self.audio.stereo,
            audio_seconds=self.audio.audio_seconds,
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Embedder":
        """As torch's, for `to` and others, but trunks that share memory still do afterwards."""
        moved: dict[object, tuple[Tensor, Tensor]] = {}

        def once(tensor: Tensor) -> Tensor:
            if not tensor.data_ptr():  # empty, or without memory
                return fn(tensor)
            key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            if key not in moved:
                moved[key] = tensor, fn(tensor)  # both are kept, so that no address is used again
            return moved[key][1]

        super()._apply(once, recurse)
        return self

    def choose_audio_type(self, audio_type: AudioType) -> None:
        """Set the audio type token.

        Raises:
            UserError: The audio encoder takes none.
        """
        self.audio.choose_audio_type(audio_type)

    def require_weights(self) -> None:
        """Require that all encoders have weights, to encode new media.

        Raises:
            UserError: An encoder has only stored features.
        """
        for encoder in self.encoders().values():
            if encoder.stored is not None:
                refuse_reading(encoder.stored)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(chain(self.parameters(), self.buffers())).device  # graphs have no parameters

    @property
    def fingerprint(self) -> str:
        """Hash of everything that vectors depend on: equal fingerprints mean comparable vectors."""
        digest = hashlib.blake2b(digest_size=12)
        for name, tower in sorted(self.encoders().items()):
            # Only if it is not the default, so that fingerprints of older collections stay valid.
            pooling = "" if tower.pooling == "mean" else f" {tower.pooling}"
            digest.update(f"{name} {tower.fingerprint}{pooling}".encode())
            for value in tower.head.state_dict().values():
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        if self.sound_text is not None and self.one_space:
            digest.update(b"one_space")  # a collection is calibrated for its pairs
        if self.fusion is not None:
            digest.update(self.fusion.settings.encode())
            for value in self.fusion.state_dict().values():
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def encoders(self) -> Mapping[str, Encoder]:
        """Encoders by name; `sound_text` only if there is one."""
        towers = {"text": self.text, "vision": self.vision, "audio": self.audio}
        return towers | ({"sound_text": self.sound_text} if self.sound_text else {})

    def compile_trunks(self) -> None:
        """Compile the trunks of vision and audio with torch, for long work, mostly on a GPU.

        Vectors change by less than 1e-5. The text trunk is not compiled: it would be compiled again for
        each length of texts.

        Raises:
            UserError: There is no C++ compiler, which torch needs for this.
        """
        require_compiler()
        for tower in (self.vision, self.audio):
            tower.compile_trunk()

    def apply_trunks(self, batch: Batch) -> Batch:
        """Apply the trunks that are not applied yet: inputs to trunk features."""
        towers: dict[Modality, Encoder] = {
            "text": self.text, "vision": self.vision, "audio": self.audio,
        }  # fmt: skip
        features = {
            name: tower.trunk_features(inputs, batch.audio_type)
            for name, tower in towers.items()
            if (inputs := batch.of(name)) is not None and name not in batch.precomputed
        }
        if batch.masked is not None and "audio" not in batch.precomputed:
            features["masked"] = self.audio.trunk_features(batch.masked, batch.audio_type)
        return replace(batch, **features, precomputed=MODALITIES)

    def forward(self, batch: Batch) -> Embeddings:
        """Embeddings of a batch of inputs or of trunk features (`batch.precomputed`)."""
        embeddings = self.encode(batch)
        words = self.caption_logits(batch.words, embeddings)
        return replace(embeddings, similarity=self.similarity(embeddings), words=words)

    def encode(self, batch: Batch) -> Embeddings:
        """Embeddings of each clip by itself, without fusion and captioner."""
        batch = self.apply_trunks(batch)
        return Embeddings(
            text=None if batch.text is None else self.text(batch.text),
            audio=None if batch.audio is None else self.audio(batch.audio),
            vision=None if batch.vision is None else self.vision(batch.vision),
            masked=None if batch.masked is None else self.audio(batch.masked),
        )

    def similarity(self, embeddings: Embeddings) -> Float[Tensor, "text clip"] | None:
        """Similarity matrix of texts and clips; None without fusion or texts."""
        if self.fusion is None or embeddings.text is None:
            return None
        return self.fusion(embeddings.text, embeddings.vision, embeddings.audio)

    def caption_logits(self, words: Padded | None, embeddings: Embeddings) -> Words | None:
        """The captioner's logits of each next token; None without captioner or captions."""
        if self.captioner is None or words is None or embeddings.text is None:
            return None
        table = self.word_encoder().table
        return self.captioner(embeddings.text, words, embeddings.vision, embeddings.audio, table)

    def word_encoder(self) -> WordEncoder:
        """The text encoder, if a captioner can use it.

        Raises:
            ValueError: It cannot.
        """
        if not isinstance(self.text, WordEncoder):
            raise ValueError("This model's text encoder gives no words to a captioner.")
        return self.text

    def text_toward(self, toward: Toward) -> TextEncoder:
        """The text encoder that is compared with a modality."""
        return self.sound_text if toward == "audio" and self.sound_text else self.text

    def embed_text(
        self,
        texts: Sequence[str],
        toward: Toward = "vision",
        task: Literal["query", "document"] | None = None,
    ) -> Float[np.ndarray, "text dim"]:
        """Unit vectors of texts.

        Args:
            texts: None of them blank; long texts are truncated.
            toward: The modality to compare with; matters if `texts_differ`.
            task: The model's prompt for it replaces the one of its config, if it has one.

        Raises:
            UserError: A text is empty.
        """
        if blank := [i for i, text in enumerate(texts) if not text.strip()]:
            raise UserError(
                f"Text {blank[0] + 1} of {len(texts)} is empty: give at least one word."
            )
        tower = self.text_toward(toward)
        with _TOKENIZING:
            several = [
                list(texts[i : i + TEXTS_AT_ONCE]) for i in range(0, len(texts), TEXTS_AT_ONCE)
            ]
            portions = [tower.prepare_for(x, task) if task else tower.prepare(x) for x in several]
        vectors: list[Tensor] = []
        with torch.inference_mode():
            for ids in portions:
                mask = torch.ones(len(ids), 1, dtype=torch.bool)
                features = tower.trunk_features(Padded(ids[:, None], mask).to(self.device))
                vectors.append(tower(features).pooled)
        return torch.cat(vectors).cpu().numpy() if vectors else np.zeros((0, tower.dim), np.float32)

    def token_ids(self, texts: Sequence[str]) -> list[Int[Tensor, " token"]]:
        """Token ids of texts, for the captioner.

        Raises:
            ValueError: The text encoder cannot be used by a captioner.
        """
        encoder = self.word_encoder()
        with _TOKENIZING:
            return encoder.words(list(texts)) if texts else []

    def decode_tokens(self, words: Sequence[Sequence[int]]) -> list[str]:
        """Texts of token ids, in the spelling of the tokenizer: lower case, spaces around punctuation."""
        encoder = self.word_encoder()
        with _TOKENIZING:
            return [encoder.decode(list(ids)) for ids in words]

    def count_cut(self, texts: Sequence[str]) -> int:
        """Number of texts that a text encoder truncates."""
        encoders = [one for one in (self.text, self.sound_text) if one is not None]
        with _TOKENIZING:
            return max(one.count_cut(list(texts)) for one in encoders) if texts else 0

    def embed_media(self, decoded: Sequence[Decoded], tokens: Sequence[float] = ()) -> MediaVectors:
        """Visual and audio vectors of clips.

        An indexable fusion is applied: in CLIP4VLA's global-to-local, frames and audio segments attend
        to each other.

        Args:
            decoded: Decoded by `plan`, or by `plan_of` one modality.
            tokens: As for `read_media`; frames are fused with the audio of the first token.

        Raises:
            ValueError: As for `read_media`; or more steps than the fusion has positions.
        """
        vision, audio = self.read_media(decoded, tokens)
        fused = [self._fused(vision, one) for one in audio]
        visual = fused[0][0]
        return MediaVectors(
            vision=visual.pooled.cpu().numpy(),
            has_vision=visual.present.cpu().numpy(),
            audio=torch.stack([one.pooled for _, one in fused], dim=1).cpu().numpy(),
            has_audio=audio[0].present.cpu().numpy(),
        )

    def read_media(
        self, decoded: Sequence[Decoded], tokens: Sequence[float] = ()
    ) -> tuple[Features, list[Features]]:
        """Features of clips' frames, and of their audio with each audio type token, before fusion.

        Args:
            decoded: Decoded by `plan`, or by `plan_of` one modality.
            tokens: From verbal (0) to nonverbal (1), for audio encoders that take one; empty: the
                model's own. The spectrogram is computed once for all.

        Raises:
            ValueError: Audio type tokens for an audio encoder without them.
        """
        device = self.device
        frames = [self.vision_inputs(one).to(device) for one in decoded]
        segments = [self.audio_inputs(one).to(device) for one in decoded]
        with torch.inference_mode():
            vision = self.vision(self.vision.trunk_features_of_rows(frames))
            audio: list[Features] = []
            for token in tokens or (None,):
                chosen = nullcontext() if token is None else self.audio.using_audio_type(token)
                with chosen:
                    audio.append(self.audio(self.audio.trunk_features_of_rows(segments)))
            return vision, audio

    def vision_inputs(self, decoded: Decoded) -> Shaped[Tensor, "step ..."]:
        """Trunk inputs of a clip's frames; no steps if it has none."""
        if decoded.frames is None or not len(decoded.frames):
            return self.vision.no_steps()
        return self.vision.prepare(decoded.frames)

    def spectrogram(self, decoded: Decoded) -> Shaped[Tensor, "..."]:
        """A clip's audio before it is split into steps; an empty tensor if it has none."""
        wave = decoded.audio.get(self.audio.rate)
        return self.audio.spectrogram(wave) if wave is not None and wave.size else torch.zeros(0)

    def audio_steps(
        self, spectrogram: Shaped[Tensor, "..."], masking: np.random.Generator | None = None
    ) -> Shaped[Tensor, "step ..."]:
        """Trunk inputs of a spectrogram; no steps if it is empty.

        Args:
            spectrogram: As `spectrogram` returns it.
            masking: Random numbers for the masks; None: no masks.
        """
        if not spectrogram.numel():
            return self.audio.no_steps()
        if masking is None:
            return self.audio.to_segments(spectrogram)
        return self.audio.spec_augment(spectrogram, masking)

    def audio_inputs(self, decoded: Decoded) -> Shaped[Tensor, "step ..."]:
        """Trunk inputs of a clip's audio; no steps if it has none."""
        return self.audio_steps(self.spectrogram(decoded))

    def _fused(self, vision: Features, audio: Features) -> tuple[Features, Features]:
        """Clips' features after an indexable fusion."""
        if self.fusion is None:
            return vision, audio
        with torch.inference_mode():
            fused_vision, fused_audio = self.fusion.media(vision, audio)
        assert fused_vision is not None
        assert fused_audio is not None
        return fused_vision, fused_audio
