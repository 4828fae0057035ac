"""CLIP's text and vision towers (Radford et al., 2021) as encoders."""

import re
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from trichord.encoders.encoder import Encoder, Pooling
from trichord.encoders.pretrained import load
from trichord.media.plan import FramePlan
from trichord.types.tensors import Features, Padded

MAX_TOKENS = 77


class ClipTextEncoder(Encoder):
    """Token ids to features; the head starts as CLIP's text projection, without bias.

    A caption's steps are its one end-of-text feature, or with `tokens` the features of all its
    tokens, of which the last one is the end of text; `pooled` is the end of text either way.
    """

    def __init__(self, name: str, *, tokens: bool = False, longest: int = MAX_TOKENS) -> None:
        """Load the tower.

        Args:
            name: Folder or hub name.
            tokens: Give each token a step: fusions that look at words need them.
            longest: Tokens after which a text is cut, start and end of text included.

        Raises:
            UserError: No such model.
        """
        model: Any = load(
            CLIPTextModelWithProjection, name, use_safetensors=True, dtype=torch.float32
        )
        self.tokenizer: Any = load(CLIPTokenizer, name)
        self.tokens = tokens
        self.end: int = self.tokenizer.eos_token_id
        self.max_tokens: int = min(longest, model.config.max_position_embeddings)
        preparation = {"kind": "clip_text", "max_tokens": self.max_tokens}
        super().__init__(
            _TextTrunk(model.text_model, tokens),
            model.text_projection,
            model.config.hidden_size,
            preparation | ({"tokens": True} if tokens else {}),
        )
        self.dim: int = model.config.projection_dim

    def prepare(self, texts: list[str]) -> Int[Tensor, "step token"]:
        """Token ids, cut at the tower's length (77 for CLIP) and padded to the longest text."""
        return tokenize(self.tokenizer, texts, self.max_tokens)

    def count_cut(self, texts: list[str]) -> int:
        """How many texts are too long for the tower and lose their end."""
        return count_longer(self.tokenizer, texts, self.max_tokens)

    def words(self, texts: list[str]) -> list[Int[Tensor, " token"]]:
        """Token ids of each text, start and end included, cut at the tower's length."""
        ids = tokenize(self.tokenizer, texts, self.max_tokens)
        counts = lengths(ids, self.end).tolist()
        return [row[:count] for row, count in zip(ids, counts, strict=True)]

    @property
    def table(self) -> Float[Tensor, "token width"]:
        """The features that tokens come in with; a captioner's words are scored by them."""
        trunk: Any = self.trunk.model
        return trunk.embeddings.token_embedding.weight

    def read(self, inputs: Padded, sound: Float[Tensor, " batch"] | None = None) -> Padded:
        """Apply the trunk: (batch, 1, token) ids to (batch, 1 or token, width) features."""
        if not self.tokens:
            return super().read(inputs)
        ids, there = inputs.values[:, 0], inputs.mask.any(dim=1)
        longest = ids.shape[1]
        step = torch.arange(longest, device=ids.device)
        mask = (step < lengths(ids, self.end)[:, None]) & there[:, None]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trunk_trains):
            features = self.read_steps(ids[there])
        values = features.new_zeros((*mask.shape, self.width))
        values[there] = features.reshape(-1, longest, self.width)
        return Padded(values * mask.unsqueeze(-1), mask)

    def forward(self, read: Padded) -> Features:
        """Project trunk features into the shared space; the end of text stands for the caption."""
        if not self.tokens:
            return super().forward(read)
        steps = self.head(read.values)
        last = read.mask.sum(dim=1).clamp(min=1) - 1
        ends = steps[torch.arange(len(steps), device=steps.device), last]
        ends = ends.float() * read.mask.any(dim=1, keepdim=True)
        return Features(F.normalize(ends, dim=-1), steps, read.mask)


class _TextTrunk(nn.Module):
    def __init__(self, model: nn.Module, tokens: bool) -> None:
        super().__init__()
        self.model = model
        self.tokens = tokens

    def forward(self, ids: Int[Tensor, "step token"]) -> Float[Tensor, "step *token width"]:
        # No padding mask: attention is causal, so what follows the end token cannot reach it.
        read = self.model(input_ids=ids)
        return read.last_hidden_state if self.tokens else read.pooler_output


_NEEDLESS = (
    (re.compile(r"(?<=\w) ?- ?(?=\w)"), "-"),
    (re.compile(r" (?=[.,;:!?%)\]])|(?<=[(\[]) "), ""),
    (re.compile(r"(?<=\w) (?='(?:s|t|re|ve|m|ll|d)\b)"), ""),
    (re.compile(r'" ?([^"]*?) ?"'), r'"\1"'),
)
"""Blanks that people do not write, and what stands there instead."""


def tidied(text: str) -> str:
    """A text as CLIP's tokenizer spells it, with blanks where people write them.

    The tokenizer does not keep whether a blank stood before punctuation; it is guessed.
    """
    for needless, instead in _NEEDLESS:
        text = needless.sub(instead, text)
    return " ".join(text.split())


def lengths(ids: Int[Tensor, "step token"], end: int) -> Int[Tensor, " step"]:
    """Tokens of each text up to its first end of text, that one included."""
    return (ids == end).int().argmax(dim=1) + 1


def tokenize(tokenizer: Any, texts: list[str], longest: int) -> Int[Tensor, "step token"]:
    """Token ids of a `transformers` tokenizer, cut and padded."""
    return tokenizer(
        texts, truncation=True, max_length=longest, padding="longest", return_tensors="pt"
    )["input_ids"]


def count_longer(tokenizer: Any, texts: list[str], longest: int) -> int:
    """How many texts have more tokens than `longest`."""
    return sum(len(ids) > longest for ids in tokenizer(texts)["input_ids"])


class ClipVisionEncoder(Encoder):
    """Frames (step, 3, side, side) to features; the head starts as CLIP's visual projection."""

    def __init__(
        self, name: str, *, frames_per_second: float, max_frames: int, pooling: Pooling = "mean"
    ) -> None:
        model: Any = load(
            CLIPVisionModelWithProjection, name, use_safetensors=True, dtype=torch.float32
        )
        self.processor: Any = load(CLIPImageProcessorPil, name)
        self.frames = FramePlan(
            per_second=frames_per_second,
            count=max_frames,
            short_side=self.processor.size["shortest_edge"],
        )
        # The PIL back end resizes slightly differently from torchvision's: it belongs to the key.
        preparation = {
            "kind": "clip_vision",
            "frames": asdict(self.frames),
            "crop": dict(self.processor.crop_size),
            "mean": list(self.processor.image_mean),
            "std": list(self.processor.image_std),
            "resize": "pil",
        }
        super().__init__(
            _VisionTrunk(model.vision_model),
            model.visual_projection,
            model.config.hidden_size,
            preparation,
            pooling,
        )
        self.dim: int = model.config.projection_dim

    def prepare(
        self, frames: UInt8[np.ndarray, "step height width 3"]
    ) -> Float[Tensor, "step 3 side side"]:
        """Frames as the tower takes them: centre-cropped, scaled and normalised with CLIP's figures."""
        if not len(frames):
            side = self.processor.crop_size
            return torch.zeros(0, 3, side["height"], side["width"])
        return self.processor(list(frames), return_tensors="pt")["pixel_values"]


class _VisionTrunk(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Float[Tensor, "step 3 side side"]) -> Float[Tensor, "step width"]:
        return self.model(pixel_values=pixels).pooler_output
