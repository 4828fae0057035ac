"""CLAP's audio and text towers (LAION; Wu et al., 2023) as encoders."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    ClapAudioModelWithProjection,
    ClapFeatureExtractor,
    ClapTextModelWithProjection,
)

from trichord.config.towers import Clap, ClapText
from trichord.encoders.clip import MAX_TOKENS
from trichord.encoders.encoder import AudioEncoder
from trichord.encoders.frames import Pooler
from trichord.encoders.graph import Sizes, load_graph
from trichord.encoders.pretrained import load_model
from trichord.encoders.texts import TransformersTextEncoder
from trichord.encoders.weight_cache import load_cached, shared_trunk
from trichord.types import UserError


def chunks(
    wave: Float[np.ndarray, " sample"], length: int, min_tail: int
) -> list[Float[np.ndarray, " _sample"]]:
    """Split a waveform into consecutive chunks of `length` samples, without overlap.

    The last chunk is kept if it has at least `min_tail` samples or is the only one. Nothing is random:
    CLAP's extractor crops randomly only inputs longer than a chunk, and here there are none.
    """
    cut = [wave[start : start + length] for start in range(0, len(wave), length)]
    if len(cut) > 1 and len(cut[-1]) < min_tail:
        cut.pop()
    return cut


class ClapEncoder(AudioEncoder):
    """Log-mel chunks (step, 1, time, mel) to features; the head is initialised as CLAP's projection."""

    has_batch_norm = True

    def __init__(self, config: Clap) -> None:
        """Load the model.

        Raises:
            UserError: No such model, or a fused one.
        """
        trunk, projection, sizes = (
            load_graph(config.name) if config.arithmetic == "graph" else _audio_tower(config.name)
        )
        if (
            config.head == "linear" and config.arithmetic != "graph"
        ):  # new for each model, by its seed
            projection = nn.Linear(sizes.width, sizes.dim)
        self.extractor: Any = load_cached(ClapFeatureExtractor, config.name)
        if self.extractor.truncation == "fusion":
            raise UserError(
                f"The preprocessor of the CLAP model '{config.name}' prepares sound for a fused one: put "
                "back its own preprocessor_config.json (truncation 'rand_trunc')."
            )
        self.rate: int = self.extractor.sampling_rate
        self.chunk: int = round(self.extractor.nb_max_samples)
        self.min_tail = round(config.min_tail_seconds * self.rate)
        preparation = {
            "kind": "clap",
            "rate": self.rate,
            "chunk": self.chunk,
            "min_tail": self.min_tail,
            "mels": self.extractor.feature_size,
            "window": self.extractor.fft_window_size,
            "hop": self.extractor.hop_length,
            "range": [self.extractor.frequency_min, self.extractor.frequency_max],
            "padding": self.extractor.padding,
        }
        super().__init__(trunk, projection, sizes.width, preparation, dim=sizes.dim)
        self.set_arithmetic(config.arithmetic)

    def prepare(self, wave: Float[np.ndarray, " sample"]) -> Float[Tensor, "step 1 time mel"]:
        """Log-mel chunks of a mono waveform at `rate`; a short one is repeated, then padded."""
        # One by one, because the extractor pads a batch to a common length.
        mels = [
            self.extractor(chunk, sampling_rate=self.rate, return_tensors="pt")["input_features"]
            for chunk in chunks(wave, self.chunk, self.min_tail)
        ]
        return torch.cat(mels).float()


@shared_trunk
def _audio_tower(name: str) -> tuple[nn.Module, nn.Module, Sizes]:
    model = load_model(ClapAudioModelWithProjection, name, Clap.types)
    if model.config.enable_fusion:
        # Fused features depend on the batch: the extractor marks a random item as longer.
        raise UserError(
            f"The CLAP model '{name}' is a fused one, whose embeddings are not deterministic: use an "
            "unfused one such as laion/clap-htsat-unfused."
        )
    sizes = Sizes(dim=model.config.projection_dim, width=model.config.hidden_size)
    return Pooler(model.audio_model, "input_features"), model.audio_projection, sizes


class ClapTextEncoder(TransformersTextEncoder):
    """Token ids (step, token) to features; the head is CLAP's text projection."""

    english = True

    def __init__(self, config: ClapText) -> None:
        """Load the model.

        Raises:
            UserError: No such model, or a tokenizer of another one.
        """
        super().__init__(
            "clap_text", config, lambda pad: _text_tower(config.name, pad), longest=MAX_TOKENS
        )


@shared_trunk
def _text_tower(name: str, pad: int) -> tuple[nn.Module, nn.Module, Sizes]:
    model = load_model(ClapTextModelWithProjection, name, ClapText.types)
    sizes = Sizes(
        dim=model.config.projection_dim,
        width=model.config.hidden_size,
        tokens=model.config.vocab_size,
    )
    return _TextTrunk(model.text_model, pad), model.text_projection, sizes


class _TextTrunk(nn.Module):
    def __init__(self, model: nn.Module, pad: int) -> None:
        super().__init__()
        self.model = model
        self.pad = pad

    def forward(self, ids: Int[Tensor, "step token"]) -> Float[Tensor, "step width"]:
        return self.model(input_ids=ids, attention_mask=(ids != self.pad).long()).pooler_output
