"""Which files of a collection are there: looked at when they come up as hits."""

from collections.abc import Iterable, Sequence

import numpy as np

from trichord.search.calibration import evenly
from trichord.types import Hit
from trichord.types.arrays import Bool, Int
from trichord.types.files import exists

SAMPLE = 32
"""Files that are looked at to tell whether this machine has the library."""


def missing_files(hits: Iterable[Hit]) -> set[str]:
    """The files of hits that are not there."""
    files = {one.moment.file for hit in hits for one in (hit, *hit.more)}
    return {file for file in files if not exists(file)}


class Presence:
    """Which files are there.

    A collection may be searched where its files are not, such as a portable one. If a sample of the files
    has none, all count as present.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files

    def of(self, files: Int[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
        """Whether each of some files, by index, is there; each is looked at once."""
        distinct, places = np.unique(files, return_inverse=True)
        indices: list[int] = distinct.tolist()
        there = np.array([exists(self._files[i]) for i in indices], bool)[places]
        if not there.any() and not self.library():
            return np.ones(len(files), bool)
        return there

    def library(self) -> bool:
        """Whether any of a sample of the files is there."""
        sample: list[int] = evenly(len(self._files), SAMPLE).tolist()
        return any(exists(self._files[i]) for i in sample)
