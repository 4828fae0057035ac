"""Small pictures of moments, to be shown beside hits."""

import io

import numpy as np
from PIL import Image

from trichord.media.decoded import Decoded

ROOM = (160, 284)
"""A thumbnail's largest width and height: 160 wide, and as high as a phone's 9:16 makes it."""
QUALITY = 80


def thumbnail_of(decoded: Decoded) -> bytes | None:
    """JPEG of the frame nearest to a moment's middle among those decoded; None without frames.

    It is at most `ROOM` large and never larger than the frame.
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
