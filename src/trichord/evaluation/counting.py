"""How many wrong items score above a right one, of all queries and items, block by block.

What counts is the score in float64. Where scores are products of vectors, that takes more than twice
as long as in float32, and is needed for few of them: a block is multiplied in float32, whose error
has a bound, and only scores that lie within this bound of where they would count otherwise are made
again in float64. Where these are many (a collapsed model), the whole block is.

A block serves both ways: along its rows the items that beat a query's right one are counted, and
down its columns the queries that beat the right one of an item. Queries and items are read in the
order of their right scores, so that of most blocks few scores can matter either way, and one
comparison with a single number finds them.
"""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from trichord.evaluation.lines import Index, Lines, Places, spans
from trichord.evaluation.narrow import (
    TOLERANCE,
    Look,
    Narrow,
    Room,
    Seen,
    roomy,
    slack_of,
    together,
)
from trichord.evaluation.scores import Arranged, Products, Scores
from trichord.types.arrays import Bool, Float, Int

CHUNK = 2048
"""Queries, and items, scored at once: 16 MiB of scores in float32."""

STRETCH = 256
"""Rows of a block that are looked at together: they stay in a core's own cache for both ways."""


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
    what = _What(items, queries)
    if not isinstance(scores, Products) or (slack := slack_of(scores)) is None:
        return _Reading(scores, answers, score, what).through(None, chunk)
    order = _Order.of(answers, score, scores.shape[1])
    arranged = Arranged(scores, order.query, order.item)
    reading = _Reading(arranged, order.answers(answers), score[order.query], what)
    counted = reading.through(Narrow.of(arranged, slack), chunk)
    return Counted(score, order.restored(counted.items), order.restored(counted.queries))


@dataclass(frozen=True, slots=True)
class _Order:
    """Queries by the score of their right item, and items by the best such score they are part of.

    Attributes:
        query: Which one stands at each place.
        item: Likewise.
    """

    query: Index
    item: Index

    @classmethod
    def of(cls, answers: Index, score: Float[ndarray, " query"], items: int) -> "_Order":
        """The highest first; items that are right for no query last."""
        best = np.full(items, -np.inf)
        np.maximum.at(best, answers, score)
        return cls(np.argsort(-score, kind="stable"), np.argsort(-best, kind="stable"))

    def answers(self, answers: Index) -> Index:
        """At which place the right item stands, for the query at each place."""
        place = np.empty(len(self.item), np.int64)
        place[self.item] = np.arange(len(place))
        return place[answers[self.query]]

    def restored(self, wrong: Wrong) -> Wrong:
        """Counts of the queries at each place, in the queries' own order."""
        better, tied = np.empty_like(wrong.better), np.empty_like(wrong.tied)
        better[self.query], tied[self.query] = wrong.better, wrong.tied
        return Wrong(better, tied)


@dataclass(frozen=True, slots=True)
class _What:
    """Whether wrong items are counted, and whether the queries that an item is wrong for."""

    items: bool
    queries: bool


class _Tally:
    """What has been counted so far."""

    def __init__(self, queries: int) -> None:
        self.better = np.zeros(queries, np.int64)
        self.above = np.zeros(queries, np.int64)

    def wrong(self) -> Wrong:
        return Wrong(self.better, self.above - self.better)


class _Reading:
    """What the blocks that were looked at so far have shown."""

    def __init__(
        self,
        scores: Scores | Arranged,
        answers: Int[ndarray, " query"],
        score: Float[ndarray, " query"],
        what: _What,
    ) -> None:
        self.scores, self.answers, self.score, self.what = scores, answers, score, what
        self.across, self.down = _Tally(len(answers)), _Tally(len(answers))
        self._places = Places.of(answers)

    def through(self, narrow: Narrow | None, chunk: int) -> Counted:
        """All blocks, by products in float32 if there are any."""
        with roomy() as room:
            for rows in spans(len(self.answers), chunk):
                trusted = narrow
                for columns in spans(self.scores.shape[1], chunk):
                    block = _Block(self.scores, self.answers, self.score, rows, columns, room)
                    # Where one block leaves too much in doubt, the next one of these rows will.
                    trusted = self._look(block, trusted)
        return Counted(self.score, self.across.wrong(), self.down.wrong())

    def _look(self, block: "_Block", narrow: Narrow | None) -> Narrow | None:
        """Count in one more block; gives the products in float32 if they were trusted."""
        whole = Lines(np.arange(block.rows.start, block.rows.stop), columns=False)
        lines = [whole] if self.what.items else []
        lines += self._places.layers(block.columns) if self.what.queries else []
        if not lines:
            return narrow
        found = None if narrow is None else block.narrowly(lines, narrow)
        if found is None:
            narrow = None
            found = block.widely(lines)
        for one, (better, above) in zip(lines, found, strict=True):
            tally = self.down if one.columns else self.across
            tally.better[one.query] += better
            tally.above[one.query] += above
        return narrow


@dataclass(frozen=True, slots=True)
class _Block:
    """A stretch of queries against a stretch of items."""

    scores: Scores | Arranged
    answers: Int[ndarray, " query"]
    score: Float[ndarray, " query"]
    rows: slice
    columns: slice
    room: Room

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

    def narrowly(self, lines: list[Lines], narrow: Narrow) -> list[tuple[Index, Index]] | None:
        """The same by products in float32; None where too many scores are in doubt."""
        block = self._hidden(self.room.product(narrow, self.rows, self.columns))
        looks = [Look.of(one, self.score[one.query], narrow.slack) for one in lines]

        def look(rows: slice) -> list[Seen | None]:
            return together(looks, block[rows], rows, self.room)

        stretches = self.room.each(look, list(spans(len(block), STRETCH)))
        found: list[tuple[Index, Index]] = []
        for one, parts in zip(looks, zip(*stretches, strict=True), strict=True):
            seen = [part for part in parts if part is not None]
            if len(seen) < len(parts):
                return None
            found.append(self._settled(one, seen))
        return found

    def _settled(self, look: Look, seen: list[Seen]) -> tuple[Index, Index]:
        columns = look.lines.columns
        parts = [one.better for one in seen]
        sure: Index = np.sum(parts, axis=0) if columns else np.concatenate(parts)
        row = np.concatenate([one.row for one in seen])
        column = np.concatenate([one.column for one in seen])
        line = column if columns else row
        beats, ties = self._again(look.lines, row, column)
        above = sure + np.bincount(line[beats | ties], minlength=len(sure))
        return sure + np.bincount(line[beats], minlength=len(sure)), above

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
