"""Decoded frames converted to upright RGB with square pixels at the planned size."""

import struct
from typing import Any

import numpy as np
from av.video.reformatter import Colorspace, Interpolation
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling, Transpose

from trichord.media.hdr import LEVELS, is_hdr, light, to_srgb
from trichord.media.media_file import check_pixels
from trichord.media.plan import DecodePlan, FramePlan, Limits
from trichord.media.pyav import Frame, Track

Matrix = tuple[int, int, int, int]
"""(a, b, c, d) of a display matrix: a stored pixel (x, y) is shown at (ax + cy, bx + dy)."""
UPRIGHT: Matrix = (1, 0, 0, 1)
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""Accurate and bit-exact: the same values on every processor."""
UNSPECIFIED = 2
"""Colour space or primaries that a file does not declare (ITU-T H.273)."""
BT2020 = 9
"""Its number as primaries and as colour space."""
Converter = Any
"""PyAV's `VideoReformatter`, reused: `frame.reformat` sets swscale up again for each frame."""


def display_matrix(frame: Frame) -> Matrix:
    """The display matrix of a frame, reduced to quarter turns and flips."""
    entries = [entry for entry in frame.side_data if entry.type.name == "DISPLAYMATRIX"]
    if not entries or len(bytes(entries[0])) < 36:
        return UPRIGHT
    # FFmpeg's matrix: nine fixed-point numbers of 32 bits in native byte order.
    # Only signs and the larger of two values count, so their scale does not matter.
    a, b, _, c, d = struct.unpack("=5i", bytes(entries[0])[:20])
    if a == b == c == d == 0:
        return UPRIGHT
    if abs(a) >= abs(b):
        return (-1 if a < 0 else 1, 0, 0, -1 if d < 0 else 1)
    return (0, -1 if b < 0 else 1, -1 if c < 0 else 1, 0)


def rotation_of(matrix: Matrix) -> int:
    """Counter-clockwise rotation of the stored picture in degrees: 0, 90, 180 or 270."""
    a, b, _, _ = matrix
    return {(1, 0): 0, (0, -1): 90, (-1, 0): 180, (0, 1): 270}[a, b]


def apply_display_matrix(image: Image.Image, matrix: Matrix) -> Image.Image:
    """Rotate and flip an image by a display matrix."""
    a, b, c, d = matrix
    # Axes are swapped first, so that the flips are along the displayed axes.
    across, down = (a, d) if a else (c, b)
    if not a:
        image = image.transpose(Transpose.TRANSPOSE)
    if across < 0:
        image = image.transpose(Transpose.FLIP_LEFT_RIGHT)
    if down < 0:
        image = image.transpose(Transpose.FLIP_TOP_BOTTOM)
    return image


def display_size(width: int, height: int, aspect: float, matrix: Matrix) -> tuple[int, int]:
    """Displayed size: the pixel aspect only stretches, so that no stored pixel is lost."""
    if aspect >= 1:
        width = round(width * aspect)
    else:
        height = round(height / aspect)
    return (width, height) if matrix[0] else (height, width)


def resize(
    image: Image.Image, display: tuple[int, int], plan: FramePlan, limits: Limits
) -> NDArray[np.uint8]:
    """Resize an upright RGB image of displayed size `display` to an array (height, width, 3)."""
    size = plan.target_size(*display)
    check_pixels(*size, limits)
    if image.size != size:
        image = image.resize(size, Resampling[plan.resample.upper()])
    return np.asarray(image, dtype=np.uint8)


def pixel_aspect(frame: Frame, track: Track) -> float:
    """Width over height of a stored pixel; 1 if none, or none plausible, is declared."""
    # The container has priority over the codec, as in FFmpeg's own tools.
    aspect = track.sample_aspect_ratio or track.codec_context.sample_aspect_ratio
    ratio = float(aspect) if aspect else 1.0
    return ratio if 1 / 64 < ratio < 64 else 1.0


def to_rgb(
    frame: Frame,
    aspect: float,
    plan: FramePlan,
    limits: Limits,
    converter: Converter,
) -> NDArray[np.uint8]:
    """Convert a decoded video frame to an upright RGB array of the planned size."""
    matrix = display_matrix(frame)
    display = display_size(frame.width, frame.height, aspect, matrix)
    # The pixel aspect may stretch a small picture beyond the limit.
    check_pixels(*display, limits)
    check_pixels(*plan.target_size(*display), limits)
    if is_hdr(frame):
        return _hdr_to_rgb(frame, matrix, plan.target_size(*display), plan, converter)
    # swscale converts colours only. Pillow resizes, as in CLIP's image processor.
    # One thread, because files are decoded in parallel, one per child.
    rgb = converter.reformat(
        frame,
        format="rgb24",
        interpolation=EXACT,
        threads=1,
        src_colorspace=_undeclared_colours(frame),
    )
    pixels = rgb.to_ndarray()
    if matrix == UPRIGHT and plan.target_size(*display) == (frame.width, frame.height):
        return pixels
    return resize(apply_display_matrix(Image.fromarray(pixels), matrix), display, plan, limits)


def preview_of(
    frame: Frame, aspect: float, plan: DecodePlan, limits: Limits, converter: Converter
) -> NDArray[np.uint8]:
    """The preview of a decoded video frame, as `DecodePlan.preview` asks for it."""
    display = display_size(frame.width, frame.height, aspect, display_matrix(frame))
    return to_rgb(frame, aspect, plan.preview_frames(*display), limits, converter)


def _undeclared_colours(frame: Frame) -> Colorspace | None:
    """BT.709 for pictures larger than television's, as players assume; None: as declared, or BT.601."""
    large = frame.width >= 1280 or frame.height > 576
    return Colorspace.ITU709 if large and int(frame.colorspace) == UNSPECIFIED else None


def _hdr_to_rgb(
    frame: Frame, matrix: Matrix, size: tuple[int, int], plan: FramePlan, converter: Converter
) -> NDArray[np.uint8]:
    """As `to_rgb`, from high dynamic range: resized as light, because the tone curve is not linear."""
    wide = int(frame.color_primaries) in (BT2020, UNSPECIFIED)
    space = Colorspace.BT2020 if int(frame.colorspace) == UNSPECIFIED else None
    deep = converter.reformat(
        frame, format="rgb48le", interpolation=EXACT, threads=1, src_colorspace=space
    ).to_ndarray()
    table = light(int(frame.color_trc))
    channels: list[NDArray[np.float32]] = []
    for number in range(3):
        # Rounded to the table's steps of 16 bits.
        signal = (deep[..., number].astype(np.uint32) * (LEVELS - 1) + 32_767) // 65_535
        channel = apply_display_matrix(Image.fromarray(table[signal]), matrix)
        channels.append(np.asarray(channel.resize(size, Resampling[plan.resample.upper()])))
    return to_srgb(np.stack(channels, axis=-1), wide=wide)
