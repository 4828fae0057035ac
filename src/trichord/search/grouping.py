"""Hits by file: the best moment of each first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trichord.types import Hit
from trichord.types.arrays import Int

EACH = 5
"""Moments of a file in a group."""

Numbers = Int[np.ndarray, " _"]


@dataclass(frozen=True, slots=True)
class FileHits:
    """The hits of a file, best first."""

    file: str
    hits: tuple[Hit, ...]


def group_by_file(hits: Sequence[Hit], k: int, each: int = EACH) -> list[FileHits]:
    """Group hits by file, in the order of each file's best hit.

    Args:
        hits: Best first.
        k: The largest number of files.
        each: The largest number of moments of each.
    """
    by_file: dict[str, list[Hit]] = {}
    for hit in hits:
        by_file.setdefault(hit.moment.file, []).append(hit)
    return [FileHits(file, tuple(own[:each])) for file, own in list(by_file.items())[:k]]


def leading(files: Numbers, k: int, each: int = EACH) -> Numbers:
    """Places of the first `each` moments of the first `k` files.

    Args:
        files: The file of each moment, best moment first.
        k: How many files.
        each: How many moments of each.
    """
    _, first, code = np.unique(files, return_index=True, return_inverse=True)
    order = np.argsort(code, kind="stable")
    place = np.empty(len(files), np.int64)
    place[order] = np.arange(len(files)) - np.searchsorted(code[order], code[order])
    rank = np.argsort(np.argsort(first))
    return np.flatnonzero((rank[code] < k) & (place < each))
