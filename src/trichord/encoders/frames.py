"""Vision encoders made of a processor and a model of `transformers`."""

from typing import Any, get_args

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from trichord.config.towers import FrameConfig
from trichord.encoders.encoder import VisionEncoder
from trichord.media.plan import FramePlan, Resample
from trichord.types import Pooling, UserError
from trichord.types.rules import require

FILTERS = dict(enumerate(get_args(Resample)))
"""Filters by Pillow's numbers, which processors have."""
FILE = "preprocessor_config.json"


class TransformersVisionEncoder(VisionEncoder):
    """Frames to features, by a processor and a trunk of `transformers`.

    A processor with centre crop (CLIP, DINOv2) gets frames with the shorter side that it would resize to,
    one without (SigLIP, I-JEPA) frames of its size: see `frame_plan`.

    Attributes:
        processor: Of `transformers`, working on PIL pictures.
    """

    def __init__(
        self,
        kind: str,
        trunk: nn.Module,
        head: nn.Module,
        width: int | None = None,
        *,
        processor: Any,
        frames: FramePlan,
        pooling: Pooling = "mean",
        dim: int | None = None,
    ) -> None:
        """Combine processor, trunk and head.

        Args:
            kind: Of the encoder, for the fingerprint.
            trunk: As for `Encoder`.
            head: As for `Encoder`.
            width: As for `Encoder`.
            processor: Of the trunk, with its sizes, `image_mean` and `image_std`.
            frames: As the processor needs them.
            pooling: From frames to one vector.
            dim: As for `Encoder`.
        """
        side = "crop" if processor.do_center_crop else "size"
        # The PIL back end resizes differently from torchvision's, so it is part of the fingerprint.
        preparation = {
            "kind": kind,
            side: dict(processor.crop_size if processor.do_center_crop else processor.size),
            "mean": list(processor.image_mean),
            "std": list(processor.image_std),
            "resize": "pil",
        }
        self.frames = frames
        super().__init__(trunk, head, width, preparation, pooling, dim=dim)
        self.processor = processor

    def prepare(
        self, frames: UInt8[np.ndarray, "step height width 3"]
    ) -> Float[Tensor, "step 3 high wide"]:
        """Frames as trunk inputs: cropped or resized, scaled and normalised."""
        return self.processor(list(frames), return_tensors="pt")["pixel_values"]


def frame_plan(config: FrameConfig, processor: Any) -> FramePlan:
    """The frames that a processor needs, resized as it would resize them.

    Raises:
        UserError: Its pictures have no single size.
    """
    picture_size(processor, config.name)
    size = _sides(processor, config.name, "size") if processor.do_resize else {}
    return FramePlan(
        per_second=config.frames_per_second,
        count=config.max_frames,
        short_side=size.get("shortest_edge"),
        size=(size["height"], size["width"]) if "height" in size else None,
        resample=filter_of(processor, config.name),
        nearest=config.nearest,
    )


def filter_of(processor: Any, name: str) -> Resample:
    """The filter by which a processor resizes.

    Raises:
        UserError: It is unknown.
    """
    number = int(processor.resample)
    require(
        number in FILTERS,
        f"The {FILE} of '{name}' has resample {number}, and the filters known here are 0 to "
        f"{len(FILTERS) - 1}: put the model's own file beside its weights.",
    )
    return FILTERS[number]


def picture_size(processor: Any, name: str) -> tuple[int, int]:
    """Height and width of the pictures that a processor makes.

    Raises:
        UserError: They have no single size; `name` is that of the model.
    """
    field = "crop_size" if processor.do_center_crop else "size"
    require(
        processor.do_center_crop or processor.do_resize,
        f"The {FILE} of '{name}' has do_resize and do_center_crop false, and its pictures would have many "
        "sizes: put the model's own file beside its weights.",
    )
    size = _sides(processor, name, field)
    require(
        "height" in size,
        f"The {FILE} of '{name}' has {field} {size}, and no do_center_crop: its pictures would have "
        "many sizes: put the model's own file beside its weights.",
    )
    return size["height"], size["width"]


def _sides(processor: Any, name: str, field: str) -> dict[str, int]:
    """A size in a processor's settings.

    Raises:
        UserError: It is given in another way than Trichord reads.
    """
    size = dict(getattr(processor, field) or {})
    require(
        set(size) in ({"shortest_edge"}, {"height", "width"}),
        f"The {FILE} of '{name}' has {field} {size}, and Trichord reads a height with a width, or a "
        "shortest_edge alone: put the model's own file beside its weights, or choose another model.",
    )
    return size


def require_size(processor: Any, name: str, side: int) -> None:
    """Require a processor to make pictures of the model's size.

    Args:
        processor: Of `transformers`.
        name: Of the model, for the message.
        side: Of the model's pictures, in pixels; 0 if unknown.

    Raises:
        UserError: They differ, or as for `picture_size`.
    """
    height, width = picture_size(processor, name)
    if side and (height, width) != (side, side):
        raise UserError(
            f"The preprocessor of '{name}' makes pictures of {height} x {width}, its vision tower takes "
            f"{side} x {side}: put the tower's own preprocessor_config.json beside its weights."
        )


class Pooler(nn.Module):
    """A model of `transformers` as a trunk: its pooled output of each frame, or of another step.

    Attributes:
        width: Of the output.
    """

    def __init__(self, model: Any, name: str = "pixel_values") -> None:
        """`name` is that of the model's input."""
        super().__init__()
        self.model = model
        self.name = name
        self.width: int = model.config.hidden_size

    def forward(self, pixels: Float[Tensor, "step channel _ _"]) -> Float[Tensor, "step width"]:
        """Features of prepared frames."""
        return self.model(**{self.name: pixels}).pooler_output
