"""Which frames differ enough from the last one that was read."""

import numpy as np
from PIL import Image

from trichord.types.arrays import UInt8

REDUCED = 4
"""Frames are compared at a quarter of their size: noise of single pixels averages out."""
BLOCK = 8
"""Side of a block, in pixels of the reduced frame: about a caption's letter or two."""
CHANGED = 5.0
"""Mean difference of a block, of 255 levels, from which a frame is read again."""


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
    """The largest mean difference of a block in one colour."""
    apart = np.abs(before.astype(np.int16) - after)
    height, width = apart.shape[:2]
    rows, columns = np.arange(0, height, BLOCK), np.arange(0, width, BLOCK)
    sums = np.add.reduceat(np.add.reduceat(apart, rows, 0, np.int32), columns, 1)
    heights, widths = np.diff([*rows, height]), np.diff([*columns, width])
    return float((sums / (heights[:, None, None] * widths[:, None])).max())
