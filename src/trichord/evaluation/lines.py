"""Rows and columns of a block of scores, and how what is true in each of them is counted."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from trichord.types.arrays import Bool, Float, Int

WORD, BYTES = 8, 128
"""Bytes that are added at once, and how often: beyond 255 times one of them might be full."""

Index = Int[ndarray, " _"]
Mask = Bool[ndarray, "_row _column"]


def spans(count: int, chunk: int) -> Iterator[slice]:
    """Stretches of so many rows."""
    for start in range(0, count, chunk):
        yield slice(start, min(start + chunk, count))


@dataclass(frozen=True, slots=True)
class Lines:
    """Rows or columns of a block, in each of which the scores above a threshold are counted.

    Attributes:
        query: Whose right item gives each line its threshold.
        columns: Whether they are columns.
        place: Which ones of the block; None: all of them in their order.
    """

    query: Index
    columns: bool
    place: Index | None = None

    def of(self, block: Float[ndarray, "_row _column"]) -> Float[ndarray, "_row _column"]:
        """These lines of a block, still rows or columns."""
        if self.place is None:
            return block
        return block[:, self.place] if self.columns else block[self.place]

    def beside(self, limit: Float[ndarray, " line"]) -> Float[ndarray, "_row _column"]:
        """A number for each line, as it is compared with a block of them."""
        return limit[None] if self.columns else limit[:, None]

    def count(self, mask: Mask) -> Index:
        """How many are true in each line; eight bytes at once, six times as fast as one by one."""
        words = mask.view(np.uint64)
        total = np.zeros(mask.shape[1] if self.columns else len(mask), np.int64)
        for some in spans(words.shape[0 if self.columns else 1], BYTES):
            if self.columns:
                total += words[some].sum(axis=0).view(np.uint8)
            else:
                sums = np.ascontiguousarray(words[:, some].sum(axis=1)).view(np.uint8)
                total += sums.reshape(-1, WORD).sum(axis=1, dtype=np.int64)
        return total[: len(self.query)] if self.columns else total

    def numbered(self, column: Index, width: int) -> tuple[slice | Bool[ndarray, " _"], Index]:
        """Which of some columns of a block belong to these lines, and as what they are counted there.

        Of rows all columns do, and keep their number.
        """
        if self.place is None:
            return slice(None), column
        number = np.full(width, -1)
        number[self.place] = np.arange(len(self.place))
        number = number[column]
        ours = number >= 0
        return ours, number[ours]

    def placed(self, row: Index, column: Index) -> tuple[Index, Index]:
        """Where in the block a row and a column of these lines stand."""
        return (row, column) if self.place is None else (row, self.place[column])


@dataclass(frozen=True, slots=True)
class Places:
    """Queries in the order of their right items."""

    query: Index
    item: Index
    nth: Index
    """How many queries with the same item come before."""

    @classmethod
    def of(cls, answers: Int[ndarray, " query"]) -> "Places":
        """The queries of these right items."""
        query = np.argsort(answers, kind="stable")
        item = answers[query]
        return cls(query, item, np.arange(len(item)) - np.searchsorted(item, item))

    def layers(self, columns: slice) -> list[Lines]:
        """The first query of each column's item, the second, and so on: a column once in each."""
        part = slice(*np.searchsorted(self.item, (columns.start, columns.stop)))
        query, place, nth = self.query[part], self.item[part] - columns.start, self.nth[part]
        found: list[Lines] = []
        for number in range(int(nth.max(initial=-1)) + 1):
            chosen = nth == number
            whole = np.count_nonzero(chosen) == columns.stop - columns.start
            found.append(Lines(query[chosen], True, None if whole else place[chosen]))
        return found
