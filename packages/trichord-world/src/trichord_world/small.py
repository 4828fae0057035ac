"""Small CLIP and CLAP models from scratch, as folders in the `transformers` format.

Tests use them with random weights; the stand-ins of the generated world are trained from them.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import Split
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    RobertaTokenizer,
)


@dataclass(frozen=True, kw_only=True)
class SmallClip:
    """Sizes of a small CLIP."""

    side: int = 112
    patch: int = 16
    width: int = 128
    inner: int = 384
    layers: int = 3
    text_inner: int = 256
    text_layers: int = 2
    dim: int = 128
    vocabulary: int = 1000


@dataclass(frozen=True, kw_only=True)
class SmallClap:
    """Sizes of a small CLAP; a chunk's spectrogram fills its square image."""

    rate: int = 32_000
    seconds: int = 4
    mels: int = 64
    square: int = 128
    patch: int = 8
    width: int = 48
    depths: tuple[int, ...] = (2, 2)
    heads: tuple[int, ...] = (2, 4)
    text_width: int = 96
    text_layers: int = 2
    dim: int = 128
    vocabulary: int = 640


def build_clip(sizes: SmallClip, texts: Iterable[str], folder: Path, *, seed: int) -> CLIPModel:
    """A CLIP with random weights; tokenizer and image processor are written to `folder`."""
    vocabulary, merges = byte_pairs(
        texts, sizes.vocabulary, ["<|startoftext|>", "<|endoftext|>"], word_end="</w>"
    )
    CLIPTokenizer(vocab=vocabulary, merges=cast(Any, merges), model_max_length=77).save_pretrained(
        folder
    )
    CLIPImageProcessorPil(
        size={"shortest_edge": sizes.side}, crop_size={"height": sizes.side, "width": sizes.side}
    ).save_pretrained(folder)
    start, end = vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]
    heads = max(1, sizes.width // 32)
    config = CLIPConfig(
        text_config={
            "vocab_size": len(vocabulary),
            "hidden_size": sizes.width,
            "intermediate_size": sizes.text_inner,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": heads,
            "bos_token_id": start,
            "eos_token_id": end,
            "pad_token_id": end,
            "projection_dim": sizes.dim,
        },
        vision_config={
            "image_size": sizes.side,
            "patch_size": sizes.patch,
            "hidden_size": sizes.width,
            "intermediate_size": sizes.inner,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": heads,
            "projection_dim": sizes.dim,
        },
        projection_dim=sizes.dim,
    )
    torch.manual_seed(seed)
    return CLIPModel(config)


def build_clap(sizes: SmallClap, texts: Iterable[str], folder: Path, *, seed: int) -> ClapModel:
    """A CLAP without fusion and with random weights; its preprocessing is written to `folder`."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary, merges = byte_pairs(texts, sizes.vocabulary, special)
    RobertaTokenizer(
        vocab=vocabulary, merges=cast(Any, merges), model_max_length=77
    ).save_pretrained(folder)
    samples = round(sizes.rate * sizes.seconds)
    # The image is `square` high and wide: `square / mels` stacked strips of the spectrogram.
    frames = sizes.square * (sizes.square // sizes.mels)
    hop = -(-samples // (frames - 1))
    ClapFeatureExtractor(
        feature_size=sizes.mels,
        sampling_rate=sizes.rate,
        hop_length=hop,
        fft_window_size=1024,
        max_length_s=sizes.seconds,
        frequency_min=50,
        frequency_max=min(14_000, sizes.rate // 2),
        truncation="rand_trunc",
        padding="repeatpad",
    ).save_pretrained(folder)
    config = ClapConfig(
        text_config={
            "vocab_size": len(vocabulary),
            "hidden_size": sizes.text_width,
            "intermediate_size": 2 * sizes.text_width,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": max(1, sizes.text_width // 32),
            "max_position_embeddings": 80,
            "bos_token_id": vocabulary["<s>"],
            "pad_token_id": vocabulary["<pad>"],
            "eos_token_id": vocabulary["</s>"],
            "projection_dim": sizes.dim,
        },
        audio_config={
            "spec_size": sizes.square,
            "num_mel_bins": sizes.mels,
            "patch_size": sizes.patch,
            "patch_stride": [sizes.patch, sizes.patch],
            "patch_embeds_hidden_size": sizes.width,
            "hidden_size": sizes.width * 2 ** (len(sizes.depths) - 1),
            "depths": list(sizes.depths),
            "num_attention_heads": list(sizes.heads),
            "window_size": 8,
            "projection_dim": sizes.dim,
        },
        projection_dim=sizes.dim,
    )
    torch.manual_seed(seed)
    return ClapModel(config)


def byte_pairs(
    texts: Iterable[str], size: int, special: list[str], *, word_end: str = ""
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a byte-pair tokenizer trained on texts; the same for the same texts."""
    texts = list(texts)
    suffix: dict[str, Any] = {"end_of_word_suffix": word_end} if word_end else {}
    tokenizer = Tokenizer(models.BPE(**suffix))
    tokenizer.normalizer = normalizers.Lowercase()
    if word_end:  # CLIP: words, single digits, signs; no mark before a word
        parts = Split(Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), behavior="removed", invert=True)
        marked = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([parts, marked])
    else:  # RoBERTa: a mark before each word
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special + _last_letters(tokenizer, texts, word_end),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        **suffix,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def _last_letters(tokenizer: Tokenizer, texts: list[str], word_end: str) -> list[str]:
    """All marked last letters of words, in order.

    The trainer would number them in an order that changes from call to call, and these numbers break
    ties between equally frequent pairs.
    """
    if not word_end:
        return []
    low, split = tokenizer.normalizer, tokenizer.pre_tokenizer
    words = (word for text in texts for word, _ in split.pre_tokenize_str(low.normalize_str(text)))
    return sorted({f"{word[-1]}{word_end}" for word in words})
