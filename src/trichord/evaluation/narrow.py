"""Products in float32, how far off they may be, and what of a block of them is in doubt."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import local
from typing import TypeVar

import numpy as np
from numpy import ndarray

from trichord.evaluation.lines import WORD, Index, Lines, Mask, spans
from trichord.evaluation.scores import Arranged, Products
from trichord.types.arrays import Float, Float32
from trichord.types.cores import allotted

T = TypeVar("T")

TOLERANCE = 1e-6
"""Scores closer than this are tied: towers that run in float32 do not tell them apart."""

COPIED = 2048
"""Vectors made narrow at once."""
FEW = 1 / 64
"""Share of scores up to which a second look is quicker one by one than at all of them."""
SAMPLED = 16
"""One row in so many tells how many scores are above a limit, before all are compared with it."""
DOUBTFUL = 1 / 64
"""Share of a block that is scored again pair by pair; beyond it, the block is quicker as a whole."""
ROUND = 2.0**-24
"""How far float32 is from a number, relative to it."""
LENGTHS = (1e-6, 1e6)
"""Of vectors that are multiplied in float32: squares of their numbers neither vanish nor overflow."""


@dataclass(frozen=True, slots=True)
class Narrow:
    """Products of vectors in float32, and by how much they may be wrong."""

    queries: Float32[ndarray, "query dim"]
    gallery: Float32[ndarray, "item dim"]
    slack: float

    @classmethod
    def of(cls, scores: Arranged, slack: float) -> "Narrow":
        """The products of these vectors."""
        products = scores.products
        return cls(
            _narrowed(products.queries, scores.query),
            _narrowed(products.gallery, scores.item),
            slack,
        )


def _narrowed(vectors: Float[ndarray, "row dim"], order: Index) -> Float32[ndarray, "row dim"]:
    """In another order, without a copy in float64."""
    narrow = np.empty(vectors.shape, np.float32)
    for rows in spans(len(order), COPIED):
        narrow[rows] = vectors[order[rows]]
    return narrow


def slack_of(scores: Products) -> float | None:
    """How far products in float32 may be off.

    None where there are none, or of vectors so long or short that they would overflow.
    """
    if not all(scores.shape):
        return None
    longest = 1.0
    for vectors in (scores.queries, scores.gallery):
        length = np.sqrt(np.einsum("rd,rd->r", vectors, vectors).max())
        if not LENGTHS[0] <= length <= LENGTHS[1]:
            return None
        longest *= float(length)
    return error_bound(scores.queries.shape[1]) * longest


def error_bound(dim: int) -> float:
    """How far an inner product in float32 may be from the true one, for vectors of length 1.

    Either vector is rounded, 2u + u² by Cauchy and Schwarz, and `dim` products are added in any
    order, fused or not: γ = dim·u / (1 - dim·u) (Higham, Accuracy and Stability of Numerical
    Algorithms, 2nd ed., section 3.1). The last term stands for numbers too small for float32.
    """
    if dim * ROUND >= 0.5:
        return np.inf
    added = dim * ROUND / (1 - dim * ROUND)
    return added * (1 + ROUND) ** 2 + 2 * ROUND + ROUND**2 + dim * 1e-30


@dataclass(frozen=True, slots=True)
class Look:
    """Between which limits a product in float32 leaves in doubt where it stands to a line's right one.

    Attributes:
        lines: Of the block.
        high: Above which a product is surely better, for each line.
        low: Not above which it is surely worse.
    """

    lines: Lines
    high: Float32[ndarray, " line"]
    low: Float32[ndarray, " line"]

    @classmethod
    def of(cls, lines: Lines, right: Float[ndarray, " line"], slack: float) -> "Look":
        """The limits, away from one another, by as much as numbers were rounded."""
        high = (right + (TOLERANCE + slack)).astype(np.float32)
        low = (right - (TOLERANCE + slack)).astype(np.float32)
        down = np.float32(-np.inf)
        low = np.nextafter(np.nextafter(low, down), down)  # once more for "at least"
        return cls(lines, np.nextafter(high, -down), low)

    def here(self, rows: slice) -> slice:
        """Which of the lines some rows of the block belong to."""
        return slice(None) if self.lines.columns else rows

    def among(
        self, score: Float32[ndarray, " some"], row: Index, column: Index, rows: slice
    ) -> "Seen":
        """What some rows of the block show, of which no other scores than these can matter.

        Args:
            score: Products in float32.
            row: Where they stand, counted from the first of these rows.
            column: Where they stand, counted as the lines are where these are columns.
            rows: Of the block.
        """
        line = column if self.lines.columns else row
        high, low = self.high[self.here(rows)], self.low[self.here(rows)]
        surely = score > high[line]
        between = (score > low[line]) & ~surely
        better = np.bincount(line[surely], minlength=len(high))
        return Seen(better, row[between] + rows.start, column[between])

    def at(
        self, stretch: Float32[ndarray, "_row _column"], rows: slice, room: "Room"
    ) -> "Seen | None":
        """What some rows of the block show; None where too much of it is in doubt."""
        here = self.here(rows)
        part, high, low = self.lines.of(stretch), self.high[here], self.low[here]
        maybe = room.above(0, part, self.lines.beside(low))
        if np.count_nonzero(maybe) <= FEW * maybe.size:
            row, column = _places(maybe)
            return self.among(part[row, column], row, column, rows)
        surely = room.above(1, part, self.lines.beside(high))
        better = self.lines.count(surely)
        between = self.lines.count(maybe) - better
        if between.sum() > DOUBTFUL * part.size:
            return None
        # Few lines have any: looking for them in all would take as long as to count.
        some = np.flatnonzero(between)
        if self.lines.columns:
            row, column = _places(maybe[:, some] ^ surely[:, some])
            return Seen(better, row + rows.start, some[column])
        row, column = _places(maybe[some] ^ surely[some])
        return Seen(better, some[row] + rows.start, column)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at some rows of a block shows.

    Attributes:
        better: How many of each line surely are.
        row: Of the block, of what is in doubt.
        column: Likewise.
    """

    better: Index
    row: Index
    column: Index


def together(
    looks: list[Look], stretch: Float32[ndarray, "_row _column"], rows: slice, room: "Room"
) -> list[Seen | None]:
    """What some rows of the block show each look; at once where few scores are above any line's limit."""
    limits = [one.low[one.here(rows)] for one in looks]
    least = np.array([[min(low.min(initial=np.inf) for low in limits)]], np.float32)
    if np.count_nonzero(stretch[::SAMPLED] > least) * SAMPLED > FEW * stretch.size:
        return [one.at(stretch, rows, room) for one in looks]
    row, column = _places(room.above(0, stretch, least))
    score = stretch[row, column]
    seen: list[Seen | None] = []
    for one in looks:
        ours, place = one.lines.numbered(column, stretch.shape[1])
        seen.append(one.among(score[ours], row[ours], place, rows))
    return seen


def _places(mask: Mask) -> tuple[Index, Index]:
    """Rows and columns of what is true; by far quicker than of a mask in two dimensions."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


class _Masks(local):
    """Two masks of each thread's own."""

    def __init__(self) -> None:
        self.flat = [np.empty(0, np.bool_), np.empty(0, np.bool_)]


class Room:
    """Memory that every block uses again, and the threads that look at it.

    The system takes as long to give memory as a look at it does.
    """

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._product = np.empty(0, np.float32)
        self._masks = _Masks()
        self._threads = threads

    def each(self, look: Callable[[slice], T], stretches: list[slice]) -> list[T]:
        """What is seen of each stretch; several are looked at at once."""
        if len(stretches) == 1 or allotted() == 1:
            return [look(rows) for rows in stretches]
        return list(self._threads.map(look, stretches))

    def product(
        self, narrow: Narrow, rows: slice, columns: slice
    ) -> Float32[ndarray, "row column"]:
        """A block of products, until the next one."""
        queries, gallery = narrow.queries[rows], narrow.gallery[columns]
        size = len(queries) * len(gallery)
        if len(self._product) < size:
            self._product = np.empty(size, np.float32)
        block = self._product[:size].reshape(len(queries), len(gallery))
        return np.matmul(queries, gallery.T, out=block)

    def above(
        self,
        number: int,
        part: Float[ndarray, "row column"],
        limit: Float[ndarray, "_row _column"],
    ) -> Mask:
        """Which scores are above their limit; columns are filled up to whole words with false."""
        rows, width = part.shape
        full = width + -width % WORD
        masks = self._masks.flat
        if len(masks[number]) < rows * full:
            masks[number] = np.empty(rows * full, np.bool_)
        mask = masks[number][: rows * full].reshape(rows, full)
        mask[:, width:] = False
        np.greater(part, limit, out=mask[:, :width])
        return mask


@contextmanager
def roomy() -> Generator[Room]:
    """A room whose threads end with it."""
    with ThreadPoolExecutor(allotted(), "trichord-counting") as threads:
        yield Room(threads)
