"""The encoder protocol: a trunk computes features of each step, a head projects them.

A plug-in extends `TextEncoder`, `VisionEncoder` or `AudioEncoder`. It passes a trunk and a head to the
constructor, and has `prepare`. Everything else has a default.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the field's name for it)
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor, nn

from trichord.config.training import Lora
from trichord.encoders.adapters import add_adapters, is_adapter, merge, remove_adapters
from trichord.encoders.half_precision import half_precision
from trichord.encoders.weight_cache import known_fingerprints, unshare
from trichord.media.plan import FramePlan
from trichord.types import Arithmetic, AudioType, Modality, Pooling, UserError
from trichord.types.rng import isolated_rng
from trichord.types.tensors import Features, Padded

UNKNOWN_AUDIO_TYPE = 0.5
"""The mixture for clips whose audio type is unknown, under `clip`."""


class Encoder(nn.Module):
    """A trunk applied to each step (frame, audio chunk, caption), and a head applied to each result.

    The order is SLAVA's (section III-B): encode each step, project each step, average over time, and
    L2-normalise the mean. Masked steps are never read.

    Attributes:
        modality: Modality of its inputs.
        trunk: (step, ...) inputs to (step, width) features. Frozen at first.
        head: (..., width) to (..., dim). Trainable.
        width: Size of the trunk's features, which are cached.
        dim: Size of the shared space. Encoders whose vectors are compared have the same.
        preparation: Everything that the result of `prepare` depends on, as JSON values: sizes, means,
            versions. Part of the fingerprint, as is `decoding`, which need not be repeated here.
        pooling: How steps become one vector.
        batch_size: Steps in one call of the trunk. 64 fill a GPU at ViT-B size and fit a laptop.
        takes_audio_type: Whether the trunk takes each step's audio type, from verbal (0) to nonverbal
            (1), as a second argument. Only for audio.
        has_batch_norm: Whether steps change one another's features while the trunk trains.
        stored: The model of its stored features (`encoders/stored.py`); None for encoders with weights.
        files: Location of stored features; None: the feature cache.
        lora: The low-rank adapters of the trunk while it has them; see `adapt`.
        adapted_fingerprint: Of the trunk when it got adapters.
        no_export: Why it cannot be exported as an ONNX graph, as part of a sentence; empty if it can.
    """

    modality: Modality
    batch_size: int = 64
    takes_audio_type: bool = False
    has_batch_norm: bool = False
    stored: str | None = None
    files: Path | None = None
    no_export: str = ""

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
        """Combine a trunk and a head.

        Args:
            trunk: A module from (step, ...) inputs to (step, width) features.
            head: A module from (..., width) to (..., dim), such as `nn.Linear(width, dim)`.
            width: Size of the trunk's features; None: the input size of the head's first linear layer.
            preparation: As for `Encoder.preparation`; None: only the class's name.
            pooling: `mean`: of the steps (SLAVA); `mean_of_unit`: of the normalised steps (CLIP4VLA).
            dim: Size of the shared space; None: the output size of the head's last linear layer.

        Raises:
            ValueError: The width is not given, and the head has no linear layer.
        """
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.width, self.dim = _sizes(self, width, dim)
        # Without the module's name, which differs between a script and an import.
        names: dict[str, object] = {"kind": type(self).__name__}
        self.preparation = names if preparation is None else dict(preparation)
        self.pooling: Pooling = pooling
        self._no_steps: Tensor | None = None
        self._fingerprint: str | None = None
        self.arithmetic: Arithmetic = "float32"
        self._compiled = False
        self.trunk_changed = False
        self.lora: Lora | None = None
        self.adapted_fingerprint = ""
        self.freeze_trunk()

    def set_arithmetic(self, arithmetic: Arithmetic) -> None:
        """Set the number format of the trunk; features are always float32.

        bfloat16 changes the vectors, so it is part of the fingerprint.
        """
        self.arithmetic = arithmetic
        self.preparation.pop("arithmetic", None)
        if arithmetic == "bfloat16":
            self.preparation["arithmetic"] = arithmetic
        self._fingerprint = None

    def compile_trunk(self) -> None:
        """Compile the trunk with torch; each batch size is compiled at its first use.

        Batches are padded to a power of two, so that there are few sizes, and the padding is dropped
        again. Features change by less than 1e-5.
        """
        self._compiled = True
        self.trunk.compile(dynamic=False)

    def freeze_trunk(self) -> None:
        """Freeze the trunk: no gradients, evaluation mode even while the head trains."""
        self.trunk_trains = False
        self.trunk.requires_grad_(False)
        self.trunk.eval()

    def unfreeze(self) -> None:
        """Unfreeze the trunk, with weights of its own."""
        self.trunk_trains = True
        self.own_trunk()
        self.trunk.requires_grad_(True)

    def adapt(self, lora: Lora, seed: int = 0) -> None:
        """Let low-rank adapters of the trunk train, new ones at the first call; its weights stay frozen.

        The trunk may share its weights with other models as before. `merge_adapters` ends it.

        Args:
            lora: The adapters.
            seed: Of new ones.

        Raises:
            UserError: The trunk has no layers of these names, or peft is missing.
        """
        if self.lora is None:
            self.adapted_fingerprint = self.fingerprint
            self.lora = lora
            with isolated_rng(seed):
                add_adapters(self.trunk, lora, f"The {self.modality} trunk")
        self.trunk_trains = True
        self._fingerprint = None
        for name, parameter in self.trunk.named_parameters():
            parameter.requires_grad_(is_adapter(name))

    def merge_adapters(self) -> None:
        """Replace the adapters, if any, by weights of the trunk's own that include them."""
        if self.lora is None:
            return
        lora, self.lora = self.lora, None
        adapters = remove_adapters(self.trunk)
        self.own_trunk()
        merge(self.trunk, adapters, lora)
        self.freeze_trunk()

    def own_trunk(self) -> None:
        """Give the trunk weights of its own, which may change.

        Call it before they change: other models may share the pretrained ones.
        """
        unshare(self.trunk)
        self.trunk_changed = True
        self._fingerprint = None

    def train(self, mode: bool = True) -> "Encoder":
        """As torch's, but a frozen trunk stays in evaluation mode: its BatchNorm would drift."""
        self.training = mode
        self.head.train(mode)
        if self.trunk_trains:  # a frozen one is already in evaluation mode
            self.trunk.train(mode)
        return self

    @property
    def fingerprint(self) -> str:
        """Hash of trunk weights and preparation: equal fingerprints mean equal trunk features.

        Computed from the weights at the first call; a training trunk has none.
        """
        if self.trunk_trains:
            raise ValueError("The features of a training trunk change: they have no fingerprint.")
        if self._fingerprint is None:
            description = json.dumps(self.decoding() | self.preparation, sort_keys=True)
            # Those of shared weights do not count adapters.
            fingerprints = {} if self.lora else known_fingerprints(self.trunk)
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
        """What it needs decoded of a file, as JSON values; part of the fingerprint."""
        return {}

    def example(self) -> Shaped[Tensor, "2 ..."]:
        """Two steps of trunk inputs, for exports and tests.

        Raises:
            NotImplementedError: This class has no `prepare`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no example of its inputs.")

    def no_steps(self) -> Shaped[Tensor, "0 ..."]:
        """Trunk inputs of a clip without this modality; `prepare` always gets at least one step."""
        if self._no_steps is None:
            self._no_steps = self.example()[:0].clone()  # a view would keep the example in memory
        return self._no_steps

    def trunk_features(
        self, inputs: Padded, audio_type: Float[Tensor, " batch"] | None = None
    ) -> Padded:
        """Apply the trunk to each unmasked step.

        Args:
            inputs: (batch, step, ...) trunk inputs.
            audio_type: Of each clip, between verbal (0) and nonverbal (1); most trunks ignore it.

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
        """Apply the trunk to clips of different lengths; features are padded, never inputs.

        Args:
            rows: (step, ...) trunk inputs of each clip, on the device of the encoder.

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
        """Apply the trunk to steps in batches, so that memory does not grow with their number."""
        if not len(steps):
            return torch.zeros(0, self.width, device=steps.device)
        inputs = (
            (steps,) if audio_type is None or not self.takes_audio_type else (steps, audio_type)
        )
        portions = zip(*(one.split(self.batch_size) for one in inputs), strict=True)
        halved = self.arithmetic == "bfloat16"
        # Otherwise no autocast context: mixed-precision training has its own around this.
        with half_precision(steps.device) if halved else nullcontext():
            features = torch.cat([self._read_portion(*portion) for portion in portions])
        return features.float() if halved else features

    def _read_portion(
        self, *inputs: Shaped[Tensor, "step ..."]
    ) -> Float[Tensor, "step *token width"]:
        count = len(inputs[0])
        spare = next_power_of_two(count) - count
        if not (self._compiled and spare) or (self.has_batch_norm and self.trunk.training):
            return self.trunk(*inputs)
        # The last step is repeated: on zeros a trunk need not be finite.
        more = [torch.cat([one, one[-1:].expand(spare, *one.shape[1:])]) for one in inputs]
        return self.trunk(*more)[:count]

    def forward(self, features: Padded) -> Features:
        """Project trunk features into the shared space and average them over time."""
        steps = self.head(features.values)
        return Features(pooled(steps, features.mask, self.pooling), steps, features.mask)


def next_power_of_two(count: int) -> int:
    """The smallest power of two that is at least `count`."""
    return 1 << (count - 1).bit_length()


def _sizes(encoder: Encoder, width: int | None, dim: int | None) -> tuple[int, int]:
    """Width and dim; None means those of the head's linear layers."""
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
    """An encoder of texts: a text is one step, or has a step per token.

    Attributes:
        max_tokens: Length to which `prepare` truncates texts; None: no limit.
        pads_to_max: Whether `prepare` pads each text to `max_tokens`, because the trunk reads padding.
        english: Whether its pretrained weights know English alone; a search by other words is named.

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
    pads_to_max: bool = False
    english: bool = False

    @abstractmethod
    def prepare(self, texts: list[str]) -> Shaped[Tensor, "text token ..."]:
        """Trunk inputs of texts, a row each: usually token ids, padded to the longest.

        The trunk must ignore padding: the other texts of a batch do not change the features of a text.
        A text may be empty; there is at least one.
        """

    def prepare_for(
        self, texts: list[str], task: Literal["query", "document"]
    ) -> Shaped[Tensor, "text token ..."]:
        """As `prepare`, with the model's own prompt for a task; by default it has none."""
        return self.prepare(texts)

    def lengths(self, inputs: Shaped[Tensor, "text token ..."]) -> Int[Tensor, " text"]:
        """Columns of each row that are not padding; texts of one length form a batch.

        The default is all columns: rows are as wide as `prepare` returned them.
        """
        return torch.full((len(inputs),), inputs.shape[1], device=inputs.device)

    def count_cut(self, texts: list[str]) -> int:
        """Number of texts that are truncated; by default none."""
        return 0

    def example(self) -> Shaped[Tensor, "2 ..."]:
        """Two texts."""
        return self.prepare(["a dog barks", "a red ball bounces"])


class VisionEncoder(Encoder, ABC):
    """An encoder of frames: a frame is one step.

    Attributes:
        frames: Which frames of a clip are decoded, and their size: by default one per second, at most
            64, with a shorter side of 224 pixels. `FramePlan(short_side=None)` keeps their size.

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
        """Trunk inputs of a clip's frames (RGB, of any size), a step each. There is at least one."""

    def decoding(self) -> dict[str, object]:
        """Which frames, and their size."""
        return {"frames": self.frames.described()}

    def example(self) -> Shaped[Tensor, "2 ..."]:
        """Two black frames."""
        width, height = self.frames.target_size(224, 224)
        return self.prepare(np.zeros((2, height, width, 3), np.uint8))


class AudioEncoder(Encoder, ABC):
    """An encoder of audio: a segment of a clip's wave is one step.

    If training would repeat most of `prepare` each epoch, an encoder also has `spectrogram` and
    `to_segments`, and `prepare` calls both.

    Attributes:
        rate: Sampling rate of the decoded audio.
        stereo: Whether two channels are decoded, (2, sample), if the file has them; else their mean.
        audio_seconds: Most seconds of a clip that are decoded, from its middle; None: all.

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
        """Rate, channels and length; defaults of the last two are left out."""
        decoding_plan: dict[str, object] = {"rate": self.rate}
        decoding_plan |= {"stereo": True} if self.stereo else {}
        return decoding_plan | (
            {} if self.audio_seconds is None else {"sound_seconds": self.audio_seconds}
        )

    def example(self) -> Shaped[Tensor, "2 ..."]:
        """A step of one second of noise, twice."""
        channels = (2,) if self.stereo else ()
        second = np.random.default_rng(0).normal(0, 0.1, (*channels, self.rate))
        return self.prepare(second.astype(np.float32))[:1].repeat_interleave(2, dim=0)

    def spectrogram(self, wave: Float[np.ndarray, "*channel sample"]) -> Shaped[Tensor, "..."]:
        """The part of `prepare` that is the same in each epoch; training keeps it in memory.

        The default is all of `prepare`.
        """
        return self.prepare(wave)

    def to_segments(self, spectrogram: Shaped[Tensor, "..."]) -> Shaped[Tensor, "step ..."]:
        """Trunk inputs of a spectrogram; by default itself."""
        return spectrogram

    def spec_augment(
        self, spectrogram: Shaped[Tensor, "..."], random: np.random.Generator
    ) -> Shaped[Tensor, "step ..."]:
        """Trunk inputs of a spectrogram with masked time steps and bands.

        Raises:
            UserError: This encoder does not support it: the default.
        """
        raise UserError(
            "The terms 'aa' and 'mt' need CLIP4VLA's audio encoder: leave them out of the stage, or "
            "choose an experiment with that encoder."
        )

    @property
    def audio_type(self) -> AudioType | None:
        """The audio type token; None: it takes none, the default."""
        return None

    def choose_audio_type(self, audio_type: AudioType) -> None:
        """Set the audio type token; no weight changes.

        Raises:
            UserError: This encoder takes no audio type: the default.
        """
        raise UserError("--audio-type: this model's audio encoder takes no audio type token.")

    @contextmanager
    def using_audio_type(self, audio_type: AudioType) -> Generator[None]:
        """Use another audio type token within the block; the fingerprint stays the same.

        Raises:
            ValueError: This encoder takes no audio type: the default.
        """
        raise ValueError("This model's audio encoder takes no audio type token.")
        yield


def pooled(
    steps: Float[Tensor, "batch step dim"], mask: Bool[Tensor, "batch step"], pooling: Pooling
) -> Float[Tensor, "batch dim"]:
    """Unit vector of the mean of each row's unmasked steps, in float32; zero if there are none."""
    steps = steps.float()
    each = F.normalize(steps, dim=-1) if pooling == "mean_of_unit" else steps
    weight = mask.unsqueeze(-1).to(steps.dtype)
    mean = (each * weight).sum(1) / weight.sum(1).clamp(min=1)
    return F.normalize(mean, dim=-1)
