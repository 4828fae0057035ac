"""SigLIP and SigLIP 2 (Zhai et al., 2023; Tschannen et al., 2025) as encoders.

Checkpoints of one resolution are of type `siglip`, those with native aspect ratio (NaFlex) `siglip2`.
Their vectors have no projection: the trunk is the whole tower, and the head is an identity that may be
trained.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers import (
    Siglip2ImageProcessorPil,
    Siglip2TextModel,
    Siglip2VisionModel,
    SiglipImageProcessorPil,
    SiglipTextModel,
    SiglipVisionModel,
)

from trichord.config.towers import SiglipText, SiglipVision
from trichord.encoders.encoder import VisionEncoder
from trichord.encoders.frames import Pooler, TransformersVisionEncoder, frame_plan, require_size
from trichord.encoders.graph import Sizes, load_graph
from trichord.encoders.heads import identity_head
from trichord.encoders.pretrained import load_model, require_type
from trichord.encoders.texts import TransformersTextEncoder
from trichord.encoders.weight_cache import load_cached, shared_trunk
from trichord.media.plan import FramePlan
from trichord.types.rules import require

NAFLEX = frozenset({"siglip2", "siglip2_vision_model", "siglip2_text_model"})
"""Types with native aspect ratio; those of one resolution, of SigLIP 2 too, are of type `siglip`."""


class SiglipTextEncoder(TransformersTextEncoder):
    """Token ids (text, 64) to features: SigLIP reads the padding as well, and pools the last token."""

    def __init__(self, config: SiglipText) -> None:
        """Load the model.

        Raises:
            UserError: No such model, or a tokenizer of another one.
        """
        super().__init__(
            "siglip_text", config, lambda _: _text_tower(config.name), pads_to_max=True
        )


@shared_trunk
def _text_tower(name: str) -> tuple[nn.Module, nn.Module, Sizes]:
    naflex = require_type(name, SiglipText.types) in NAFLEX
    model = load_model(Siglip2TextModel if naflex else SiglipTextModel, name, SiglipText.types)
    dim = model.config.projection_size
    sizes = Sizes(
        dim=dim,
        width=dim,
        positions=model.config.max_position_embeddings,
        tokens=model.config.vocab_size,
    )
    return _TextTrunk(model), identity_head(dim), sizes


class _TextTrunk(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Int[Tensor, "text token"]) -> Float[Tensor, "text width"]:
        return self.model(input_ids=ids).pooler_output


def siglip_vision(config: SiglipVision) -> VisionEncoder:
    """The vision tower of a SigLIP, of one resolution or with native aspect ratio.

    Raises:
        UserError: No such model, or its processor makes pictures of another size.
    """
    if config.arithmetic != "graph" and require_type(config.name, SiglipVision.types) in NAFLEX:
        return NaflexVisionEncoder(config)
    return SiglipVisionEncoder(config)


class SiglipVisionEncoder(TransformersVisionEncoder):
    """Frames (step, 3, side, side), squeezed to a square without a crop, to features."""

    def __init__(self, config: SiglipVision) -> None:
        """Load the model.

        Raises:
            UserError: No such model, or its processor makes pictures of another size.
        """
        trunk, head, sizes = (
            load_graph(config.name) if config.arithmetic == "graph" else _vision_tower(config.name)
        )
        processor: Any = load_cached(SiglipImageProcessorPil, config.name)
        require_size(processor, config.name, sizes.side)
        super().__init__(
            "siglip_vision",
            trunk,
            head,
            sizes.width,
            processor=processor,
            frames=frame_plan(config, processor),
            pooling=config.pooling,
            dim=sizes.dim,
        )
        self.set_arithmetic(config.arithmetic)


@shared_trunk
def _vision_tower(name: str) -> tuple[nn.Module, nn.Module, Sizes]:
    model = load_model(SiglipVisionModel, name, SiglipVision.types)
    dim = model.config.hidden_size
    return (
        Pooler(model),
        identity_head(dim),
        Sizes(dim=dim, width=dim, side=model.config.image_size),
    )


class NaflexVisionEncoder(VisionEncoder):
    """Patches of frames in their own aspect ratio (step, 1 + patch, value) to features.

    The first row of a step holds its height and width in patches; rows beyond them are padding.

    Attributes:
        processor: Of `transformers`, working on PIL pictures.
    """

    no_export = (
        "its position embeddings are resized for each picture, which an ONNX graph cannot do"
    )

    def __init__(self, config: SiglipVision) -> None:
        """Load the model.

        Raises:
            UserError: No such model, or its processor cuts patches of another size.
        """
        trunk, head, sizes = _naflex_tower(config.name)
        self.processor: Any = load_cached(Siglip2ImageProcessorPil, config.name)
        patch, most = self.processor.patch_size, self.processor.max_num_patches
        require(
            trunk.patch_size == patch,
            f"The preprocessor of '{config.name}' cuts patches of {patch} pixels, its vision tower takes "
            f"{trunk.patch_size}: put the tower's own preprocessor_config.json beside its "
            "weights.",
        )
        self.frames = FramePlan(
            per_second=config.frames_per_second,
            count=config.max_frames,
            short_side=None,
            patches=(patch, most),
            resample="bilinear",
            nearest=config.nearest,
        )
        preparation = {
            "kind": "siglip2_naflex",
            "patches": [patch, most],
            "mean": list(self.processor.image_mean),
            "std": list(self.processor.image_std),
            "resize": "pil",
        }
        super().__init__(trunk, head, sizes.width, preparation, config.pooling, dim=sizes.dim)
        self.set_arithmetic(config.arithmetic)

    def prepare(
        self, frames: UInt8[np.ndarray, "step height width 3"]
    ) -> Float[Tensor, "step row value"]:
        """Patches of each frame behind a row with its height and width in patches."""
        made = self.processor(list(frames), return_tensors="pt")
        patches = made["pixel_values"]
        shape = patches.new_zeros(len(patches), 1, patches.shape[2])
        shape[:, 0, :2] = made["spatial_shapes"]
        return torch.cat([shape, patches], dim=1)


@shared_trunk
def _naflex_tower(name: str) -> tuple["_NaflexTrunk", nn.Module, Sizes]:
    model = load_model(Siglip2VisionModel, name, SiglipVision.types)
    dim = model.config.hidden_size
    return _NaflexTrunk(model), identity_head(dim), Sizes(dim=dim, width=dim)


class _NaflexTrunk(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.patch_size: int = model.config.patch_size

    def forward(self, rows: Float[Tensor, "step row value"]) -> Float[Tensor, "step width"]:
        shapes, patches = rows[:, 0, :2].long(), rows[:, 1:]
        place = torch.arange(patches.shape[1], device=rows.device)
        mask = place < shapes.prod(dim=1, keepdim=True)
        read = self.model(
            pixel_values=patches, pixel_attention_mask=mask.long(), spatial_shapes=shapes
        )
        return read.pooler_output
