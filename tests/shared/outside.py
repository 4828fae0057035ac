"""Three small encoders as somebody outside the package would write them."""

import zlib

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from trichord.encoders.encoder import AudioEncoder, TextEncoder, VisionEncoder
from trichord.media.plan import FramePlan


class BagOfWords(TextEncoder):
    """A vector a word, by a hash of it, and their mean."""

    def __init__(self, dim=24):
        super().__init__(nn.EmbeddingBag(500, 32, mode="mean", padding_idx=0), nn.Linear(32, dim))

    def prepare(self, texts):
        rows = [[1 + zlib.crc32(w.encode()) % 499 for w in text.split()] for text in texts]
        longest = max(1, *map(len, rows))
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


class Thumbnails(VisionEncoder):
    """Eight by eight cells of a frame, whatever its size."""

    frames = FramePlan(short_side=None, count=8)

    def __init__(self, dim=24):
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(192, 48)), nn.Linear(48, dim))

    def prepare(self, frames):
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
        return F.adaptive_avg_pool2d(pixels, 8)


class Bands(AudioEncoder):
    """Loudness of 64 bands in each quarter of a second."""

    rate = 8_000

    def __init__(self, dim=24):
        super().__init__(nn.Sequential(nn.Linear(64, 40), nn.ReLU()), nn.Linear(40, dim))

    def prepare(self, wave):
        chunks = F.pad(torch.from_numpy(wave), (0, -len(wave) % 2000)).view(-1, 2000)
        power = torch.fft.rfft(chunks).abs().square()[:, 1:961]
        return power.view(len(chunks), 64, 15).mean(-1).add(1e-6).log()


def outside_model(dim=24):
    """The three side by side, in evaluation mode."""
    from trichord.models.embedder import Embedder

    torch.manual_seed(5)
    return Embedder(BagOfWords(dim), Thumbnails(dim), Bands(dim)).eval()
