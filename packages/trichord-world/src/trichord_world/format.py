"""The one format of every generated clip, and when its strokes fall."""

import numpy as np
from numpy.typing import NDArray

from trichord_world.law import STROKES_PER_SECOND, Speed

SECONDS = 4.0
FRAMES_PER_SECOND = 12
FRAMES = int(SECONDS * FRAMES_PER_SECOND)
SIDE = 128
"""Height and width of the picture, in pixels."""
RATE = 32_000
"""Samples a second: four seconds are exactly 125 AAC frames, so that nothing is padded."""
SAMPLES = int(SECONDS * RATE)


def stroke_times(speed: Speed) -> NDArray[np.float64]:
    """Seconds at which a motion of this speed, or a sound of this tempo, strikes: (stroke,).

    Half a period comes before the first stroke, so that none coincides with the start of the file.
    """
    rate = STROKES_PER_SECOND[speed]
    return (np.arange(round(SECONDS * rate), dtype=np.float64) + 0.5) / rate
