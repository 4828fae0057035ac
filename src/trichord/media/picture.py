"""Decoded pictures made upright, square-pixelled, RGB and of the wanted size."""

import struct
from typing import Any

import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling, Transpose

from trichord.media.media_file import Frame, Track, check_pixels
from trichord.media.plan import Limits

Matrix = tuple[int, int, int, int]
"""(a, b, c, d) of a display matrix: a stored pixel (x, y) is shown at (ax + cy, bx + dy)."""
UPRIGHT: Matrix = (1, 0, 0, 1)
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""Accurate and bit-exact: the same numbers on every kind of processor."""
Converter = Any
"""PyAV's `VideoReformatter`. Kept from frame to frame: a frame's own sets swscale up anew each time."""


def display_matrix(frame: Frame) -> Matrix:
    """The frame's turn for display, reduced to quarter turns and flips."""
    entries = [entry for entry in frame.side_data if entry.type.name == "DISPLAYMATRIX"]
    if not entries or len(bytes(entries[0])) < 36:
        return UPRIGHT
    # FFmpeg's matrix: nine fixed-point numbers of 32 bits, in the order of the machine's bytes.
    # Only signs and the larger of two are looked at, so that their scale does not matter.
    a, b, _, c, d = struct.unpack("=5i", bytes(entries[0])[:20])
    if a == b == c == d == 0:
        return UPRIGHT
    if abs(a) >= abs(b):
        return (-1 if a < 0 else 1, 0, 0, -1 if d < 0 else 1)
    return (0, -1 if b < 0 else 1, -1 if c < 0 else 1, 0)


def rotation_of(matrix: Matrix) -> int:
    """Degrees counter-clockwise by which the stored picture is turned: 0, 90, 180 or 270."""
    a, b, _, _ = matrix
    return {(1, 0): 0, (0, -1): 90, (-1, 0): 180, (0, 1): 270}[a, b]


def turned(image: Image.Image, matrix: Matrix) -> Image.Image:
    """The image as the display matrix wants it shown."""
    a, b, c, d = matrix
    # Axes are swapped first, so that the flips are along the axes as shown.
    across, down = (a, d) if a else (c, b)
    if not a:
        image = image.transpose(Transpose.TRANSPOSE)
    if across < 0:
        image = image.transpose(Transpose.FLIP_LEFT_RIGHT)
    if down < 0:
        image = image.transpose(Transpose.FLIP_TOP_BOTTOM)
    return image


def display_size(width: int, height: int, aspect: float, matrix: Matrix) -> tuple[int, int]:
    """Size as displayed: the pixel aspect only ever stretches, so that nothing stored is lost."""
    if aspect >= 1:
        width = round(width * aspect)
    else:
        height = round(height / aspect)
    return (width, height) if matrix[0] else (height, width)


def wanted_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Size with this short side; the long side rounds down, as CLIP's image processor has it."""
    if short_side is None:
        return width, height
    long_side = int(short_side * max(width, height) / min(width, height))
    return (short_side, long_side) if width <= height else (long_side, short_side)


def sized(
    image: Image.Image, shown: tuple[int, int], short_side: int | None, limits: Limits
) -> NDArray[np.uint8]:
    """An upright RGB image, shown at size `shown`, as an array (height, width, 3) as wanted."""
    size = wanted_size(*shown, short_side)
    check_pixels(*size, limits)
    if image.size != size:
        image = image.resize(size, Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


def pixel_aspect(frame: Frame, track: Track) -> float:
    """Width over height of a stored pixel; 1 where nothing sensible is declared."""
    # The container's word goes before the codec's, as in FFmpeg's own tools.
    aspect = track.sample_aspect_ratio or track.codec_context.sample_aspect_ratio
    ratio = float(aspect) if aspect else 1.0
    return ratio if 1 / 64 < ratio < 64 else 1.0


def picture_of(
    frame: Frame,
    aspect: float,
    short_side: int | None,
    limits: Limits,
    converter: Converter,
) -> NDArray[np.uint8]:
    """A decoded video frame as an upright RGB array of the wanted size."""
    matrix = display_matrix(frame)
    shown = display_size(frame.width, frame.height, aspect, matrix)
    # The pixel aspect may stretch a small picture beyond the limit.
    check_pixels(*shown, limits)
    # swscale changes colours only. Pillow resizes, as CLIP's image processor
    # does. One thread, for files are decoded side by side, one in each child.
    rgb = converter.reformat(frame, format="rgb24", interpolation=EXACT, threads=1)
    pixels = rgb.to_ndarray()
    if matrix == UPRIGHT and wanted_size(*shown, short_side) == (frame.width, frame.height):
        return pixels
    return sized(turned(Image.fromarray(pixels), matrix), shown, short_side, limits)
