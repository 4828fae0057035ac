"""DINOv2 (Oquab et al., 2023) as a vision encoder; it has never seen a text, so its head is new."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from trichord.config import EncoderConfig
from trichord.types.rules import Range

if TYPE_CHECKING:
    from trichord.encoders.frames import TransformersVisionEncoder


@dataclass(frozen=True, kw_only=True)
class Dinov2(EncoderConfig):
    """`--model.vision dinov2`."""

    kind: ClassVar[str] = "dinov2"
    modality: ClassVar = "vision"
    name: str = "facebook/dinov2-base"
    """Folder or hub name of a DINOv2 model."""
    dim: Annotated[int, Range(1)] = 512
    """Size of the shared space: that of the text encoder."""

    def build(self) -> "TransformersVisionEncoder":
        """Load the trunk; imports are here so that parsing options stays quick."""
        from torch import nn
        from transformers import BitImageProcessorPil, Dinov2Model

        from trichord.encoders.frames import FramePlan, Pooler, TransformersVisionEncoder
        from trichord.encoders.pretrained import load, load_model

        trunk = Pooler(load_model(Dinov2Model, self.name, {"dinov2"}))
        processor = load(BitImageProcessorPil, self.name)
        frames = FramePlan(short_side=processor.size["shortest_edge"])
        head = nn.Linear(trunk.width, self.dim)
        return TransformersVisionEncoder("dinov2", trunk, head, processor=processor, frames=frames)
