"""Waveforms of moments, drawn as pictures."""

import numpy as np
from PIL import Image, ImageDraw

from trichord.types.arrays import Float

Box = tuple[int, int, int, int]
Samples = Float[np.ndarray, "*channels sample"]

RATE = 4_000
"""Sample rate that is enough for a waveform, where nothing else is decoded."""
SIZE = (400, 225)
"""Width and height of a waveform without a picture: 16:9, as the page shows pictures."""
STROKE = 5
"""Pixels from one stroke to the next, of which half is drawn."""
COLOUR = (184, 106, 24, 255)
"""Orange that stands out (3:1 or more) from the page's light and from its dark ground."""


def draw_waveform(
    pen: ImageDraw.ImageDraw,
    wave: Float[np.ndarray, " sample"],
    box: Box,
    colour: str | tuple[int, ...],
    stroke: int = 4,
) -> None:
    """Draw the peak of each of many equal parts as vertical strokes, scaled to the loudest.

    Args:
        pen: Draws on the picture.
        wave: The samples.
        box: Left, top, right and bottom of the drawing.
        colour: Of the strokes.
        stroke: Pixels from one stroke to the next.
    """
    left, top, right, bottom = box
    parts = [part for part in np.array_split(np.abs(wave), (right - left) // stroke) if len(part)]
    peaks = np.array([part.max() for part in parts])
    half = (bottom - top) / 2 - 4
    for i, peak in enumerate(peaks / max(float(peaks.max()), 1e-6)):
        x, reach = left + stroke * i, max(1.0, half * float(peak))
        middle = (top + bottom) / 2
        pen.rounded_rectangle((x, middle - reach, x + stroke // 2, middle + reach), 1, colour)


def waveform_of(samples: Samples) -> Image.Image:
    """The waveform of a sound on a transparent ground; several channels are mixed."""
    picture = Image.new("RGBA", SIZE)
    wave = samples if samples.ndim == 1 else samples.mean(0)
    box = (STROKE, STROKE, SIZE[0] - STROKE, SIZE[1] - STROKE)
    draw_waveform(ImageDraw.Draw(picture), wave, box, COLOUR, STROKE)
    return picture
