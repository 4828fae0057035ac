"""Thumbnails of moments, shown beside hits."""

import io

import numpy as np
from PIL import Image

from trichord.media.decoded import Decoded

ROOM = (160, 284)
"""Largest width and height of a thumbnail: 160 wide, and as high as a phone's 9:16."""
QUALITY = 80


def thumbnail_of(decoded: Decoded) -> bytes | None:
    """JPEG of the decoded frame nearest to the middle of a moment; None without frames.

    Its size is at most `ROOM`, and never larger than the frame.
    """
    if decoded.frames is None:
        return None
    middle = (decoded.start + decoded.end) / 2
    nearest = int(np.abs(decoded.times - middle).argmin())
    picture = Image.fromarray(decoded.frames[nearest])
    picture.thumbnail(ROOM, Image.Resampling.BICUBIC, reducing_gap=2.0)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=QUALITY, optimize=True)
    return content.getvalue()
