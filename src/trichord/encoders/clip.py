"""CLIP's text and vision towers (Radford et al., 2021) as encoders."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from trichord.encoders.encoder import Encoder
from trichord.encoders.pretrained import load
from trichord.media.plan import FramePlan

MAX_TOKENS = 77


class ClipTextEncoder(Encoder):
    """Token ids (step, token) to features; the head starts as CLIP's text projection, without bias."""

    def __init__(self, name: str) -> None:
        model: Any = load(
            CLIPTextModelWithProjection, name, use_safetensors=True, dtype=torch.float32
        )
        self.tokenizer: Any = load(CLIPTokenizer, name)
        self.max_tokens: int = min(MAX_TOKENS, model.config.max_position_embeddings)
        super().__init__(
            _TextTrunk(model.text_model),
            model.text_projection,
            model.config.hidden_size,
            {"kind": "clip_text", "max_tokens": self.max_tokens},
        )
        self.dim: int = model.config.projection_dim

    def prepare(self, texts: list[str]) -> Int[Tensor, "step token"]:
        """Token ids, cut at the tower's length (77 for CLIP) and padded to the longest text."""
        return tokenize(self.tokenizer, texts, self.max_tokens)

    def count_cut(self, texts: list[str]) -> int:
        """How many texts are too long for the tower and lose their end."""
        return count_longer(self.tokenizer, texts, self.max_tokens)


class _TextTrunk(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Int[Tensor, "step token"]) -> Float[Tensor, "step width"]:
        # No padding mask: attention is causal, so what follows the end token cannot reach it.
        return self.model(input_ids=ids).pooler_output


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

    def __init__(self, name: str, *, frames_per_second: float, max_frames: int) -> None:
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
