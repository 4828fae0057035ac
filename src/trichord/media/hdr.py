"""High dynamic range to the colours of ordinary screens: PQ and HLG with BT.2020 to sRGB.

Constants are those of ITU-R BT.2100 (PQ and HLG), BT.2408 (levels) and IEC 61966-2-1 (sRGB).
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

PQ, HLG = 16, 18
"""Transfer characteristics, as in ITU-T H.273 and FFmpeg."""
LEVELS = 4096
"""Entries of the tables: 12 bits, more than any camera or disc has."""
DIFFUSE_WHITE = 203.0
"""cd/m² of white paper in HDR (BT.2408), which is 1 here: brighter is a highlight."""
HLG_WHITE = 0.265
"""Scene light of the same white in HLG, whose signal is 75 %."""
KNEE = 0.8
"""Up to here light stays as it is, white paper becomes 0.93, and highlights share the rest."""
TO_BT709 = (
    (1.660491, -0.587641, -0.072850),
    (-0.124550, 1.132900, -0.008349),
    (-0.018151, -0.100579, 1.118730),
)
"""Linear BT.2020 to linear BT.709 (BT.2087)."""


@lru_cache
def light(transfer: int) -> Float:
    """Light by signal in `LEVELS` steps, 1 at diffuse white.

    HLG is read as scene light. Its own curve for a screen (gamma) falls with the screen's brightness, and
    is 1 at 334 cd/m² (BT.2100, note 5e), which is about what an ordinary screen has.
    """
    signal = np.linspace(0, 1, LEVELS)
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        power = signal ** (1 / m2)
        nits = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
        return (nits / DIFFUSE_WHITE).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return (scene / HLG_WHITE).astype(np.float32)


@lru_cache
def _thresholds() -> Float:
    """Light from which on each sRGB value 1 to 255 is shown."""
    value = (np.arange(1, 256) - 0.5) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def to_srgb(linear: Float, *, wide: bool) -> NDArray[np.uint8]:
    """Linear RGB (height, width, 3), 1 at diffuse white, as 8-bit sRGB; `wide`: of BT.2020."""
    if wide:
        red, green, blue = (linear[..., n] for n in range(3))
        # Written out, because a matrix product may round differently on another processor.
        rows = [a * red + b * green + c * blue for a, b, c in TO_BT709]
        linear = np.stack(rows, axis=-1, dtype=np.float32)
    room = np.float32(1 - KNEE)
    over = np.maximum(linear - np.float32(KNEE), 0)
    mapped = np.minimum(linear, np.float32(KNEE)) + room * (1 - np.exp(-over / room))
    return np.searchsorted(_thresholds(), mapped, side="right").astype(np.uint8)


def is_hdr(frame: Any) -> bool:
    """Whether a frame's colours are PQ or HLG."""
    return int(frame.color_trc) in (PQ, HLG)
