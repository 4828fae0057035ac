"""Log-mel spectrograms in square segments (CLIP4VLA's front end)."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor

from trichord.config.towers import LogMel

Rule = Literal["as_published", "as_paper"]

QUIETEST = 1e-10
"""Lower bound of the power: -100 dB."""
MASKED_MELS, MASKED_STEPS = 0.05, 0.15
"""Masks (published) or chances that a mask starts (paper) for each band and each time step."""
MASK_WIDTH = 10

BANDS_AT_ONCE = 32
"""Neighbouring bands cover few frequencies: products of 32 bands take a third of the time of one."""
FRAMES_AT_ONCE = {"cpu": 256, "cuda": 65_536}
"""On a CPU so many fit the cache, on a GPU they fill it; bounds the memory for long audio."""

_Product = tuple[slice, Tensor]
"""Frequencies that some neighbouring bands cover, and the bands over these."""


class Spectrogram:
    """Mel power in decibels, equal to librosa's `power_to_db(melspectrogram(...))`.

    Bands are triangles on Slaney's mel scale from 0 Hz with unit area; the window is periodic and
    centred on each frame, the power is 2, the reference 1. With 224 bands and a window of 512 points
    some bands contain no frequency of the transform and stay at the floor.

    Source: CLIP4VLA, "Model Structure", audio encoder (window `hamming`; as published: `hann`).
    """

    def __init__(self, config: LogMel) -> None:
        """Compute the window and the bands."""
        self.config = config
        bands = mel_bands(
            rate=config.rate, mels=config.mels, window=config.window, highest=config.highest
        )
        window_function = torch.hann_window if config.shape == "hann" else torch.hamming_window
        self._weights = window_function(config.window, dtype=torch.float64)
        self._products = _products(bands)
        self._on: dict[torch.device, tuple[Tensor, list[_Product]]] = {}

    def __call__(
        self, wave: Float[Tensor, "*channel sample"]
    ) -> Float[Tensor, "*channel time mel"]:
        """Decibels of each channel: `1 + samples // hop` frames, on the wave's device."""
        weights, products = self._moved(wave.device)
        half = self.config.window // 2
        rows = wave[None].flatten(0, -2).double()
        mirrored = self.config.edges == "reflect" and rows.shape[-1] > half
        padded = F.pad(rows, (half, half), "reflect" if mirrored else "constant")
        frames = padded.unfold(-1, self.config.window, self.config.hop)
        portion = max(1, FRAMES_AT_ONCE.get(wave.device.type, 256) // max(1, len(rows)))
        power = torch.cat(
            [_power(part, weights, products) for part in frames.split(portion, 1)], dim=1
        )
        decibels = power.clamp_(min=QUIETEST).log10_().mul_(10)
        floor = decibels.amax((-2, -1), keepdim=True) - self.config.top_db
        return decibels.clamp_(min=floor).reshape(*wave.shape[:-1], *decibels.shape[-2:])

    def _moved(self, device: torch.device) -> tuple[Tensor, list[_Product]]:
        if device not in self._on:
            products = [(frequencies, bands.to(device)) for frequencies, bands in self._products]
            self._on[device] = (self._weights.to(device), products)
        return self._on[device]


def _products(bands: Float[np.ndarray, "frequency mel"]) -> list[_Product]:
    products: list[_Product] = []
    for part in torch.from_numpy(bands.astype(np.float32)).split(BANDS_AT_ONCE, 1):
        rows = part.any(dim=1).nonzero().flatten().tolist() or [0]
        frequencies = slice(rows[0], rows[-1] + 1)
        products.append((frequencies, part[frequencies].contiguous()))
    return products


def _power(
    frames: Float[Tensor, "row time sample"],
    weights: Float[Tensor, " sample"],
    products: list[_Product],
) -> Float[Tensor, "row time mel"]:
    # In double precision, as librosa: in single precision the rounding error, which scales with the
    # loudest frequency, changes bands 80 dB below by up to 0.006 dB.
    spectrum = torch.fft.rfft(frames * weights)
    squares = torch.view_as_real(spectrum).float().square_()
    power = squares[..., 0] + squares[..., 1]
    return torch.cat([power[..., frequencies] @ bands for frequencies, bands in products], dim=-1)


def mel_bands(
    *, rate: int, mels: int, window: int, highest: float
) -> Float[np.ndarray, "frequency mel"]:
    """Triangular bands of unit area, evenly spaced on Slaney's mel scale from 0 Hz to `highest`."""
    frequencies = np.linspace(0.0, rate / 2, window // 2 + 1)[:, None]
    corners = _hertz(np.linspace(0.0, _mel(highest), mels + 2))
    low, centre, high = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    return np.maximum(0.0, np.minimum(rising, falling)) * 2 / (high - low)


# Slaney's scale (Auditory Toolbox, 1998): 200/3 Hz a mel up to 1 kHz, 27 mels to a factor of 6.4 above.
_LINEAR, _KNEE, _LOG = 200 / 3, 1000.0, np.log(6.4) / 27


def _mel(hertz: float) -> float:
    above = np.log(max(hertz, _KNEE) / _KNEE) / _LOG
    return float(min(hertz, _KNEE) / _LINEAR + above)


def _hertz(mel: Float[np.ndarray, " corner"]) -> Float[np.ndarray, " corner"]:
    knee = _KNEE / _LINEAR
    return np.where(mel < knee, mel * _LINEAR, _KNEE * np.exp(_LOG * (mel - knee)))


def cut_segments(
    decibels: Float[Tensor, "channel time mel"],
    *,
    frames: int = 224,
    padding: Rule = "as_published",
    longest: int | None = None,
) -> Float[Tensor, "segment channel frames mel"]:
    """Split a spectrogram into consecutive segments, each channel with mean 0 and standard deviation 1.

    The last one is padded with 0 dB, which counts in its mean and deviation.

    Args:
        decibels: Of a clip.
        frames: Time steps of a segment.
        padding: `as_published` pads by at least one step, so that a clip whose steps are a multiple of
            `frames` gets one more segment, all zero; `as_paper` makes no segment without audio.
        longest: Keep at most this many, from the middle.

    Source: CLIP4VLA, "Model Structure", audio encoder; normalisation and cropping as published.
    """
    steps = decibels.shape[1]
    # A wave of n hops has n + 1 steps, centred on its ends; the paper counts hops.
    count = steps // frames + 1 if padding == "as_published" else max(1, -(-(steps - 1) // frames))
    filled = F.pad(decibels, (0, 0, 0, count * frames - steps))
    pictures = filled.unflatten(1, (count, frames)).transpose(0, 1)
    if longest is not None and count > longest:
        pictures = pictures[(count - longest) // 2 :][:longest]
    # Relative to the first cell: then the mean of a constant segment is exact, and no rounding error
    # is divided by 1e-10. (`torch.std_mean` would take as long as the spectrogram.)
    from_first = pictures - pictures[..., :1, :1]
    centred = from_first - from_first.mean((-2, -1), keepdim=True)
    deviation = centred.square().mean((-2, -1), keepdim=True).sqrt()
    return centred / (deviation + 1e-10)


def mask_spectrogram(
    decibels: Float[Tensor, "channel time mel"], *, rule: Rule, random: np.random.Generator
) -> Float[Tensor, "channel time mel"]:
    """A copy with bands and time steps of all channels set to 0 dB, for the intra-modal loss.

    Args:
        decibels: Of a whole clip, before it is cut into segments.
        rule: `as_published`: masks for 5 % of the number of bands and 15 % of the time steps, each 0 to
            9 wide and anywhere; `as_paper`: at each band (time step) a mask of 10 starts with a
            probability of 5 % (15 %).
        random: Random numbers for the masks.

    Source: CLIP4VLA, "Pre-training", intra-modal learning.
    """
    hide = _fixed_number if rule == "as_published" else _by_chance
    mels = hide(decibels.shape[2], MASKED_MELS, random)
    steps = hide(decibels.shape[1], MASKED_STEPS, random)
    hidden = torch.from_numpy(steps[:, None] | mels).to(decibels.device)
    return decibels.masked_fill(hidden, 0.0)


def _fixed_number(
    size: int, share: float, random: np.random.Generator
) -> Bool[np.ndarray, " size"]:
    widths = np.minimum(random.integers(0, MASK_WIDTH, int(size * share)), size)
    starts = random.integers(0, size - widths + 1)
    position = np.arange(size)[:, None]
    return np.any((starts <= position) & (position < starts + widths), axis=1)


def _by_chance(size: int, share: float, random: np.random.Generator) -> Bool[np.ndarray, " size"]:
    begun = np.cumsum(random.random(size) < share)
    over = np.concatenate([np.zeros(min(MASK_WIDTH, size), begun.dtype), begun[:-MASK_WIDTH]])
    return begun > over
