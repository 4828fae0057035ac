"""Encoders of spectrogram segments: any vision network, to which a segment is a picture.

CLIP4VLA's idea, without what only its transformer can do (the audio type token, in `clip_audio.py`).
"""

from dataclasses import astuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from trichord.config.towers import SegmentConfig
from trichord.encoders.encoder import AudioEncoder
from trichord.encoders.spectrogram import Spectrogram, cut_segments, mask_spectrogram


class SegmentEncoder(AudioEncoder):
    """Spectrogram segments (step, 1 or 3, time, mel) to features, and their mean over segments.

    Source: CLIP4VLA, "Audio Encoder".
    """

    def __init__(
        self,
        config: SegmentConfig,
        trunk: nn.Module,
        head: nn.Module,
        width: int | None = None,
        *,
        kind: str,
        dim: int | None = None,
    ) -> None:
        """Combine a front end, a trunk and a head.

        Args:
            config: Of the front end.
            trunk: From segments, with one channel if the config says `mono`, to (step, width) features;
                `PictureTrunk` makes one of any vision network.
            head: As for `Encoder`.
            width: As for `Encoder`.
            kind: Of the encoder, for the fingerprint.
            dim: As for `Encoder`.
        """
        self.config = config
        self.log_mel = Spectrogram(config.log_mel)
        self.rate = config.log_mel.rate
        self.stereo = config.channels == "left_mean_right"
        self.audio_seconds = config.sound_seconds
        preparation = {
            "kind": kind,
            "sound_seconds": config.sound_seconds,
            "spectrogram": list(astuple(config.log_mel)),
            "pictures": [config.frames, config.padding, config.longest, config.channels],
        }
        super().__init__(trunk, head, width, preparation, config.pooling, dim=dim)
        self.set_arithmetic(config.arithmetic)

    def decoding(self) -> dict[str, object]:
        """Empty: the preparation has the rate and the channels under other names."""
        return {}

    def prepare(
        self, wave: Float[np.ndarray, "*channel sample"]
    ) -> Float[Tensor, "step shown frame mel"]:
        """Spectrogram segments of a wave at `rate`."""
        return self.to_segments(self.spectrogram(wave))

    def spectrogram(
        self, wave: Float[np.ndarray, "*channel sample"]
    ) -> Float[Tensor, "channel time mel"]:
        """Decibels of a wave at `rate`.

        One channel is used as left, mean and right; for two, their mean is inserted between them.
        """
        waves = torch.from_numpy(np.atleast_2d(wave))
        if self.stereo and len(waves) == 2:
            waves = torch.stack([waves[0], waves.mean(dim=0), waves[1]])
        return self.log_mel(waves)

    def to_segments(
        self, spectrogram: Float[Tensor, "channel time mel"]
    ) -> Float[Tensor, "step shown frame mel"]:
        """Segments of a spectrogram, with three channels or one for all three."""
        config = self.config
        cut = cut_segments(
            spectrogram, frames=config.frames, padding=config.padding, longest=config.longest
        )
        return cut.expand(-1, 3, -1, -1) if self.stereo else cut

    def spec_augment(
        self, spectrogram: Float[Tensor, "channel time mel"], random: np.random.Generator
    ) -> Float[Tensor, "step shown frame mel"]:
        """Segments of a spectrogram with masked time steps and bands."""
        hidden = mask_spectrogram(spectrogram, rule=self.config.masking, random=random)
        return self.to_segments(hidden)


class PictureTrunk(nn.Module):
    """Any vision network as the trunk of a `SegmentEncoder`; its batch norms keep their statistics.

    A batch of audio clips is small, and its statistics are far from those of the pictures that a
    pretrained network has seen: with them a segment's features would depend on the other clips, and
    change between training and evaluation. Scale and shift train with the other weights.
    """

    def __init__(self, network: nn.Module) -> None:
        """Use a network from pictures (step, 3, time, mel) to (step, width)."""
        super().__init__()
        self.network = network

    def train(self, mode: bool = True) -> "PictureTrunk":
        """As torch's, but batch norms stay in evaluation mode."""
        super().train(mode)
        for part in self.modules():
            if isinstance(part, _BatchNorm):
                part.eval()
        return self

    def forward(
        self, pictures: Float[Tensor, "step channel time mel"]
    ) -> Float[Tensor, "step width"]:
        """The feature of each segment; one channel is used for all three."""
        return self.network(pictures.expand(-1, 3, -1, -1))
