"""CLIP4VLA's models with random weights, and random batches for them, for the GPU kit (`gpu.py`).

Random weights take the same time as trained ones, and nothing has to be fetched. Only torch,
`transformers`, numpy, Pillow and jaxtyping are imported: no Lance, no PyAV.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from trichord.config import Experiment
from trichord.config.towers import CLIP, ClipAudio
from trichord.encoders.pretrained import quiet
from trichord.experiments.clip4vla import captioning, pretraining
from trichord.models.embedder import Embedder
from trichord.types.tensors import Batch, Features, Padded

START, END = "<|startoftext|>", "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a CLIP and of its inputs."""

    name: str
    side: int = 224
    patch: int = 32
    width: int = 768
    layers: int = 12
    heads: int = 12
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    dim: int = 512
    vocabulary: int = 49_408
    frames: int = 12
    segments: int = 6
    """Of a clip of 10 s, 1.792 s each."""
    tokens: int = 32


BASE = Shape(name="ViT-B/32")
LARGE = Shape(
    name="ViT-L/14",
    patch=14,
    width=1024,
    layers=24,
    heads=16,
    text_width=768,
    text_heads=12,
    dim=768,
)
SMALL = Shape(
    name="small",
    side=64,
    patch=16,
    width=64,
    layers=2,
    heads=2,
    text_width=64,
    text_layers=4,
    text_heads=2,
    dim=64,
    vocabulary=600,
    frames=3,
    segments=2,
    tokens=12,
)
"""For correctness, and for `--tiny`."""


def write_clip(shape: Shape, folder: Path) -> Path:
    """A `transformers` folder of a CLIP with random weights; returned unchanged if it is there."""
    if (folder / "model.safetensors").is_file():
        return folder
    letters = sorted(ByteLevel.alphabet())
    words = letters + [f"{letter}</w>" for letter in letters]
    # Decoding takes as long as with real words, and the tokenizer must fit the table of tokens.
    words += [f"word{number}</w>" for number in range(shape.vocabulary - len(words) - 2)]
    ids = {word: number for number, word in enumerate([*words, START, END])}
    CLIPTokenizer(vocab=ids, merges=[], model_max_length=77).save_pretrained(folder)
    crop = {"height": shape.side, "width": shape.side}
    CLIPImageProcessorPil(size={"shortest_edge": shape.side}, crop_size=crop).save_pretrained(
        folder
    )
    torch.manual_seed(0)
    with quiet():
        CLIPModel(clip_config(shape, ids)).save_pretrained(folder)
    return folder


def clip_config(shape: Shape, ids: dict[str, int]) -> CLIPConfig:
    text = {
        "vocab_size": len(ids),
        "hidden_size": shape.text_width,
        "intermediate_size": 4 * shape.text_width,
        "num_hidden_layers": shape.text_layers,
        "num_attention_heads": shape.text_heads,
        "bos_token_id": ids[START],
        "eos_token_id": ids[END],
        "pad_token_id": ids[END],
        "projection_dim": shape.dim,
    }
    vision = {
        "image_size": shape.side,
        "patch_size": shape.patch,
        "hidden_size": shape.width,
        "intermediate_size": 4 * shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "projection_dim": shape.dim,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=shape.dim)


def pretrained(shape: Shape, place: Path) -> tuple[Experiment, Embedder]:
    """CLIP4VLA's pretraining and its model, in evaluation mode on the CPU."""
    return _built(pretraining("gpu", "at", "av", "aa"), shape, place)


def captioned(shape: Shape, place: Path) -> tuple[Experiment, Embedder]:
    """CLIP4VLA's captioning and its model, in evaluation mode on the CPU."""
    return _built(captioning("gpu", "vision", "audio"), shape, place)


def _built(experiment: Experiment, shape: Shape, place: Path) -> tuple[Experiment, Embedder]:
    folder = write_clip(shape, place / shape.name.replace("/", "-"))
    model = experiment.model.renamed({CLIP: str(folder)})
    assert isinstance(model.audio, ClipAudio)
    # Segments are as wide and as high as frames: 224 in both published sizes.
    mel = replace(model.audio.log_mel, mels=shape.side)
    audio = replace(model.audio, log_mel=mel, frames=shape.side)
    experiment = replace(experiment, model=replace(model, audio=audio))
    torch.manual_seed(0)  # the audio type tokens and the captioner's layers are drawn
    return experiment, experiment.model.build().eval()


def clips(shape: Shape, count: int, device: torch.device, *, words: bool = False) -> Batch:
    """Random frames, segments and texts, the same on every device.

    Args:
        shape: Of their model.
        count: Of clips.
        device: Where they go.
        words: Also the captions' tokens, for a captioner.
    """
    random = torch.Generator().manual_seed(count)
    there = torch.ones(count, 1, dtype=torch.bool)

    def noise(steps: int, channels: int) -> Padded:
        # Drawn on the CPU, so that every device gets the same. That takes seconds for large batches:
        # a few clips are drawn and repeated, each time a little darker.
        drawn = torch.randn(
            min(count, 16), steps, channels, shape.side, shape.side, generator=random
        )
        rows = torch.arange(count)
        values = drawn.to(device)[(rows % len(drawn)).to(device)]
        values *= (1 - rows.to(device) / (2 * count)).view(-1, 1, 1, 1, 1)
        return Padded(values, there.expand(-1, steps).to(device))

    ids = torch.randint(0, 500, (count, shape.tokens), generator=random)
    ids[:, 0], ids[:, -1] = shape.vocabulary - 2, shape.vocabulary - 1
    text = Padded(ids[:, None], there).to(device)
    every = Padded(ids, there.expand(-1, shape.tokens)).to(device) if words else None
    vision, audio = noise(shape.frames, 3), noise(shape.segments, 1)
    masked = None if words else noise(shape.segments, 1)
    kinds = torch.rand(count, generator=random).to(device)
    names = tuple(map(str, range(count)))
    return Batch(names, text, audio, vision, every, masked, kinds)


def features(dim: int, lengths: list[int], seed: int) -> Features:
    """Random features of clips with these numbers of steps; 0: the clip lacks the modality."""
    random = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    steps = torch.randn(len(lengths), max(lengths), dim, generator=random) * mask[..., None]
    vectors = nn.functional.normalize(steps.sum(dim=1), dim=1)
    return Features(vectors, steps, mask)


def moved(one: Features, device: torch.device) -> Features:
    return Features(one.pooled.to(device), one.steps.to(device), one.mask.to(device))
