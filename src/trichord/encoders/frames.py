"""What encoders of frames have in common: how a `transformers` processor prepares pictures."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from trichord.encoders.encoder import Encoder
from trichord.media.plan import FramePlan
from trichord.types import Pooling, UserError


class VisionEncoder(Encoder):
    """Frames (step, 3, side, side) to features.

    Attributes:
        processor: Of `transformers`, working on PIL pictures.
        frames: Which frames of a clip are seen, and how large.
    """

    def __init__(
        self,
        kind: str,
        trunk: nn.Module,
        head: nn.Module,
        width: int,
        *,
        processor: Any,
        frames: FramePlan,
        pooling: Pooling = "mean",
    ) -> None:
        """Put a tower behind its preparation.

        Args:
            kind: Of tower, for the fingerprint.
            trunk: As for `Encoder`.
            head: As for `Encoder`.
            width: Of what the trunk gives.
            processor: Its `crop_size`, `image_mean` and `image_std` are those of the tower.
            frames: Their shorter side must be what the processor resizes to.
            pooling: How frames become one vector.
        """
        # The PIL back end resizes slightly differently from torchvision's: it belongs to the key.
        preparation = {
            "kind": kind,
            "frames": frames.described(),
            "crop": dict(processor.crop_size),
            "mean": list(processor.image_mean),
            "std": list(processor.image_std),
            "resize": "pil",
        }
        super().__init__(trunk, head, width, preparation, pooling)
        self.processor = processor
        self.frames = frames
        self._level: Float[np.ndarray, "3 level"] | None = None

    def prepare(
        self, frames: UInt8[np.ndarray, "step height width 3"]
    ) -> Float[Tensor, "step 3 side side"]:
        """Frames as the tower takes them: centre-cropped, scaled and normalised with its figures."""
        side = self.processor.crop_size
        height, width = side["height"], side["width"]
        if not len(frames):
            return torch.zeros(0, 3, height, width)
        _, high, wide, _ = frames.shape
        as_wanted = min(high, wide) == self.frames.short_side and high >= height and wide >= width
        if not (as_wanted and self.processor.do_center_crop):
            return self.processor(list(frames), return_tensors="pt")["pixel_values"]
        top, left = (high - height) // 2, (wide - width) // 2
        cropped = frames[:, top : top + height, left : left + width]
        prepared = np.empty((len(frames), 3, height, width), np.float32)
        for channel, levels in enumerate(self._levels()):
            np.take(levels, cropped[..., channel], out=prepared[:, channel], mode="clip")
        return torch.from_numpy(prepared)

    def _levels(self) -> Float[np.ndarray, "3 level"]:
        """What the processor makes of each of the 256 values: looking them up takes a third of the time."""
        if self._level is None:
            # Several rows: one or three would be taken for channels.
            ramp = np.zeros((8, 256, 3), np.uint8) + np.arange(256, dtype=np.uint8)[:, None]
            made = self.processor(
                [ramp], return_tensors="np", do_resize=False, do_center_crop=False
            )
            self._level = np.asarray(made["pixel_values"])[0, :, 0]
        return self._level


def require_size(processor: Any, name: str, side: int) -> None:
    """Refuse a processor whose pictures are not of the tower's size.

    Args:
        processor: Of `transformers`.
        name: Of the model, for the message.
        side: Pixels of the tower's pictures; 0 where nobody knows.

    Raises:
        UserError: They differ.
    """
    height, width = processor.crop_size["height"], processor.crop_size["width"]
    if side and (height, width) != (side, side):
        raise UserError(
            f"The preprocessor of '{name}' makes pictures of {height} x {width}, its vision tower takes "
            f"{side} x {side}: put the tower's own preprocessor_config.json beside its weights."
        )


class Pooler(nn.Module):
    """A vision model of `transformers` as a trunk: what it pools of each frame.

    Attributes:
        width: Of that.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.width: int = model.config.hidden_size

    def forward(self, pixels: Float[Tensor, "step 3 side side"]) -> Float[Tensor, "step width"]:
        """Features of prepared frames."""
        return self.model(pixel_values=pixels).pooler_output
