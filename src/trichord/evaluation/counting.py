"""How many wrong items score above a right one, of all queries and items, block by block.

What counts is the score in float64. Where scores are products of vectors, that takes more than twice
as long as in float32, and is needed for few of them: a block is multiplied in float32, whose error
has a bound, and only scores that lie within this bound of where they would count otherwise are made
again in float64. Where these are many (a collapsed model), the whole block is.

A block serves both ways: along its rows the items that beat a query's right one are counted, and
down its columns the queries that beat the right one of an item.
"""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from trichord.evaluation.lines import WORD, Index, Lines, Mask, Places, spans
from trichord.evaluation.scores import Products, Scores
from trichord.types.arrays import Bool, Float, Float32, Int

TOLERANCE = 1e-6
"""Scores closer than this are tied: towers that run in float32 do not tell them apart."""

CHUNK = 2048
"""Queries, and items, scored at once: 16 MiB of scores in float32."""

STRETCH = 256
"""Rows of a block that are looked at together: they stay in a core's own cache for both ways."""
FEW = 1 / 256
"""Share of scores up to which a second look is quicker one by one than at all of them."""
DOUBTFUL = 1 / 64
"""Share of a block that is scored again pair by pair; beyond it, the block is quicker as a whole."""
ROUND = 2.0**-24
"""How far float32 is from a number, relative to it."""
LENGTHS = (1e-6, 1e6)
"""Of vectors that are multiplied in float32: squares of their numbers neither vanish nor overflow."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """For each query and its right item: how many wrong ones score better, and how many the same."""

    better: Int[ndarray, " query"]
    tied: Int[ndarray, " query"]


@dataclass(frozen=True, slots=True)
class Counted:
    """The score of each query's right item, and what stands beside it both ways.

    Attributes:
        score: Of each query with its right item.
        items: That are wrong for the query.
        queries: That the item is wrong for.
    """

    score: Float[ndarray, " query"]
    items: Wrong
    queries: Wrong


def count_wrong(
    scores: Scores,
    answers: Int[ndarray, " query"],
    *,
    items: bool = True,
    queries: bool = True,
    chunk: int = CHUNK,
) -> Counted:
    """Count the items and the queries that beat or tie each query with its right item.

    Args:
        scores: Of queries against items.
        answers: The one right item of each query; an item may be right for several.
        items: Whether to count items; zero else.
        queries: Whether to count queries; zero else.
        chunk: Queries and items scored at once; changes memory, never the result.
    """
    reading = _Reading(scores, answers, items=items, queries=queries)
    narrow = _Narrow.of(scores)
    for rows in spans(len(answers), chunk):
        trusted = True
        for columns in spans(scores.shape[1], chunk):
            # Where one block leaves too much in doubt, the next one of these rows will.
            trusted = reading.look(rows, columns, narrow if trusted else None)
    return Counted(reading.score, reading.across.wrong(), reading.down.wrong())


class _Tally:
    """What has been counted so far."""

    def __init__(self, queries: int) -> None:
        self.better = np.zeros(queries, np.int64)
        self.above = np.zeros(queries, np.int64)

    def wrong(self) -> Wrong:
        return Wrong(self.better, self.above - self.better)


@dataclass(frozen=True, slots=True)
class _Narrow:
    """Products of vectors in float32, and by how much they may be wrong."""

    queries: Float32[ndarray, "query dim"]
    gallery: Float32[ndarray, "item dim"]
    slack: float

    @classmethod
    def of(cls, scores: Scores) -> "_Narrow | None":
        """The products; None where scores are none, or vectors so long or short that they overflow."""
        if not isinstance(scores, Products) or not all(scores.shape):
            return None
        longest = 1.0
        for vectors in (scores.queries, scores.gallery):
            length = np.sqrt(np.einsum("rd,rd->r", vectors, vectors).max())
            if not LENGTHS[0] <= length <= LENGTHS[1]:
                return None
            longest *= float(length)
        narrow = (one.astype(np.float32) for one in (scores.queries, scores.gallery))
        return cls(*narrow, slack=error_bound(scores.queries.shape[1]) * longest)


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


class _Reading:
    """What the blocks that were looked at so far have shown."""

    def __init__(
        self, scores: Scores, answers: Int[ndarray, " query"], *, items: bool, queries: bool
    ) -> None:
        self.scores, self.answers = scores, answers
        self.score = scores.pairs(np.arange(len(answers)), answers)
        self.items, self.queries = items, queries
        self.across, self.down = _Tally(len(answers)), _Tally(len(answers))
        self.room = _Room()
        self._places = Places.of(answers)

    def look(self, rows: slice, columns: slice, narrow: _Narrow | None) -> bool:
        """Count in one more block, by products in float32 if there are any; whether they were trusted."""
        lines = [Lines(np.arange(rows.start, rows.stop), columns=False)] if self.items else []
        lines += self._places.layers(columns) if self.queries else []
        block = _Block(self.scores, self.answers, self.score, rows, columns, self.room)
        found = None if narrow is None else block.narrowly(lines, narrow)
        trusted = found is not None
        if found is None:
            found = block.widely(lines)
        for one, (better, above) in zip(lines, found, strict=True):
            tally = self.down if one.columns else self.across
            tally.better[one.query] += better
            tally.above[one.query] += above
        return trusted


@dataclass(frozen=True, slots=True)
class _Block:
    """A stretch of queries against a stretch of items."""

    scores: Scores
    answers: Int[ndarray, " query"]
    score: Float[ndarray, " query"]
    rows: slice
    columns: slice
    room: "_Room"

    def widely(self, lines: list[Lines]) -> list[tuple[Index, Index]]:
        """How many of each line are better than its right one, and how many better or the same."""
        block = self._hidden(self.scores.block(self.rows, self.columns))
        found: list[tuple[Index, Index]] = []
        for one in lines:
            right = self.score[one.query]
            part = one.of(block)
            same = np.nextafter(right - TOLERANCE, -np.inf)
            better = one.count(self.room.above(0, part, one.beside(right + TOLERANCE)))
            found.append((better, one.count(self.room.above(0, part, one.beside(same)))))
        return found

    def narrowly(self, lines: list[Lines], narrow: _Narrow) -> list[tuple[Index, Index]] | None:
        """The same by products in float32; None where too many scores are in doubt."""
        block = self._hidden(self.room.product(narrow, self.rows, self.columns))
        looks = [_Look.of(one, self.score[one.query], narrow.slack) for one in lines]
        for rows in spans(len(block), STRETCH):
            for look in looks:
                if not look.compare(block[rows], rows, self.room):
                    return None
        return [self._settled(look) for look in looks]

    def _settled(self, look: "_Look") -> tuple[Index, Index]:
        row, column = (np.concatenate(places) for places in zip(*look.doubtful, strict=True))
        line = column if look.lines.columns else row
        beats, ties = self._again(look.lines, row, column)
        size = len(look.better)
        above = look.better + np.bincount(line[beats | ties], minlength=size)
        return look.better + np.bincount(line[beats], minlength=size), above

    def _again(
        self, lines: Lines, row: Index, column: Index
    ) -> tuple[Bool[ndarray, " _"], Bool[ndarray, " _"]]:
        """Which of some scores of lines beat the line's right one in float64, and which tie with it."""
        right = self.score[lines.query[column if lines.columns else row]]
        row, column = lines.placed(row, column)
        exact = self.scores.pairs(row + self.rows.start, column + self.columns.start)
        beats = exact > right + TOLERANCE
        return beats, (exact >= right - TOLERANCE) & ~beats

    def _hidden(self, block: Float[ndarray, "row column"]) -> Float[ndarray, "row column"]:
        """The block without the right items: of its queries, and so of its items too."""
        right = self.answers[self.rows] - self.columns.start
        here = np.flatnonzero((right >= 0) & (right < block.shape[1]))
        block[here, right[here]] = -np.inf
        return block


@dataclass(frozen=True, slots=True)
class _Look:
    """What products in float32 say of some lines of a block.

    Attributes:
        lines: Of the block.
        high: Above which a product is surely better, for each line.
        low: Not above which it is surely worse.
        better: How many of each line surely are.
        doubtful: Rows and columns of those between, by stretches of rows.
    """

    lines: Lines
    high: Float32[ndarray, " line"]
    low: Float32[ndarray, " line"]
    better: Index
    doubtful: list[tuple[Index, Index]]

    @classmethod
    def of(cls, lines: Lines, right: Float[ndarray, " line"], slack: float) -> "_Look":
        """Nothing yet, but the limits: away from one another, by as much as numbers were rounded."""
        high = (right + (TOLERANCE + slack)).astype(np.float32)
        low = (right - (TOLERANCE + slack)).astype(np.float32)
        down = np.float32(-np.inf)
        low = np.nextafter(np.nextafter(low, down), down)  # once more for "at least"
        return cls(lines, np.nextafter(high, -down), low, np.zeros(len(right), np.int64), [])

    def compare(
        self, stretch: Float32[ndarray, "_row _column"], rows: slice, room: "_Room"
    ) -> bool:
        """Count what is surely better in some rows of the block; whether few enough are in doubt."""
        here = slice(None) if self.lines.columns else rows
        part = self.lines.of(stretch)
        high, low = self.lines.beside(self.high[here]), self.lines.beside(self.low[here])
        maybe = room.above(0, part, low)
        if np.count_nonzero(maybe) <= FEW * maybe.size:
            row, column = _places(maybe)
            line = column if self.lines.columns else row
            surely = part[row, column] > high.ravel()[line]
            self.better[here] += np.bincount(line[surely], minlength=high.size)
            row, column = row[~surely], column[~surely]
        else:
            surely = room.above(1, part, high)
            self.better[here] += self.lines.count(surely)
            between = np.logical_xor(maybe, surely, out=maybe)
            if np.count_nonzero(between) > DOUBTFUL * part.size:
                return False
            row, column = _places(between)
        self.doubtful.append((row + rows.start, column))
        return True


def _places(mask: Mask) -> tuple[Index, Index]:
    """Rows and columns of what is true; by far quicker than of a mask in two dimensions."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


class _Room:
    """Memory that every block uses again: the system takes as long to give it as a look at it does."""

    def __init__(self) -> None:
        self._product = np.empty(0, np.float32)
        self._masks = [np.empty(0, np.bool_), np.empty(0, np.bool_)]

    def product(
        self, narrow: _Narrow, rows: slice, columns: slice
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
        if len(self._masks[number]) < rows * full:
            self._masks[number] = np.empty(rows * full, np.bool_)
        mask = self._masks[number][: rows * full].reshape(rows, full)
        mask[:, width:] = False
        np.greater(part, limit, out=mask[:, :width])
        return mask
