"""The square of scores that a contrastive loss weighs, walked in tiles: only one is held at a time.

What a rank needs of the square are the rows and the columns that are its own: for the gradient of a
vector, all scores that it is in. One process owns all of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of the square: rows and columns, and whether each of the two is ours."""

    spans: tuple[slice, slice]
    ours: tuple[bool, bool]

    @property
    def diagonal(self) -> bool:
        """Whether it holds pairs; it is a square itself then, and they are its diagonal."""
        return self.spans[0] == self.spans[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """Scores of each left row with each right row; pair i is row i and column i."""

    size: int
    """Rows of all ranks."""
    ours: slice
    """Which of them are this rank's."""
    tile: int
    """Longest side of a tile."""
    half: bool = False
    """Only what lies above the diagonal: where left and right are the same, the rest mirrors it."""

    def tiles(self) -> Iterator[Tile]:
        """Those with a row or a column of ours, row by row."""
        spans = list(self._spans())
        for i, (rows, row_ours) in enumerate(spans):
            for columns, column_ours in spans[i if self.half else 0 :]:
                if row_ours or column_ours:
                    yield Tile((rows, columns), (row_ours, column_ours))

    def _spans(self) -> Iterator[tuple[slice, bool]]:
        """Rows cut so that none is longer than a tile, and each is of one owner."""
        # Cut at our first and last row: a tile is wholly ours or wholly not, in each of its sides.
        for start, end in pairwise((0, self.ours.start, self.ours.stop, self.size)):
            ours = self.ours.start <= start and end <= self.ours.stop
            for first in range(start, end, self.tile):
                yield slice(first, min(first + self.tile, end)), ours

    def scores(
        self,
        left: Float[Tensor, "row dim"],
        right: Float[Tensor, "row dim"],
        scale: Float[Tensor, ""],
    ) -> Iterator[tuple[Tile, Float[Tensor, "tile_row tile_column"]]]:
        """Each tile with its scores, which the next tile overwrites.

        Args:
            left: Of all ranks.
            right: Of all ranks.
            scale: Inverse temperature.
        """
        room = self.room(left)
        for span, tiles in groupby(self.tiles(), key=lambda tile: tile.spans[0]):
            # Scaled here, rows cost their number times `dim`;
            # each tile's scores would cost its square.
            rows = left[span] * scale
            for tile in tiles:
                columns = right[tile.spans[1]]
                scores = shaped(room, len(rows), len(columns))
                # Autocast leaves products alone whose place is given: they keep their precision.
                yield tile, torch.mm(rows, columns.T, out=scores)

    def room(self, like: Tensor) -> Float[Tensor, " place"]:
        """Memory for the largest tile."""
        return like.new_empty(min(self.tile, self.size) ** 2)


def shaped(room: Float[Tensor, " place"], rows: int, columns: int) -> Float[Tensor, "row column"]:
    """The beginning of some memory as a matrix."""
    return room[: rows * columns].view(rows, columns)
