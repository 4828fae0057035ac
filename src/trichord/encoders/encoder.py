"""What every encoder is: a trunk (pretrained tower) read step by step, and a head behind it."""

import hashlib
import json
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 (the field's name for it)
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from trichord.types.tensors import Features, Padded

STEPS_AT_ONCE = 64
"""Trunk inputs per forward: enough to fill a GPU at ViT-B size, small enough for a laptop's memory."""


class Encoder(nn.Module):
    """A trunk applied to each step (frame, audio chunk, caption), and a head applied to each result.

    The order is SLAVA's (section III-B): encode each step, project each step, average over time;
    the mean is L2-normalised once. Steps that the mask hides are never read.

    Attributes:
        trunk: (step, ...) inputs to (step, width) features.
        head: (..., width) to (..., dim).
        preparation: What turns media into trunk inputs, as JSON values; part of the fingerprint.
    """

    def __init__(
        self, trunk: nn.Module, head: nn.Module, width: int, preparation: Mapping[str, object]
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.width = width
        self.preparation = dict(preparation)
        self._fingerprint: str | None = None
        self.trunk_changed = False
        self.freeze_trunk()

    def freeze_trunk(self) -> None:
        """Keep the trunk as it is: no gradients, evaluation mode even while the head trains."""
        self.trunk_trains = False
        self.trunk.requires_grad_(False)
        self.trunk.eval()

    def thaw_trunk(self) -> None:
        """Let the trunk train; from now on it is the run's own."""
        self.trunk_trains = True
        self.own_trunk()
        self.trunk.requires_grad_(True)

    def own_trunk(self) -> None:
        """Note that the trunk's weights are no longer the pretrained ones."""
        self.trunk_changed = True
        self._fingerprint = None

    def train(self, mode: bool = True) -> "Encoder":
        """As torch's, but a frozen trunk stays in evaluation mode: HTSAT's BatchNorm would drift."""
        self.training = mode
        self.head.train(mode)
        if self.trunk_trains:  # a frozen one is in evaluation mode already
            self.trunk.train(mode)
        return self

    @property
    def fingerprint(self) -> str:
        """Of trunk weights and preparation: equal fingerprints mean interchangeable trunk features.

        Computed from the weights at the first call; a thawed trunk has none.
        """
        if self.trunk_trains:
            raise ValueError("The features of a training trunk change: they have no fingerprint.")
        if self._fingerprint is None:
            digest = hashlib.blake2b(digest_size=12)
            digest.update(json.dumps(self.preparation, sort_keys=True).encode())
            for name, value in sorted(self.trunk.state_dict().items()):
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def read(self, inputs: Padded) -> Padded:
        """Apply the trunk to each real step.

        Args:
            inputs: (batch, step, ...) trunk inputs.

        Returns:
            (batch, step, width) trunk features, zero where masked.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trunk_trains):
            features = self.read_steps(inputs.values[inputs.mask])
        values = features.new_zeros((*inputs.mask.shape, self.width))
        values[inputs.mask] = features
        return Padded(values, inputs.mask)

    def read_steps(self, steps: Shaped[Tensor, "step ..."]) -> Float[Tensor, "step width"]:
        """Apply the trunk to steps in portions, so that memory does not grow with their number."""
        if not len(steps):
            return torch.zeros(0, self.width, device=steps.device)
        return torch.cat([self.trunk(portion) for portion in steps.split(STEPS_AT_ONCE)])

    def forward(self, read: Padded) -> Features:
        """Project trunk features into the shared space and average them over time."""
        steps = self.head(read.values)
        weight = read.mask.unsqueeze(-1).to(steps.dtype)
        mean = (steps * weight).sum(1) / weight.sum(1).clamp(min=1)
        return Features(F.normalize(mean, dim=-1), steps, read.mask)
