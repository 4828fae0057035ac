"""CLAP's audio and text towers (LAION; Wu et al., 2023) as encoders."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    ClapAudioModelWithProjection,
    ClapFeatureExtractor,
    ClapTextModelWithProjection,
)

from trichord.config.towers import Clap, ClapText, ClipClapText, ClipText
from trichord.encoders.clip import MAX_TOKENS, ClipTextEncoder
from trichord.encoders.encoder import AudioEncoder, TextEncoder
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
            load_graph(config.name)
            if config.arithmetic == "graph"
            else _audio_tower(config.name, config.layers == "all")
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
        preparation |= {} if config.layers == "last" else {"layers": config.layers}
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
def _audio_tower(name: str, every_layer: bool) -> tuple[nn.Module, nn.Module, Sizes]:
    model = load_model(ClapAudioModelWithProjection, name, Clap.types)
    if model.config.enable_fusion:
        # Fused features depend on the batch: the extractor marks a random item as longer.
        raise UserError(
            f"The CLAP model '{name}' is a fused one, whose embeddings are not deterministic: use an "
            "unfused one such as laion/clap-htsat-unfused."
        )
    trunk = Pooler(model.audio_model, "input_features")
    if every_layer:
        trunk = _LayerPooler(model.audio_model)
    sizes = Sizes(dim=model.config.projection_dim, width=trunk.width)
    return trunk, model.audio_projection, sizes


class _LayerPooler(nn.Module):
    """CLAP's pooled output, then mean, maximum and deviation of each layer's map over time and bands.

    Contrastive pretraining keeps in the last layer what its captions tell apart. What they seldom say, such
    as pitch and rhythm, is nearer in the layers before it.

    Attributes:
        width: Of all that together.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        side, mels = model.config.spec_size, model.config.num_mel_bins
        with torch.no_grad():
            # The widths of the maps double from stage to stage, but for the last: measured, not derived.
            self.width: int = self(torch.zeros(1, 1, side * side // mels, mels)).shape[1]

    def forward(self, mels: Float[Tensor, "step 1 time mel"]) -> Float[Tensor, "step width"]:
        read = self.model(input_features=mels, output_hidden_states=True)
        maps = [one.flatten(2) for one in read.hidden_states]  # (step, channel, place)
        parts = [
            part
            for one in maps
            # A root has no finite slope at 0.
            for part in (one.mean(2), one.amax(2), (one.var(2, correction=0) + 1e-6).sqrt())
        ]
        return torch.cat([read.pooler_output, *parts], dim=1)


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


class _SideBySide(nn.Module):
    """Two text trunks, each on its part of an input."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, ids: Int[Tensor, "step token 2"]) -> Float[Tensor, "step width"]:
        return torch.cat([self.first(ids[..., 0]), self.second(ids[..., 1])], dim=1)


class _TextTrunk(nn.Module):
    def __init__(self, model: nn.Module, pad: int) -> None:
        super().__init__()
        self.model = model
        self.pad = pad

    def forward(self, ids: Int[Tensor, "step token"]) -> Float[Tensor, "step width"]:
        return self.model(input_ids=ids, attention_mask=(ids != self.pad).long()).pooler_output


class ClipClapTextEncoder(TextEncoder):
    """Token ids of both tokenizers, (text, token, 2), to the features of both towers side by side."""

    english = True
    no_export = "it has two tokenizers, an exported text encoder one"

    def __init__(self, config: ClipClapText) -> None:
        """Load both models.

        Raises:
            UserError: No such model, or it has no exported form.
        """
        if config.arithmetic == "graph":
            raise UserError(
                "--model.text.arithmetic graph: clip-clap-text reads no exported graph."
            )
        first = ClipTextEncoder(ClipText(name=config.name))
        second = ClapTextEncoder(ClapText(name=config.clap))
        self.encoders = first, second
        self.max_tokens = min(first.max_tokens or MAX_TOKENS, second.max_tokens or MAX_TOKENS)
        width = first.width + second.width
        super().__init__(
            _SideBySide(first.trunk, second.trunk),
            nn.Linear(width, config.dim or first.dim),
            width,
            {"kind": config.kind, "both": [first.preparation, second.preparation]},
        )
        self.set_arithmetic(config.arithmetic)

    def prepare(self, texts: list[str]) -> Int[Tensor, "text token 2"]:
        """Token ids of CLIP beside those of CLAP, padded to the longer of the two."""
        rows = [encoder.prepare(texts) for encoder in self.encoders]
        pads = (self.encoders[0].end, self.encoders[1].pad)
        longest = max(row.shape[1] for row in rows)
        padded = [
            F.pad(row, (0, longest - row.shape[1]), value=pad)
            for row, pad in zip(rows, pads, strict=True)
        ]
        return torch.stack(padded, dim=2)

    def lengths(self, inputs: Int[Tensor, "text token 2"]) -> Int[Tensor, " text"]:
        """Tokens of each text, of the tokenizer that needs more."""
        every = [one.lengths(inputs[..., i].contiguous()) for i, one in enumerate(self.encoders)]
        return torch.maximum(*every)

    def count_cut(self, texts: list[str]) -> int:
        """Number of texts that either tower truncates."""
        return max(encoder.count_cut(texts) for encoder in self.encoders)
