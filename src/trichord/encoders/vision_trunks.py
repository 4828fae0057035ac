"""Vision models that have seen no text, as trunks: DINOv2, DINOv3 and I-JEPA; their head is new.

As trunks of sounds, which need no processor of pictures, ResNet and ConvNeXt too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    ConvNextModel,
    ConvNextV2Model,
    Dinov2Model,
    Dinov2WithRegistersModel,
    DINOv3ConvNextModel,
    DINOv3ViTModel,
    IJepaModel,
    ResNetModel,
    ViTImageProcessorPil,
)

from trichord.config.towers import VisionTrunk
from trichord.encoders.frames import TransformersVisionEncoder, frame_plan, require_size
from trichord.encoders.graph import Sizes, load_graph
from trichord.encoders.pretrained import load, load_model, require_type
from trichord.encoders.segments import PictureTrunk
from trichord.encoders.weight_cache import load_cached, shared_trunk
from trichord.types.rules import require


def _pooler_output(output: Any) -> Tensor:
    return output.pooler_output


def _mean_of_patches(output: Any) -> Tensor:
    return output.last_hidden_state.mean(dim=1)


def _flat_pooler_output(output: Any) -> Tensor:
    return output.pooler_output.flatten(1)


@dataclass(frozen=True, slots=True)
class VisionFamily:
    """How a family is read.

    Attributes:
        model: Its class in `transformers`.
        pooled: The feature of a picture, from the output of the model.
        one_size: Whether it takes only pictures of its own size; others resize their positions.
    """

    model: Any
    pooled: Callable[[Any], Tensor] = _pooler_output
    one_size: bool = False


FAMILIES = {
    "dinov2": VisionFamily(Dinov2Model),
    "dinov2_with_registers": VisionFamily(Dinov2WithRegistersModel),
    "dinov3_vit": VisionFamily(DINOv3ViTModel),
    "dinov3_convnext": VisionFamily(DINOv3ConvNextModel),
    # It has no class token.
    "ijepa": VisionFamily(IJepaModel, _mean_of_patches, one_size=True),
}
"""Families by the type in a model's configuration."""
# Their processors crop in a way of their own, so they are no vision encoders here.
PICTURE_FAMILIES = FAMILIES | {
    "resnet": VisionFamily(ResNetModel, _flat_pooler_output),
    "convnext": VisionFamily(ConvNextModel),
    "convnextv2": VisionFamily(ConvNextV2Model),
}
"""Families that an audio encoder may start from."""


class VisionTrunkEncoder(TransformersVisionEncoder):
    """Frames (step, 3, height, width) to features; the head is a new linear layer."""

    def __init__(self, config: VisionTrunk) -> None:
        """Load the model.

        Raises:
            UserError: No such model, or its processor makes pictures of another size.
        """
        if config.arithmetic == "graph":
            trunk, head, sizes = load_graph(config.name)
        else:
            trunk, _, sizes = _vision_trunk(config.name)
            head = nn.Linear(sizes.width, config.dim)  # new for each model, by its seed
        # The processors of these families differ only in their defaults, and their files have all
        # values. DINOv3's own needs torchvision; it resizes after scaling, which differs by the rounding
        # of a pixel.
        processor: Any = load_cached(ViTImageProcessorPil, config.name)
        require_size(processor, config.name, sizes.side)
        super().__init__(
            "vision_trunk",
            trunk,
            head,
            sizes.width,
            processor=processor,
            frames=frame_plan(config, processor),
            pooling=config.pooling,
        )
        self.set_arithmetic(config.arithmetic)


def picture_trunk(
    name: str, picture: tuple[int, int], *, scratch: bool = False
) -> tuple[PictureTrunk, int]:
    """A vision model on pictures that are no photographs, and the width of its features.

    Args:
        name: Folder or hub name.
        picture: Height and width.
        scratch: Whether only its sizes are read, and its weights are random.

    Raises:
        UserError: No such model, or it takes pictures of another size.
    """
    family = PICTURE_FAMILIES[require_type(name, PICTURE_FAMILIES)]
    if scratch:
        model = family.model(load(family.model.config_class, name))
    else:
        model = load_model(family.model, name, PICTURE_FAMILIES)
    # CNNs may have neither.
    side = getattr(model.config, "image_size", None) or 0
    patch = getattr(model.config, "patch_size", None) or 1
    divides = not any(edge % patch for edge in picture)
    require(
        picture == (side, side) if family.one_size else divides,
        f"Spectrogram segments of {picture} do not fit '{name}', with patches of {patch} and pictures of "
        f"{side}: change --model.audio.frames or --model.audio.log-mel.mels.",
    )
    return PictureTrunk(_Trunk(model, family.pooled)), _width(model.config)


@shared_trunk
def _vision_trunk(name: str) -> tuple[nn.Module, nn.Module, Sizes]:
    family = FAMILIES[require_type(name, FAMILIES)]
    model = load_model(family.model, name, FAMILIES)
    width = _width(model.config)
    side = model.config.image_size if family.one_size else 0
    return _Trunk(model, family.pooled), nn.Identity(), Sizes(dim=width, width=width, side=side)


def _width(config: Any) -> int:
    # ConvNeXt and ResNet have a width for each stage.
    return config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size


class _Trunk(nn.Module):
    def __init__(self, model: nn.Module, pooled: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.pooled = pooled

    def forward(self, pixels: Float[Tensor, "step 3 high wide"]) -> Float[Tensor, "step width"]:
        return self.pooled(self.model(pixel_values=pixels))
