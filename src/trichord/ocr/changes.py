"""Which frames differ enough from the last one that was read."""

import numpy as np
from PIL import Image

from trichord.types.arrays import UInt8

REDUCED = 2
"""Frames are compared at half their size: noise of single pixels averages out."""
BLOCK = 4
"""Side of a block, in pixels of the reduced frame: a block of the frame is as large as a small letter."""
CHANGED = 10.0
"""Mean difference of a block, of 255 levels, from which a frame is read again. Compression of a still
picture with a little grain reaches 9, with more grain 13; another digit of 12 pixels gives at least 10.8,
of 14 pixels 18, another letter more: `studies/screen_text.py`."""


class ChangeDetector:
    """Finds frames that changed, by the largest difference of a block: captions are small.

    Frames are compared with the last one that changed, so that slow fades add up. Colours are compared
    one by one: red text on green of the same brightness would be lost in grey.
    """

    def __init__(self) -> None:
        self._last: UInt8[np.ndarray, "height width 3"] | None = None

    def changed(self, frame: UInt8[np.ndarray, "height width 3"]) -> bool:
        """Whether a frame differs from the last one that did; the first one does."""
        small = np.asarray(Image.fromarray(frame).reduce(REDUCED))
        last = self._last
        if last is not None and last.shape == small.shape and difference(last, small) < CHANGED:
            return False
        self._last = small
        return True


def difference(
    before: UInt8[np.ndarray, "height width 3"], after: UInt8[np.ndarray, "height width 3"]
) -> float:
    """The largest mean difference of a whole block in one colour."""
    height, width = (side // BLOCK for side in before.shape[:2])
    apart = np.abs(before.astype(np.int16) - after)[: height * BLOCK, : width * BLOCK]
    blocks = apart.reshape(height, BLOCK, width, BLOCK, 3).sum((1, 3), dtype=np.int32)
    return float(blocks.max(initial=0)) / BLOCK**2
