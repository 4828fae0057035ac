"""What every encoder is: a trunk (pretrained tower) read step by step, and a head behind it."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the field's name for it)
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from trichord.encoders.weight_cache import known_fingerprints, unshare
from trichord.types import Arithmetic, Pooling, UserError
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
        heeds_sound: Whether the trunk takes each clip's place between verbal and nonverbal.
        dim: Of the shared space; each tower sets its own.
        steps_meet: Whether steps change one another's features while the trunk trains (BatchNorm).
    """

    dim: int
    heeds_sound = False
    steps_meet = False

    def __init__(
        self,
        trunk: nn.Module,
        head: nn.Module,
        width: int,
        preparation: Mapping[str, object],
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.width = width
        self.preparation = dict(preparation)
        self.pooling: Pooling = pooling
        self._fingerprint: str | None = None
        self.arithmetic: Arithmetic = "float32"
        self._compiled = False
        self.trunk_changed = False
        self.freeze_trunk()

    def compute_in(self, arithmetic: Arithmetic) -> None:
        """Say what the trunk is computed in from now on; features are float32 in any case.

        Half precision gives the same text or clip another vector, so it belongs to the fingerprint.
        """
        self.arithmetic = arithmetic
        self.preparation.pop("arithmetic", None)
        if arithmetic == "bfloat16":
            self.preparation["arithmetic"] = arithmetic
        self._fingerprint = None

    def compile_trunk(self) -> None:
        """Have torch compile the trunk; each size of portion costs a compilation at its first use.

        Portions are filled up to a power of two, so that there are few sizes; what fills them is
        thrown away. Features stay what they are within 1e-5.
        """
        self._compiled = True
        self.trunk.compile(dynamic=False)

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
        """Note that the trunk's weights are no longer the pretrained ones, or will not be.

        To be called before they change: other models may share them.
        """
        unshare(self.trunk)
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
            made_of = json.dumps(self.preparation, sort_keys=True)
            known = known_fingerprints(self.trunk)
            if made_of not in known:
                known[made_of] = self._digest(made_of)
            self._fingerprint = known[made_of]
        return self._fingerprint

    def _digest(self, made_of: str) -> str:
        digest = hashlib.blake2b(digest_size=12)
        digest.update(made_of.encode())
        for name, value in sorted(self.trunk.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def read(self, inputs: Padded, sound: Float[Tensor, " batch"] | None = None) -> Padded:
        """Apply the trunk to each real step.

        Args:
            inputs: (batch, step, ...) trunk inputs.
            sound: Each clip's place between verbal (0) and nonverbal (1); most trunks ignore it.

        Returns:
            (batch, step, width) trunk features, zero where masked.
        """
        mask = inputs.mask
        each = None if sound is None else sound[:, None].expand(mask.shape)[mask]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trunk_trains):
            features = self.read_steps(inputs.values[mask], each)
        values = features.new_zeros((*mask.shape, self.width))
        values[mask] = features
        return Padded(values, mask)

    def read_rows(self, rows: list[Shaped[Tensor, "_ ..."]]) -> Padded:
        """Apply the trunk to clips of different length; what is padded are features, never inputs.

        Args:
            rows: Of each clip, (step, ...) trunk inputs; all on the device of the tower.

        Returns:
            (batch, step, width) trunk features, zero where masked.
        """
        real = [row for row in rows if len(row)] or rows[:1]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trunk_trains):
            features = self.read_steps(torch.cat(real))
        padded = Padded.stack(list(features.split([len(row) for row in rows])))
        return padded.to(features.device)

    def read_steps(
        self, steps: Shaped[Tensor, "step ..."], sound: Float[Tensor, " step"] | None = None
    ) -> Float[Tensor, "step *token width"]:
        """Apply the trunk to steps in portions, so that memory does not grow with their number."""
        if not len(steps):
            return torch.zeros(0, self.width, device=steps.device)
        told = (steps,) if sound is None or not self.heeds_sound else (steps, sound)
        portions = zip(*(one.split(STEPS_AT_ONCE) for one in told), strict=True)
        halved = self.arithmetic == "bfloat16"
        # Otherwise nothing is entered: a training in half precision has its own context around this.
        with torch.autocast(steps.device.type, torch.bfloat16) if halved else nullcontext():
            read = torch.cat([self._read_portion(*portion) for portion in portions])
        return read.float() if halved else read

    def _read_portion(
        self, *told: Shaped[Tensor, "step ..."]
    ) -> Float[Tensor, "step *token width"]:
        count = len(told[0])
        spare = filled(count) - count
        if not (self._compiled and spare) or (self.steps_meet and self.trunk.training):
            return self.trunk(*told)
        # Repeated rather than zero: a tower need not be finite on what no preparation gives.
        more = [torch.cat([one, one[-1:].expand(spare, *one.shape[1:])]) for one in told]
        return self.trunk(*more)[:count]

    def forward(self, read: Padded) -> Features:
        """Project trunk features into the shared space and average them over time."""
        steps = self.head(read.values)
        return Features(pooled(steps, read.mask, self.pooling), steps, read.mask)


def filled(count: int) -> int:
    """The least power of two that is not below a count."""
    return 1 << (count - 1).bit_length()


class AudioEncoder(Encoder, ABC):
    """An encoder of sound: waves are heard once (a spectrogram), and what was heard is cut into steps.

    Attributes:
        rate: Samples a second that it hears.
        stereo: Whether it hears left and right apart.
        sound_seconds: How much of a clip is heard at most, from its middle; None: all of it.
    """

    rate: int
    stereo = False
    sound_seconds: float | None = None

    @abstractmethod
    def hear(self, wave: Float[np.ndarray, "*channel sample"]) -> Shaped[Tensor, "..."]:
        """What does not change from epoch to epoch, such as a spectrogram; may be kept."""

    def cut(self, heard: Shaped[Tensor, "..."]) -> Shaped[Tensor, "step ..."]:
        """Trunk inputs of what was heard."""
        return heard

    def mask(
        self, heard: Shaped[Tensor, "..."], random: np.random.Generator
    ) -> Shaped[Tensor, "step ..."]:
        """Trunk inputs with stretches of time and bands hidden.

        Raises:
            UserError: This encoder has no such view.
        """
        raise UserError(
            "The terms 'aa' and 'mt' need CLIP4VLA's audio encoder: leave them out of the stage, or "
            "choose an experiment with that encoder."
        )

    def prepare(self, wave: Float[np.ndarray, "*channel sample"]) -> Shaped[Tensor, "step ..."]:
        """Trunk inputs of a wave at `rate`; no steps where it has no samples."""
        return self.cut(self.hear(wave))


def pooled(
    steps: Float[Tensor, "batch step dim"], mask: Bool[Tensor, "batch step"], pooling: Pooling
) -> Float[Tensor, "batch dim"]:
    """Unit vector of each row's real steps, in full precision; zero where there is none."""
    steps = steps.float()
    each = F.normalize(steps, dim=-1) if pooling == "mean_of_unit" else steps
    weight = mask.unsqueeze(-1).to(steps.dtype)
    mean = (each * weight).sum(1) / weight.sum(1).clamp(min=1)
    return F.normalize(mean, dim=-1)
