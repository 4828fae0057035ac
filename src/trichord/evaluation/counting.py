"""How many wrong items score above a right one, of all queries and items, block by block.

What counts is the score in float64. Where scores are products of vectors, that takes more than twice
as long as in float32, and is needed for few of them: a block is multiplied in float32, whose error
has a bound, and only scores that lie within this bound of where they would count otherwise are made
again in float64. Where these are many (a collapsed model), the whole block is.

A block serves both ways: along its rows the items that beat a query's right one are counted, and
down its columns the queries that beat the right one of an item.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from numpy import ndarray

from trichord.evaluation.scores import Products, Scores

TOLERANCE = 1e-6
"""Scores closer than this are tied: towers that run in float32 do not tell them apart."""

CHUNK = 2048
"""Queries, and items, scored at once: 16 MiB of scores in float32."""

FEW_ROWS, FEW_COLUMNS = 1 / 4, 1 / 16
"""Share of lines up to which it is quicker to gather them for a second look than to look at all."""
DOUBTFUL = 1 / 64
"""Share of a block that is scored again pair by pair; beyond it, the block is quicker as a whole."""
ROUND = 2.0**-24
"""How far float32 is from a number, relative to it."""
LENGTHS = (1e-6, 1e6)
"""Of vectors that are multiplied in float32: squares of their numbers neither vanish nor overflow."""
WORD, BYTES = 8, 128
"""Bytes that are added at once, and how often: beyond 255 times one of them might be full."""

Index = Int[ndarray, " _"]
Mask = Bool[ndarray, "_row _column"]


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
    score = scores.pairs(np.arange(len(answers)), answers)
    across, down = _Tally(len(answers)), _Tally(len(answers))
    narrow = _Narrow.of(scores)
    room = _Room()
    places = _Places.of(answers)
    for rows in spans(len(answers), chunk):
        trusted = narrow
        for columns in spans(scores.shape[1], chunk):
            lines = [_Lines(np.arange(rows.start, rows.stop), columns=False)] if items else []
            lines += places.layers(columns) if queries else []
            block = _Block(scores, answers, score, rows, columns, room)
            found = None if trusted is None else block.narrowly(lines, trusted)
            if found is None:
                trusted = None  # where one block has many alike, the next one will
                found = block.widely(lines)
            for one, (better, above) in zip(lines, found, strict=True):
                tally = down if one.columns else across
                tally.better[one.query] += better
                tally.above[one.query] += above
    return Counted(score, across.wrong(), down.wrong())


def spans(count: int, chunk: int) -> Iterator[slice]:
    """Stretches of so many rows."""
    for start in range(0, count, chunk):
        yield slice(start, min(start + chunk, count))


class _Tally:
    """What has been counted so far."""

    def __init__(self, queries: int) -> None:
        self.better = np.zeros(queries, np.int64)
        self.above = np.zeros(queries, np.int64)

    def wrong(self) -> Wrong:
        return Wrong(self.better, self.above - self.better)


@dataclass(frozen=True, slots=True)
class _Lines:
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

    def count(self, mask: "Mask") -> Index:
        """How many are true in each line; eight bytes at once, six times as fast as one by one."""
        words = mask.view(np.uint64)
        total = np.zeros(mask.shape[1] if self.columns else len(mask), np.int64)
        for some in spans(words.shape[0 if self.columns else 1], BYTES):
            if self.columns:
                total += words[some].sum(axis=0).view(np.uint8)
            else:
                sums = np.ascontiguousarray(words[:, some].sum(axis=1)).view(np.uint8)
                total += sums.reshape(-1, WORD).sum(axis=1, dtype=np.int64)
        return total[: len(self.query)]

    def placed(self, row: Index, column: Index) -> tuple[Index, Index]:
        """Where in the block a row and a column of these lines stand."""
        if self.place is None:
            return row, column
        return (row, self.place[column]) if self.columns else (self.place[row], column)

    def take(self, chosen: Index) -> "_Lines":
        """Some of these lines."""
        place = chosen if self.place is None else self.place[chosen]
        return _Lines(self.query[chosen], self.columns, place)


@dataclass(frozen=True, slots=True)
class _Places:
    """Queries by their right item."""

    query: Index
    item: Index
    nth: Index
    """How many queries with the same item come before."""

    @classmethod
    def of(cls, answers: Int[ndarray, " query"]) -> "_Places":
        query = np.argsort(answers, kind="stable")
        item = answers[query]
        return cls(query, item, np.arange(len(item)) - np.searchsorted(item, item))

    def layers(self, columns: slice) -> list[_Lines]:
        """The first query of each column's item, the second, and so on: a column once in each."""
        part = slice(*np.searchsorted(self.item, (columns.start, columns.stop)))
        query, place, nth = self.query[part], self.item[part] - columns.start, self.nth[part]
        found: list[_Lines] = []
        for number in range(int(nth.max(initial=-1)) + 1):
            chosen = nth == number
            whole = np.count_nonzero(chosen) == columns.stop - columns.start
            found.append(_Lines(query[chosen], True, None if whole else place[chosen]))
        return found


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


@dataclass(frozen=True, slots=True)
class _Block:
    """A stretch of queries against a stretch of items."""

    scores: Scores
    answers: Int[ndarray, " query"]
    score: Float[ndarray, " query"]
    rows: slice
    columns: slice
    room: "_Room"

    def widely(self, lines: list[_Lines]) -> list[tuple[Index, Index]]:
        """How many of each line are better than its right one, and how many better or the same."""
        block = self._hidden(self.scores.block(self.rows, self.columns))
        found: list[tuple[Index, Index]] = []
        for one in lines:
            right = self.score[one.query]
            part = one.of(block)
            same = np.nextafter(right - TOLERANCE, -np.inf)
            better = one.count(self._mask(0, part, one, right + TOLERANCE))
            found.append((better, one.count(self._mask(0, part, one, same))))
        return found

    def narrowly(self, lines: list[_Lines], narrow: _Narrow) -> list[tuple[Index, Index]] | None:
        """The same by products in float32; None where too many scores are in doubt."""
        block = self._hidden(self.room.product(narrow, self.rows, self.columns))
        found: list[tuple[Index, Index]] = []
        for one in lines:
            counted = self._settled(one, block, narrow.slack)
            if counted is None:
                return None
            found.append(counted)
        return found

    def _settled(
        self, lines: _Lines, block: Float32[ndarray, "row column"], slack: float
    ) -> tuple[Index, Index] | None:
        high, low = _limits(self.score[lines.query], slack)
        part = lines.of(block)
        maybe = self._mask(0, part, lines, low)
        above = lines.count(maybe)
        better = np.zeros_like(above)
        some = np.flatnonzero(above)  # with a good model, few
        if len(some) <= (FEW_COLUMNS if lines.columns else FEW_ROWS) * len(above):
            lines = lines.take(some)
            part = lines.of(block)
            maybe = self._mask(0, part, lines, low[some])
        else:
            some = np.arange(len(above))
        surely = self._mask(1, part, lines, high[some])
        better[some] = lines.count(surely)
        if (above - better).sum() > DOUBTFUL * block.size:
            return None
        row, column = _differing(maybe, surely)
        line = some[column if lines.columns else row]
        beats, ties = self._again(lines, row, column)
        size = len(above)
        above = better + np.bincount(line[beats | ties], minlength=size)
        return better + np.bincount(line[beats], minlength=size), above

    def _again(
        self, lines: _Lines, row: Index, column: Index
    ) -> tuple[Bool[ndarray, " _"], Bool[ndarray, " _"]]:
        """Which of some scores of lines beat the line's right one in float64, and which tie with it."""
        right = self.score[lines.query[column if lines.columns else row]]
        row, column = lines.placed(row, column)
        exact = self.scores.pairs(row + self.rows.start, column + self.columns.start)
        beats = exact > right + TOLERANCE
        return beats, (exact >= right - TOLERANCE) & ~beats

    def _mask(
        self,
        number: int,
        part: Float[ndarray, "_row _column"],
        lines: _Lines,
        limit: Float[ndarray, " line"],
    ) -> Mask:
        """Which scores of each line are above its limit."""
        rows, width = part.shape
        mask = self.room.mask(number, rows, width)
        np.greater(part, lines.beside(limit), out=mask[:, :width])
        return mask

    def _hidden(self, block: Float[ndarray, "row column"]) -> Float[ndarray, "row column"]:
        """The block without the right items: of its queries, and so of its items too."""
        right = self.answers[self.rows] - self.columns.start
        here = np.flatnonzero((right >= 0) & (right < block.shape[1]))
        block[here, right[here]] = -np.inf
        return block


def _limits(
    right: Float[ndarray, " line"], slack: float
) -> tuple[Float32[ndarray, " line"], Float32[ndarray, " line"]]:
    """Above which a product in float32 is surely better, and not above which it is surely worse."""
    high = (right + (TOLERANCE + slack)).astype(np.float32)
    low = (right - (TOLERANCE + slack)).astype(np.float32)
    # Away from one another, by as much as the numbers were rounded, and by one for "at least".
    down = np.float32(-np.inf)
    return np.nextafter(high, -down), np.nextafter(np.nextafter(low, down), down)


def _differing(one: Mask, other: Mask) -> tuple[Index, Index]:
    """Rows and columns where two masks differ."""
    words = (one.view(np.uint64) ^ other.view(np.uint64)).ravel()
    word = np.flatnonzero(words != 0)  # of truth values, three times as fast as of numbers
    nth, byte = np.nonzero(words[word].view(np.uint8).reshape(-1, WORD))
    row, column = np.divmod(word[nth] * WORD + byte, one.shape[1])
    return row, column


class _Room:
    """Memory that every block uses again: the system takes as long to give it as a look at it does."""

    def __init__(self) -> None:
        self._products = np.empty(0, np.float32)
        self._masks = [np.empty(0, np.bool_), np.empty(0, np.bool_)]

    def product(
        self, narrow: _Narrow, rows: slice, columns: slice
    ) -> Float32[ndarray, "row column"]:
        """A block of products, until the next one."""
        queries, gallery = narrow.queries[rows], narrow.gallery[columns]
        size = len(queries) * len(gallery)
        if len(self._products) < size:
            self._products = np.empty(size, np.float32)
        block = self._products[:size].reshape(len(queries), len(gallery))
        return np.matmul(queries, gallery.T, out=block)

    def mask(self, number: int, rows: int, width: int) -> Mask:
        """Room for a mask, its columns filled up to whole words with what counts not."""
        full = width + -width % WORD
        if len(self._masks[number]) < rows * full:
            self._masks[number] = np.empty(rows * full, np.bool_)
        mask = self._masks[number][: rows * full].reshape(rows, full)
        mask[:, width:] = False
        return mask
