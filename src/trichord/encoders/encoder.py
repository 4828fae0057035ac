"""The encoder protocol: a trunk reads each step, a head projects each result; one class a modality.

An encoder from outside the package extends `TextEncoder`, `VisionEncoder` or `AudioEncoder`. It gives
the constructor a trunk and a head, and has `prepare`. Everything else has a default.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the field's name for it)
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor, nn

from trichord.encoders.weight_cache import known_fingerprints, unshare
from trichord.media.plan import FramePlan
from trichord.types import Arithmetic, AudioType, Modality, Pooling, UserError
from trichord.types.tensors import Features, Padded

UNKNOWN_AUDIO_TYPE = 0.5
"""The mixture for clips whose audio type is unknown, under `clip`."""


class Encoder(nn.Module):
    """A trunk applied to each step (frame, audio chunk, caption), and a head applied to each result.

    The order is SLAVA's (section III-B): encode each step, project each step, average over time;
    the mean is L2-normalised once. Steps that the mask hides are never read.

    Attributes:
        modality: What it reads.
        trunk: (step, ...) inputs to (step, width) features. Starts frozen.
        head: (..., width) to (..., dim). Always trains.
        width: Size of the trunk's features; those are cached.
        dim: Size of the shared space. Encoders whose vectors are compared have the same.
        preparation: All that decides what `prepare` gives, as JSON values: sizes, means, versions.
            Part of the fingerprint. What it wants decoded (`decoding`) need not be repeated in it.
        pooling: How steps become one vector.
        batch_size: Steps that the trunk reads at once. 64 fill a GPU at ViT-B size and fit a laptop.
        takes_audio_type: Whether the trunk takes each step's audio type, from verbal (0) to nonverbal
            (1), as a second argument. Only for audio.
        has_batch_norm: Whether steps change one another's features while the trunk trains.
        stored: The model that made its features, if only these are here (`encoders/stored.py`); None: it
            has weights, and reads media.
        files: Where those features lie; None: in the cache, as others' do.
    """

    modality: Modality
    batch_size: int = 64
    takes_audio_type: bool = False
    has_batch_norm: bool = False
    stored: str | None = None
    files: Path | None = None

    def __init__(
        self,
        trunk: nn.Module,
        head: nn.Module,
        width: int | None = None,
        preparation: Mapping[str, object] | None = None,
        pooling: Pooling = "mean",
        *,
        dim: int | None = None,
    ) -> None:
        """Put a head behind a trunk.

        Args:
            trunk: A module of (step, ...) inputs, which gives (step, width) features.
            head: A module of (..., width), which gives (..., dim): `nn.Linear(width, dim)`.
            width: Size of the trunk's features; None: what the head's first linear layer takes.
            preparation: As for `Encoder.preparation`; None: nothing but the class's name.
            pooling: `mean`: of the steps (SLAVA); `mean_of_unit`: of the normalised steps (CLIP4VLA).
            dim: Size of the shared space; None: what the head's last linear layer gives.

        Raises:
            ValueError: The width is not given, and the head has no linear layer.
        """
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.width, self.dim = _sizes(self, width, dim)
        # Not the module's name: a class has another one in a script than where it is imported.
        names: dict[str, object] = {"kind": type(self).__name__}
        self.preparation = names if preparation is None else dict(preparation)
        self.pooling: Pooling = pooling
        self._no_steps: Tensor | None = None
        self._fingerprint: str | None = None
        self.arithmetic: Arithmetic = "float32"
        self._compiled = False
        self.trunk_changed = False
        self.freeze_trunk()

    def set_arithmetic(self, arithmetic: Arithmetic) -> None:
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

    def unfreeze(self) -> None:
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

        Computed from the weights at the first call; a trunk that trains has none.
        """
        if self.trunk_trains:
            raise ValueError("The features of a training trunk change: they have no fingerprint.")
        if self._fingerprint is None:
            description = json.dumps(self.decoding() | self.preparation, sort_keys=True)
            fingerprints = known_fingerprints(self.trunk)
            if description not in fingerprints:
                fingerprints[description] = self._digest(description)
            self._fingerprint = fingerprints[description]
        return self._fingerprint

    def _digest(self, description: str) -> str:
        digest = hashlib.blake2b(digest_size=12)
        digest.update(description.encode())
        for name, value in sorted(self.trunk.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def decoding(self) -> dict[str, object]:
        """What it wants decoded of a file, as JSON values; part of the fingerprint."""
        return {}

    def example(self) -> Shaped[Tensor, "2 ..."]:
        """Two steps of trunk inputs, for an export and for tests.

        Raises:
            NotImplementedError: This class has no `prepare`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no example of its inputs.")

    def no_steps(self) -> Shaped[Tensor, "0 ..."]:
        """Trunk inputs of a clip without this modality: `prepare` never gets nothing."""
        if self._no_steps is None:
            self._no_steps = self.example()[:0].clone()  # a view would keep the example in memory
        return self._no_steps

    def trunk_features(
        self, inputs: Padded, audio_type: Float[Tensor, " batch"] | None = None
    ) -> Padded:
        """Apply the trunk to each real step.

        Args:
            inputs: (batch, step, ...) trunk inputs.
            audio_type: Each clip's place between verbal (0) and nonverbal (1); most trunks ignore it.

        Returns:
            (batch, step, width) trunk features, zero where masked.
        """
        mask = inputs.mask
        each = None if audio_type is None else audio_type[:, None].expand(mask.shape)[mask]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trunk_trains):
            features = self.run_trunk(inputs.values[mask], each)
        values = features.new_zeros((*mask.shape, self.width))
        values[mask] = features
        return Padded(values, mask)

    def trunk_features_of_rows(self, rows: list[Shaped[Tensor, "_ ..."]]) -> Padded:
        """Apply the trunk to clips of different length; what is padded are features, never inputs.

        Args:
            rows: Of each clip, (step, ...) trunk inputs; all on the device of the tower.

        Returns:
            (batch, step, width) trunk features, zero where masked.
        """
        real = [row for row in rows if len(row)] or rows[:1]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trunk_trains):
            features = self.run_trunk(torch.cat(real))
        padded = Padded.stack(list(features.split([len(row) for row in rows])))
        return padded.to(features.device)

    def run_trunk(
        self, steps: Shaped[Tensor, "step ..."], audio_type: Float[Tensor, " step"] | None = None
    ) -> Float[Tensor, "step *token width"]:
        """Apply the trunk to steps in portions, so that memory does not grow with their number."""
        if not len(steps):
            return torch.zeros(0, self.width, device=steps.device)
        inputs = (
            (steps,) if audio_type is None or not self.takes_audio_type else (steps, audio_type)
        )
        portions = zip(*(one.split(self.batch_size) for one in inputs), strict=True)
        halved = self.arithmetic == "bfloat16"
        # Otherwise nothing is entered: a training in half precision has its own context around this.
        with torch.autocast(steps.device.type, torch.bfloat16) if halved else nullcontext():
            features = torch.cat([self._read_portion(*portion) for portion in portions])
        return features.float() if halved else features

    def _read_portion(
        self, *inputs: Shaped[Tensor, "step ..."]
    ) -> Float[Tensor, "step *token width"]:
        count = len(inputs[0])
        spare = next_power_of_two(count) - count
        if not (self._compiled and spare) or (self.has_batch_norm and self.trunk.training):
            return self.trunk(*inputs)
        # Repeated rather than zero: a tower need not be finite on what no preparation gives.
        more = [torch.cat([one, one[-1:].expand(spare, *one.shape[1:])]) for one in inputs]
        return self.trunk(*more)[:count]

    def forward(self, features: Padded) -> Features:
        """Project trunk features into the shared space and average them over time."""
        steps = self.head(features.values)
        return Features(pooled(steps, features.mask, self.pooling), steps, features.mask)


def next_power_of_two(count: int) -> int:
    """The least power of two that is not below a count."""
    return 1 << (count - 1).bit_length()


def _sizes(encoder: Encoder, width: int | None, dim: int | None) -> tuple[int, int]:
    """Width and dim; those that are not given are those of the head's linear layers."""
    layers = [part for part in encoder.head.modules() if isinstance(part, nn.Linear)]
    if width is None and not layers:
        raise ValueError(
            f"{type(encoder).__name__}: its head has no linear layer; give width, the size of the "
            "trunk's features."
        )
    width = layers[0].in_features if width is None else width
    if dim is None:
        dim = layers[-1].out_features if layers else width
    return width, dim


class TextEncoder(Encoder, ABC):
    """An encoder of texts: a text is one step, or a step a token.

    Attributes:
        max_tokens: Tokens after which `prepare` cuts a text; None: it never does.

    Example:
        ```python
        class BagOfWords(TextEncoder):
            def __init__(self, words: dict[str, int], dim: int) -> None:
                super().__init__(nn.EmbeddingBag(len(words), 64), nn.Linear(64, dim))
                self.words = words

            def prepare(self, texts: list[str]) -> Tensor:
                rows = [[self.words[word] for word in text.split()] for text in texts]
                longest = max(map(len, rows))
                return torch.tensor([row + row[:1] * (longest - len(row)) for row in rows])
        ```
    """

    modality = "text"
    max_tokens: int | None = None

    @abstractmethod
    def prepare(self, texts: list[str]) -> Shaped[Tensor, "text token ..."]:
        """Trunk inputs of texts, a row each: token ids, padded to the longest, as a rule.

        The trunk must know padding from words: what a text is read beside does not change its
        features. A text may be empty; there is at least one.
        """

    def lengths(self, inputs: Shaped[Tensor, "text token ..."]) -> Int[Tensor, " text"]:
        """Columns of each row that are not padding; texts of one length are read together.

        The default counts all columns: rows stay as wide as `prepare` made them.
        """
        return torch.full((len(inputs),), inputs.shape[1], device=inputs.device)

    def count_cut(self, texts: list[str]) -> int:
        """How many texts are too long and lose their end; by default none."""
        return 0

    def example(self) -> Shaped[Tensor, "2 ..."]:
        """Two texts."""
        return self.prepare(["a dog barks", "a red ball bounces"])


class VisionEncoder(Encoder, ABC):
    """An encoder of frames: a frame is one step.

    Attributes:
        frames: Which frames of a clip are decoded, and how large: by default one a second, at most
            64, with a shorter side of 224 pixels. `FramePlan(short_side=None)` leaves their size.

    Example:
        ```python
        class Dino(VisionEncoder):
            frames = FramePlan(short_side=256)

            def __init__(self, dim: int) -> None:
                trunk = torch.hub.load("facebookresearch/dinov2", "dinov2_vits14")
                super().__init__(trunk, nn.Linear(384, dim))

            def prepare(self, frames: np.ndarray) -> Tensor:
                pixels = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
                return normalize(center_crop(pixels, [224, 224]), MEAN, STD)
        ```
    """

    modality = "vision"
    frames: FramePlan = FramePlan()

    @abstractmethod
    def prepare(
        self, frames: UInt8[np.ndarray, "step height width 3"]
    ) -> Shaped[Tensor, "step ..."]:
        """Trunk inputs of a clip's frames (RGB, of any shape), a step each. There is at least one."""

    def decoding(self) -> dict[str, object]:
        """Which frames, and how large."""
        return {"frames": self.frames.described()}

    def example(self) -> Shaped[Tensor, "2 ..."]:
        """Two black frames."""
        side = self.frames.short_side or 224
        return self.prepare(np.zeros((2, side, side, 3), np.uint8))


class AudioEncoder(Encoder, ABC):
    """An encoder of sound: a stretch of a clip's wave is one step.

    An encoder has `prepare`. Where training would repeat most of it each epoch, it has `spectrogram`
    and `to_segments` as well, and `prepare` is the one after the other.

    Attributes:
        rate: Samples a second that are decoded.
        stereo: Whether two channels are decoded: (2, sample) if the file has them, else their mean.
        audio_seconds: How much of a clip is decoded at most, from its middle; None: all of it.

    Example:
        ```python
        class Wav2Vec(AudioEncoder):
            rate = 16_000

            def __init__(self, trunk: nn.Module, dim: int) -> None:
                super().__init__(trunk, nn.Linear(768, dim), preparation={"kind": "w2v", "chunk": 10})

            def prepare(self, wave: np.ndarray) -> Tensor:
                chunks = torch.from_numpy(wave).split(10 * self.rate)
                return torch.stack([F.pad(c, (0, 10 * self.rate - len(c))) for c in chunks])
        ```
    """

    modality = "audio"
    rate: int = 16_000
    stereo: bool = False
    audio_seconds: float | None = None

    @abstractmethod
    def prepare(self, wave: Float[np.ndarray, "*channel sample"]) -> Shaped[Tensor, "step ..."]:
        """Trunk inputs of a wave at `rate`, within -1 and 1. There is at least one sample."""

    def decoding(self) -> dict[str, object]:
        """At which rate, how many channels, and how much of a clip; the usual is left out."""
        decoding_plan: dict[str, object] = {"rate": self.rate}
        decoding_plan |= {"stereo": True} if self.stereo else {}
        return decoding_plan | (
            {} if self.audio_seconds is None else {"sound_seconds": self.audio_seconds}
        )

    def example(self) -> Shaped[Tensor, "2 ..."]:
        """A step of a second of noise, twice."""
        channels = (2,) if self.stereo else ()
        second = np.random.default_rng(0).normal(0, 0.1, (*channels, self.rate))
        return self.prepare(second.astype(np.float32))[:1].repeat_interleave(2, dim=0)

    def spectrogram(self, wave: Float[np.ndarray, "*channel sample"]) -> Shaped[Tensor, "..."]:
        """The part of the preparation that no epoch changes; training keeps it in memory.

        The default is all of it: what `prepare` gives.
        """
        return self.prepare(wave)

    def to_segments(self, spectrogram: Shaped[Tensor, "..."]) -> Shaped[Tensor, "step ..."]:
        """Trunk inputs of a spectrogram; the default hands on what `prepare` gave."""
        return spectrogram

    def spec_augment(
        self, spectrogram: Shaped[Tensor, "..."], random: np.random.Generator
    ) -> Shaped[Tensor, "step ..."]:
        """Trunk inputs of a spectrogram with stretches of time and bands hidden.

        Raises:
            UserError: This encoder has no such view: the default.
        """
        raise UserError(
            "The terms 'aa' and 'mt' need CLIP4VLA's audio encoder: leave them out of the stage, or "
            "choose an experiment with that encoder."
        )

    @property
    def audio_type(self) -> AudioType | None:
        """The audio type that it listens for; None: it takes none, the default."""
        return None

    def choose_audio_type(self, audio_type: AudioType) -> None:
        """Listen for another audio type from now on; no weight changes.

        Raises:
            UserError: This encoder takes no audio type: the default.
        """
        raise UserError("--audio-type: this model's audio encoder takes no audio type token.")

    @contextmanager
    def using_audio_type(self, audio_type: AudioType) -> Generator[None]:
        """Within it, listen for another audio type; the fingerprint stays that of the encoder's own.

        Raises:
            ValueError: This encoder takes no audio type: the default.
        """
        raise ValueError("This model's audio encoder takes no audio type token.")
        yield


def pooled(
    steps: Float[Tensor, "batch step dim"], mask: Bool[Tensor, "batch step"], pooling: Pooling
) -> Float[Tensor, "batch dim"]:
    """Unit vector of each row's real steps, in full precision; zero where there is none."""
    steps = steps.float()
    each = F.normalize(steps, dim=-1) if pooling == "mean_of_unit" else steps
    weight = mask.unsqueeze(-1).to(steps.dtype)
    mean = (each * weight).sum(1) / weight.sum(1).clamp(min=1)
    return F.normalize(mean, dim=-1)
