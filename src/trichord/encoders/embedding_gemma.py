"""EmbeddingGemma 2 (Google, 2026) as encoders: texts, images and sound by one model.

A text, an image or a sound becomes a sequence of tokens, and its vector is their mean. Each encoder keeps
the part of the model that it needs; all of them need the language model, whose memory they share. The
model overflows in float16: it computes in float32, or in bfloat16.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    EmbeddingGemma2Model,
    Gemma4AudioFeatureExtractor,
    Gemma4ImageProcessorPil,
)

from trichord.config.towers import EmbeddingGemmaAudio, EmbeddingGemmaText, EmbeddingGemmaVision
from trichord.encoders.clap import chunks
from trichord.encoders.encoder import AudioEncoder, VisionEncoder
from trichord.encoders.frames import filter_of
from trichord.encoders.graph import Sizes
from trichord.encoders.heads import cut_head
from trichord.encoders.pretrained import load_model
from trichord.encoders.prompts import Prompts
from trichord.encoders.texts import TransformersTextEncoder
from trichord.encoders.weight_cache import load_cached, part_of, shared_trunk
from trichord.media.plan import FramePlan
from trichord.types import Modality
from trichord.types.rules import require

NO_EXPORT = "its inputs have different numbers of tokens, which its ONNX graph could not tell apart"


class EmbeddingGemmaTextEncoder(TransformersTextEncoder):
    """Token ids, those of the prompt first, to features.

    Attributes:
        prompts: Of the model.
    """

    def __init__(self, config: EmbeddingGemmaText) -> None:
        """Load the model.

        Raises:
            UserError: No such model or prompt, a tokenizer of another model, or too large a width.
        """
        self.prompts = Prompts.of(config.name)
        self.prompt = self.prompts.text(config.prompt, config.name)
        super().__init__(
            "embedding_gemma2_text",
            config,
            lambda _: _tower(_TextTrunk, config.name, "text", config.width),
            longest=config.longest,
        )

    def prepare_for(
        self, texts: list[str], task: Literal["query", "document"]
    ) -> Int[Tensor, "text token"]:
        """Token ids behind the model's prompt for a task; behind that of the config if it has none."""
        prompt = self.prompts.texts.get(task, self.prompt)
        return self.token_ids([prompt + text for text in texts])


class EmbeddingGemmaVisionEncoder(VisionEncoder):
    """Patches of frames in their own aspect ratio (step, patch, value + 2) to features.

    The last two numbers of a patch are its place, -1 where it is padding.

    Attributes:
        processor: Of `transformers`, working on PIL pictures.
    """

    batch_size = 8  # a frame has up to 10,080 patches
    no_export = NO_EXPORT

    def __init__(self, config: EmbeddingGemmaVision) -> None:
        """Load the model.

        Raises:
            UserError: No such model, one without vision, or a preprocessor of another one.
        """
        trunk, head, sizes = _tower(_VisionTrunk, config.name, "vision", config.width)
        self.processor: Any = load_cached(Gemma4ImageProcessorPil, config.name)
        ours, vision = self.processor, trunk.model.config.vision_config
        pool: int = ours.pooling_kernel_size
        require(
            (ours.patch_size, pool) == (vision.patch_size, vision.pooling_kernel_size),
            f"The preprocessor of '{config.name}' cuts patches of {ours.patch_size} pixels, {pool} a side "
            f"for a token; its vision tower takes {vision.patch_size} pixels, "
            f"{vision.pooling_kernel_size} a side: put the model's own processor_config.json beside its "
            "weights.",
        )
        self.cell = pool * ours.patch_size
        self.soft_tokens = config.soft_tokens
        self.frames = FramePlan(
            per_second=config.frames_per_second,
            count=config.max_frames,
            short_side=None,
            patches=(self.cell, config.soft_tokens),
            rounding="down",
            resample=filter_of(ours, config.name),
            nearest=config.nearest,
        )
        preparation = {
            "kind": "embedding_gemma2_vision",
            "patches": [ours.patch_size, pool, config.soft_tokens],
            "tokens": trunk.tokens,
            "mean": list(ours.image_mean) if ours.do_normalize else None,
            "std": list(ours.image_std) if ours.do_normalize else None,
            "resize": "pil",
        }
        super().__init__(trunk, head, sizes.width, preparation, config.pooling, dim=sizes.dim)
        self.set_arithmetic(config.arithmetic)

    def prepare(
        self, frames: UInt8[np.ndarray, "step height width 3"]
    ) -> Float[Tensor, "step patch value"]:
        """Patches of each frame, with their places."""
        high, wide = (side // self.cell for side in frames.shape[1:3])
        whole = (high * self.cell, wide * self.cell) == frames.shape[1:3]
        # A frame that the decoder has resized is not resized again: that might add a row.
        ready = whole and high * wide <= self.soft_tokens < (high + 1) * (wide + 1)
        made = self.processor(
            list(frames),
            max_soft_tokens=self.soft_tokens,
            do_resize=not ready,
            return_tensors="pt",
        )
        places = made["image_position_ids"].to(made["pixel_values"].dtype)
        return torch.cat([made["pixel_values"], places], dim=2)


class EmbeddingGemmaAudioEncoder(AudioEncoder):
    """Log-mel chunks (step, frame, mel + 1) to features; the last number is 0 where a frame is padding.

    Attributes:
        extractor: Of `transformers`.
    """

    batch_size = 8
    no_export = NO_EXPORT

    def __init__(self, config: EmbeddingGemmaAudio) -> None:
        """Load the model.

        Raises:
            UserError: No such model, one without audio, or a preprocessor that adds noise.
        """
        trunk, head, sizes = _tower(_AudioTrunk, config.name, "audio", config.width)
        self.extractor: Any = load_cached(Gemma4AudioFeatureExtractor, config.name)
        require(
            not self.extractor.dither,
            f"The preprocessor of '{config.name}' adds random noise (dither {self.extractor.dither}), so "
            "that no vector would be the same twice: set it to 0.0 in its processor_config.json.",
        )
        self.rate: int = self.extractor.sampling_rate
        self.chunk = round(config.step_seconds * self.rate)
        self.min_tail = round(config.min_tail_seconds * self.rate)
        settings: dict[str, Any] = json.loads(self.extractor.to_json_string())
        preparation = {
            "kind": "embedding_gemma2_audio",
            "chunk": self.chunk,
            "min_tail": self.min_tail,
            "tokens": trunk.tokens,
            "settings": {key: settings[key] for key in sorted(MEL_SETTINGS & settings.keys())},
        }
        super().__init__(trunk, head, sizes.width, preparation, "mean_of_unit", dim=sizes.dim)
        self.longest = len(self._mel(np.zeros(self.chunk, np.float32)))
        self.set_arithmetic(config.arithmetic)

    def prepare(self, wave: Float[np.ndarray, " sample"]) -> Float[Tensor, "step frame value"]:
        """Log-mel chunks of a mono waveform at `rate`."""
        mels = [self._mel(chunk) for chunk in chunks(wave, self.chunk, self.min_tail)]
        pads = [(0, 0, 0, self.longest - len(mel)) for mel in mels]
        return torch.stack(
            [nn.functional.pad(mel, pad) for mel, pad in zip(mels, pads, strict=True)]
        )

    def _mel(self, chunk: Float[np.ndarray, " sample"]) -> Float[Tensor, "frame value"]:
        made = self.extractor([chunk], truncation=False, return_tensors="pt")
        mask = made["input_features_mask"][0, :, None]
        return torch.cat([made["input_features"][0], mask.float()], dim=1)


MEL_SETTINGS = frozenset(
    {
        *("feature_size", "sampling_rate", "frame_length", "hop_length", "fft_length", "mel_floor"),
        *("min_frequency", "max_frequency", "preemphasis", "preemphasis_htk_flavor"),
        *("input_scale_factor", "per_bin_mean", "per_bin_stddev"),
    }
)
"""Settings of the feature extractor that its output depends on."""


class _Trunk(nn.Module):
    """The model with the towers of some modalities alone.

    Attributes:
        tokens: Those before the tokens of an input, its own token, and those after them.
    """

    media: Modality = "text"

    def __init__(self, model: Any, tokens: Sequence[Sequence[int]] = ()) -> None:
        super().__init__()
        self.model = model
        self.tokens = [list(one) for one in tokens]
        self.pad: int = model.config.text_config.pad_token_id
        if self.media != "vision":
            model.vision_tower = model.embed_vision = None
        if self.media != "audio":
            model.audio_tower = model.embed_audio = None

    def mean(self, ids: Int[Tensor, "step token"], **media: Tensor) -> Float[Tensor, "step width"]:
        """The mean of all tokens that are not padding."""
        mask = ids != self.pad
        with _no_float16(ids.device):
            read = self.model(input_ids=ids, attention_mask=mask.long(), **media)
        weight = mask[..., None].float()
        return (read.last_hidden_state.float() * weight).sum(1) / weight.sum(1)

    def sequences(self, counts: Int[Tensor, " step"]) -> Int[Tensor, "step token"]:
        """Token ids of inputs with so many tokens of their own."""
        before, [own], after = self.tokens
        rows = [[*before, *[own] * count, *after] for count in counts.tolist()]
        longest = max(map(len, rows))
        padded = [row + [self.pad] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, device=counts.device)


class _TextTrunk(_Trunk):
    def forward(self, ids: Int[Tensor, "text token"]) -> Float[Tensor, "text width"]:
        return self.mean(ids)


class _VisionTrunk(_Trunk):
    media = "vision"

    def own_tokens(self, rows: Float[Tensor, "step patch value"]) -> list[Float[Tensor, "token _"]]:
        """The tokens of each frame, as the language model reads them."""
        patches, places = rows[..., :-2], rows[..., -2:].long()
        read = self.model.get_image_features(patches, places, return_dict=True)
        return list(read.pooler_output)

    def forward(self, rows: Float[Tensor, "step patch value"]) -> Float[Tensor, "step width"]:
        patches, places = rows[..., :-2], rows[..., -2:].long()
        pool = self.model.config.vision_config.pooling_kernel_size**2
        ids = self.sequences((places != -1).all(dim=2).sum(dim=1) // pool)
        return self.mean(ids, pixel_values=patches, image_position_ids=places)


class _AudioTrunk(_Trunk):
    media = "audio"

    def own_tokens(self, rows: Float[Tensor, "step frame value"]) -> list[Float[Tensor, "token _"]]:
        """The tokens of each chunk, as the language model reads them."""
        mask = rows[..., -1].bool()
        read = self.model.get_audio_features(rows[..., :-1], mask, return_dict=True)
        pairs = zip(read.pooler_output, read.attention_mask, strict=True)
        return [tokens[present.bool()] for tokens, present in pairs]

    def forward(self, rows: Float[Tensor, "step frame value"]) -> Float[Tensor, "step width"]:
        mask = rows[..., -1].bool()
        # The model halves the number of frames twice, each time from the first one on.
        ids = self.sequences(mask[:, ::4].sum(dim=1))
        used = max(1, int(mask.sum(dim=1).max()))  # frames that are padding in all steps cost time
        return self.mean(
            ids, input_features=rows[:, :used, :-1], input_features_mask=mask[:, :used]
        )


Mixed = tuple[EmbeddingGemmaTextEncoder, EmbeddingGemmaVisionEncoder, EmbeddingGemmaAudioEncoder]
"""The encoders of one model."""


def mixture_features(
    encoders: Mixed,
    parts: Sequence[tuple[Modality, Any]],
    task: Literal["query", "document"] | None = None,
) -> Float[Tensor, " width"]:
    """Features of texts, frames and sounds that are one input: one sequence of tokens, in their order.

    Args:
        encoders: Of a model without training.
        parts: Texts, and inputs (step, ...) of the vision and the audio trunk, on the model's device.
        task: Whose prompt stands before each text; None: that of the config.

    Raises:
        UserError: The sequence is longer than the model reads, or a text has the marks of other inputs.
    """
    text, *media = encoders
    readers: dict[str, Any] = {one.modality: one.trunk for one in media}
    prompt = text.prompts.texts.get(task or "", text.prompt)
    words: list[str] = []
    own: dict[int, list[Tensor]] = {trunk.tokens[1][0]: [] for trunk in readers.values()}
    for modality, part in parts:
        if modality == "text":
            words.append(prompt + part)
            continue
        before, [mark], after = readers[modality].tokens
        tokens = readers[modality].own_tokens(part)
        names = text.tokenizer.convert_ids_to_tokens([before[-1], mark, after[0]])
        words += ["".join(names)] * len(tokens)
        own[mark] += tokens
    ids: list[int] = text.tokenizer("".join(words))["input_ids"]
    require(
        all(ids.count(mark) == len(steps) for mark, steps in own.items()),
        "A text has the marks by which the model knows images and sounds: leave them out of it.",
    )
    model: Any = text.trunk.model
    table = model.get_input_embeddings()
    # The ids of marks have no place in the table: other rows come in their stead.
    known = torch.tensor([text.pad if one in own else one for one in ids])
    embedded = table(known.to(table.weight.device))
    rows = [
        own[one].pop(0) if one in own else row[None] for one, row in zip(ids, embedded, strict=True)
    ]
    sequence = torch.cat(rows)
    require(
        len(sequence) <= text.longest,
        f"The input has {len(sequence)} tokens, and the model reads {text.longest}: give fewer frames, a "
        "shorter sound or a shorter text.",
    )
    with _no_float16(sequence.device):
        mask = torch.ones(1, len(sequence), dtype=torch.long, device=sequence.device)
        read = model.language_model(inputs_embeds=sequence[None], attention_mask=mask)
    return read.last_hidden_state[0].float().mean(0)


def _no_float16(device: torch.device) -> AbstractContextManager[Any]:
    """Leave a block of mixed precision that would compute in float16."""
    kind = device.type
    if torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16:
        return torch.autocast(kind, enabled=False)
    return nullcontext()


Part = TypeVar("Part", bound=_Trunk)


def _tower(
    kind: type[Part], name: str, modality: Modality, width: int | None
) -> tuple[Part, nn.Module, Sizes]:
    """The part of the model for a modality, a head for the width of the vectors, and its sizes.

    Raises:
        UserError: As for `load_model`; it lacks the modality; or the width is too large.
    """
    whole, _, sizes = _model(name)
    config = whole.config
    own = None if modality == "text" else getattr(config, f"{modality}_config")
    require(
        modality == "text" or own is not None,
        f"The model '{name}' has no {modality} tower: choose one that has, or another --model.{modality}.",
    )
    head = cut_head(sizes.width, width, name)
    trunk = part_of(whole, kind(whole, _sequence(config, name, modality)))
    return (
        trunk,
        head,
        Sizes(
            dim=head.out_features, width=sizes.width, positions=sizes.positions, tokens=sizes.tokens
        ),
    )


@shared_trunk
def _model(name: str) -> tuple[Any, nn.Module, Sizes]:
    model = load_model(EmbeddingGemma2Model, name, EmbeddingGemmaText.types)
    text = model.config.text_config
    sizes = Sizes(
        dim=text.embedding_dim,
        width=text.embedding_dim,
        positions=text.max_position_embeddings,
        tokens=text.vocab_size,
    )
    return model, nn.Identity(), sizes


def _sequence(config: Any, name: str, modality: Modality) -> list[list[int]]:
    """The tokens of an image or a sound, as the model's tokenizer frames them; none for a text.

    Raises:
        UserError: The tokenizer is of another model.
    """
    marks = {
        "vision": (config.boi_token_id, config.image_token_id, config.eoi_token_id),
        "audio": (config.boa_token_id, config.audio_token_id, config.eoa_token_index),
    }
    if modality not in marks:
        return []
    tokenizer: Any = load_cached(AutoTokenizer, name)
    begin, own, end = ids = marks[modality]
    known: dict[int, Any] = tokenizer.added_tokens_decoder
    read: list[int] = tokenizer("".join(str(known.get(one, "")) for one in ids))["input_ids"]
    place = read.index(own) if read.count(own) == 1 else 0
    require(
        read[place - 1 : place + 2] == [begin, own, end],
        f"The tokenizer of '{name}' does not know the tokens of its {modality} inputs: it is of another "
        "model; put the model's own beside its weights.",
    )
    return [read[:place], [own], read[place + 1 :]]
