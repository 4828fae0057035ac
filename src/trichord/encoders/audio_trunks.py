"""Audio models that have seen no text, as trunks: AST, Whisper's encoder, wav2vec2 and HuBERT.

A wave is split into consecutive chunks, a step each, and the head is new. A chunk has the features that
`transformers` gives it alone: inputs are padded to one size and hold the length of their sound.
"""

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    ASTFeatureExtractor,
    ASTModel,
    AutoFeatureExtractor,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperFeatureExtractor,
    WhisperModel,
)
from transformers.utils.import_utils import is_speech_available

from trichord.config.towers import AudioTrunk
from trichord.encoders.clap import chunks
from trichord.encoders.encoder import AudioEncoder
from trichord.encoders.graph import Sizes, load_graph
from trichord.encoders.pretrained import load_model, require_type
from trichord.encoders.weight_cache import load_cached, shared_trunk
from trichord.types.rules import require

AST = "audio-spectrogram-transformer"
WHISPER = "whisper"
WAVES = {"hubert": HubertModel, "wav2vec2": Wav2Vec2Model}
"""Models that read waves, by the type in their configuration."""
TYPES = {AST, WHISPER, *WAVES}
FBANK = (400, 160)
"""Samples of a window and between two, in AST's extractor."""
WAVE_SECONDS = 10.0
"""Seconds of a chunk for models that read waves of any length: they were trained on up to 16 s or so."""


def audio_trunk(config: AudioTrunk) -> "AudioTrunkEncoder":
    """The encoder of a model, by its type.

    Raises:
        UserError: No such model, or its feature extractor is of another one.
    """
    if config.arithmetic == "graph":  # its folder holds no config, but the extractor
        extractor: Any = load_cached(AutoFeatureExtractor, config.name)
        ours = isinstance(extractor, ASTFeatureExtractor | WhisperFeatureExtractor)
        require(
            ours,
            f"{config.name}: {type(extractor).__name__} prepares sound for another encoder than "
            "'audio-trunk': repeat 'trichord export'.",
        )
        kind = AST if isinstance(extractor, ASTFeatureExtractor) else WHISPER
    else:
        kind = require_type(config.name, TYPES)
    return {AST: AstTrunkEncoder, WHISPER: WhisperTrunkEncoder}.get(kind, WaveTrunkEncoder)(config)


class AudioTrunkEncoder(AudioEncoder):
    """Consecutive chunks of a wave, a step each, to features.

    Attributes:
        extractor: Feature extractor of `transformers`.
        chunk: Samples of a chunk.
        min_tail: Fewest samples of a last chunk that is not the only one.
    """

    # A chunk has 500 to 1,500 tokens: eight fill a GPU, and memory, as 64 pictures do.
    batch_size = 8

    def __init__(
        self,
        config: AudioTrunk,
        tower: tuple[nn.Module, nn.Module, Sizes],
        *,
        extractor: Any,
        chunk: int,
        preparation: dict[str, object],
    ) -> None:
        """Combine trunk and head.

        Args:
            config: Of the encoder.
            tower: Trunk, head and sizes.
            extractor: Of the trunk.
            chunk: Samples of a chunk.
            preparation: As for `Encoder`, beyond the sizes of chunks.
        """
        trunk, head, sizes = tower
        self.rate: int = extractor.sampling_rate
        self.chunk = chunk
        self.min_tail = round(config.min_tail_seconds * self.rate)
        preparation |= {"chunk": chunk, "min_tail": self.min_tail}
        super().__init__(trunk, head, sizes.width, preparation)
        self.extractor = extractor
        self.set_arithmetic(config.arithmetic)

    def prepare(self, wave: Float[np.ndarray, " sample"]) -> Float[Tensor, "step ..."]:
        """Inputs of each chunk of a mono waveform at `rate`."""
        pieces = chunks(wave, self.chunk, self.min_tail)
        return torch.stack([self.prepare_chunk(piece) for piece in pieces])

    @abstractmethod
    def prepare_chunk(self, wave: Float[np.ndarray, " sample"]) -> Float[Tensor, "..."]:
        """Trunk inputs of a chunk, of one size whatever its length."""

    def extract(self, wave: Float[np.ndarray, " sample"]) -> Float[Tensor, "..."]:
        """What the extractor makes of a chunk."""
        made = self.extractor(wave, sampling_rate=self.rate, return_tensors="pt")
        return made[self.extractor.model_input_names[0]][0].float()


def _tower(config: AudioTrunk, read: Any) -> tuple[nn.Module, nn.Module, Sizes]:
    """Trunk, head and sizes: of an exported encoder, or read, with a new head by the model's seed."""
    if config.arithmetic == "graph":
        return load_graph(config.name)
    trunk, _, sizes = read(config.name)
    return trunk, nn.Linear(sizes.width, config.dim), sizes


def _require_no_chunk(config: AudioTrunk, seconds: float) -> None:
    """Refuse a choice of chunks where the model has its own."""
    require(
        config.chunk_seconds is None,
        f"--model.audio.chunk-seconds: '{config.name}' always reads {seconds:.4g} s: leave it out.",
    )


class AstTrunkEncoder(AudioTrunkEncoder):
    """Log-mel chunks (step, time, mel) to the mean of AST's class and distillation tokens."""

    def __init__(self, config: AudioTrunk) -> None:
        """Load the model.

        Raises:
            UserError: No such model, or its extractor is of another one.
        """
        extractor: Any = load_cached(ASTFeatureExtractor, config.name)
        window, hop = FBANK
        chunk = window + hop * (extractor.max_length - 1)  # the longest that it does not cut
        _require_no_chunk(config, chunk / extractor.sampling_rate)
        preparation: dict[str, object] = {
            "kind": "ast",
            "frames": extractor.max_length,
            "mels": extractor.num_mel_bins,
            "normal": [extractor.mean, extractor.std] if extractor.do_normalize else None,
            # Its spectrograms differ a little from those of numpy, and the extractor prefers it.
            "spectrogram": "torchaudio" if is_speech_available() else "numpy",
        }
        super().__init__(
            config,
            _tower(config, _ast_trunk),
            extractor=extractor,
            chunk=chunk,
            preparation=preparation,
        )

    def prepare_chunk(self, wave: Float[np.ndarray, " sample"]) -> Float[Tensor, "time mel"]:
        """Log-mel frames, padded as AST was trained; a wave shorter than a window gets silence."""
        return self.extract(_padded(wave, FBANK[0]))


@shared_trunk
def _ast_trunk(name: str) -> tuple[nn.Module, nn.Module, Sizes]:
    model = load_model(ASTModel, name, {AST})
    extractor: Any = load_cached(ASTFeatureExtractor, name)
    made = (extractor.max_length, extractor.num_mel_bins)
    _require_same(name, made, (model.config.max_length, model.config.num_mel_bins))
    width = model.config.hidden_size
    return _AstTrunk(model), nn.Identity(), Sizes(dim=width, width=width)


class _AstTrunk(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, mels: Float[Tensor, "step time mel"]) -> Float[Tensor, "step width"]:
        return self.model(input_values=mels).pooler_output


class WhisperTrunkEncoder(AudioTrunkEncoder):
    """Log-mel chunks (step, mel, 1 + time) to the mean of the frames of sound.

    The first column holds the number of these frames: the rest is silence up to 30 s.
    """

    def __init__(self, config: AudioTrunk) -> None:
        """Load the model.

        Raises:
            UserError: No such model, or its extractor is of another one.
        """
        extractor: Any = load_cached(WhisperFeatureExtractor, config.name)
        _require_no_chunk(config, extractor.n_samples / extractor.sampling_rate)
        require(
            not extractor.dither,
            f"The preprocessor of '{config.name}' adds noise ('dither' {extractor.dither}), which gives "
            "other vectors each time: set it to 0.",
        )
        preparation: dict[str, object] = {
            "kind": "whisper",
            "mels": extractor.feature_size,
            "window": extractor.n_fft,
            "hop": extractor.hop_length,
        }
        super().__init__(
            config,
            _tower(config, _whisper_trunk),
            extractor=extractor,
            chunk=extractor.n_samples,
            preparation=preparation,
        )

    def prepare_chunk(self, wave: Float[np.ndarray, " sample"]) -> Float[Tensor, "mel column"]:
        """Log-mel frames behind a column with the number of the trunk's frames."""
        mels = self.extract(wave)
        # A convolution halves the frames of the spectrogram.
        count = math.ceil(len(wave) / (2 * self.extractor.hop_length))
        return torch.cat([mels.new_full((len(mels), 1), count), mels], dim=1)


@shared_trunk
def _whisper_trunk(name: str) -> tuple[nn.Module, nn.Module, Sizes]:
    # The class of the encoder alone does not find its tensors in a file of the whole model.
    model = load_model(WhisperModel, name, {WHISPER})
    extractor: Any = load_cached(WhisperFeatureExtractor, name)
    made = (extractor.nb_max_frames, extractor.feature_size)
    _require_same(name, made, (2 * model.config.max_source_positions, model.config.num_mel_bins))
    width = model.config.d_model
    return _WhisperTrunk(model.encoder), nn.Identity(), Sizes(dim=width, width=width)


class _WhisperTrunk(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, columns: Float[Tensor, "step mel column"]) -> Float[Tensor, "step width"]:
        counts, mels = columns[:, :1, 0], columns[:, :, 1:]
        frames = self.model(input_features=mels).last_hidden_state.float()
        sound = torch.arange(frames.shape[1], device=frames.device) < counts
        return (frames * sound.unsqueeze(-1)).sum(dim=1) / counts


class WaveTrunkEncoder(AudioTrunkEncoder):
    """Waves (step, 1 + sample) to the mean of the frames of wav2vec2 or HuBERT.

    The first value holds the number of samples; those beyond are padding.
    """

    no_export = "it reads each chunk at its own length, which an ONNX graph cannot do"

    def __init__(self, config: AudioTrunk) -> None:
        """Load the model.

        Raises:
            UserError: No such model.
        """
        extractor: Any = load_cached(Wav2Vec2FeatureExtractor, config.name)
        tower = _tower(config, _wave_trunk)
        trunk: Any = tower[0]
        self.shortest: int = trunk.shortest
        seconds = WAVE_SECONDS if config.chunk_seconds is None else config.chunk_seconds
        super().__init__(
            config,
            tower,
            extractor=extractor,
            chunk=round(seconds * extractor.sampling_rate),
            preparation={"kind": "wave", "normalised": extractor.do_normalize},
        )
        # Some HuBERTs have one before their positions.
        self.has_batch_norm = any(isinstance(one, nn.BatchNorm1d) for one in self.trunk.modules())

    def prepare_chunk(self, wave: Float[np.ndarray, " sample"]) -> Float[Tensor, " value"]:
        """The normalised wave behind its length, padded; one too short for a frame gets silence."""
        samples = self.extract(_padded(wave, self.shortest))
        prepared = samples.new_zeros(1 + self.chunk)
        prepared[0] = len(samples)
        prepared[1 : 1 + len(samples)] = samples
        return prepared


@shared_trunk
def _wave_trunk(name: str) -> tuple["_WaveTrunk", nn.Module, Sizes]:
    # Without masking in training, which many published models have no vector for (wav2vec2-base-960h),
    # and which draws from numpy's global generator.
    unmasked = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    model = load_model(WAVES[require_type(name, TYPES)], name, WAVES, **unmasked)
    trunk = _WaveTrunk(model)
    return trunk, nn.Identity(), Sizes(dim=trunk.width, width=trunk.width)


class _WaveTrunk(nn.Module):
    """Reads waves of one length together, without padding.

    The first layer of the smaller models normalises over time, and some have another batch norm or
    convolutions at the end: padding would change the features of sound, with an attention mask too.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        config = model.config
        adapter = getattr(model, "adapter", None)
        self.width: int = config.hidden_size if adapter is None else config.output_hidden_size
        self.shortest = 1
        for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True):
            self.shortest = (self.shortest - 1) * stride + kernel

    def forward(self, rows: Float[Tensor, "step value"]) -> Float[Tensor, "step width"]:
        lengths = rows[:, 0].long()
        features = rows.new_empty(len(rows), self.width)
        for length in lengths.unique().tolist():
            alike = lengths == length
            frames = self.model(rows[alike, 1 : 1 + length]).last_hidden_state
            features[alike] = frames.mean(dim=1).to(features.dtype)
        return features

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: each length would be compiled again."""


def _padded(wave: Float[np.ndarray, " sample"], shortest: int) -> Float[np.ndarray, " padded"]:
    return np.pad(wave, (0, max(0, shortest - len(wave))))


def _require_same(name: str, made: tuple[int, int], taken: tuple[int, int]) -> None:
    require(
        made == taken,
        f"The preprocessor of '{name}' makes {made[0]} frames of {made[1]} bands, its encoder takes "
        f"{taken[0]} of {taken[1]}: put the model's own preprocessor_config.json beside its weights.",
    )
