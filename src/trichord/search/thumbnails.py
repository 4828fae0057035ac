"""Thumbnails of moments, shown beside hits: a frame, or the waveform of a moment without a picture."""

import io

import numpy as np
from PIL import Image

from trichord.media.decoded import Decoded
from trichord.search.waveform import waveform_of

LONGEST = 400
"""Longer side in pixels: sharp in the columns of a desktop and of a phone, at a few kilobytes each."""
QUALITY = 70
METHOD = 4
"""Effort of the WebP encoder, from 0 to 6."""


def thumbnail_of(decoded: Decoded) -> bytes | None:
    """WebP of a moment: its preview or, without one, the decoded frame nearest to its middle.

    Without frames it is the waveform, on a transparent ground; without audio too, None. Pictures are
    reduced to `LONGEST`, and never enlarged.
    """
    content = io.BytesIO()
    if decoded.frames is not None:
        picture = Image.fromarray(_frame(decoded, decoded.frames))
        picture.thumbnail((LONGEST, LONGEST), Image.Resampling.BICUBIC, reducing_gap=2.0)
        picture.save(content, "WEBP", quality=QUALITY, method=METHOD)
    elif decoded.audio:
        lowest = decoded.audio[min(decoded.audio)]
        # Without loss: strokes of one colour are smaller so, and sharp.
        waveform_of(lowest).save(content, "WEBP", lossless=True, method=METHOD)
    return content.getvalue() or None


def _frame(decoded: Decoded, frames: np.ndarray) -> np.ndarray:
    if decoded.preview is not None:
        return decoded.preview
    middle = (decoded.start + decoded.end) / 2
    return frames[int(np.abs(decoded.times - middle).argmin())]
