"""Hits by file: the best moment of each first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trichord.types import Hit
from trichord.types.arrays import Int

EACH = 5
"""Moments of a file that are shown."""

Numbers = Int[np.ndarray, " _"]


@dataclass(frozen=True, slots=True)
class Group:
    """Found moments of a file, best first."""

    file: str
    hits: tuple[Hit, ...]


def group(hits: Sequence[Hit], k: int, each: int = EACH) -> list[Group]:
    """The files of hits in the order of their best one.

    Args:
        hits: Best first.
        k: How many files at most.
        each: How many moments of each at most.
    """
    by_file: dict[str, list[Hit]] = {}
    for hit in hits:
        by_file.setdefault(hit.moment.file, []).append(hit)
    return [Group(file, tuple(found[:each])) for file, found in list(by_file.items())[:k]]


def leading(files: Numbers, k: int, each: int = EACH) -> Numbers:
    """Places of the moments that groups are made of: of the first `k` files the first `each`.

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
