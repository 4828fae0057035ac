"""The matrix of scores of a contrastive loss in tiles, of which one is in memory at a time.

A rank needs its own rows and columns of the matrix: all scores of each of its vectors.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of the matrix: rows and columns, and whether each of the two is this rank's."""

    spans: tuple[slice, slice]
    ours: tuple[bool, bool]

    @property
    def diagonal(self) -> bool:
        """Whether it contains pairs; then it is square, and they are its diagonal."""
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
    """Only the part above the diagonal: if left and right are equal, the matrix is symmetric."""

    def tiles(self) -> Iterator[Tile]:
        """Tiles with rows or columns of this rank, row by row."""
        spans = list(self._spans())
        for i, (rows, row_ours) in enumerate(spans):
            for columns, column_ours in spans[i if self.half else 0 :]:
                if row_ours or column_ours:
                    yield Tile((rows, columns), (row_ours, column_ours))

    def _spans(self) -> Iterator[tuple[slice, bool]]:
        """Spans of rows, none longer than a tile, each of one owner."""
        # Cut at our first and last row, so that each side of a tile is entirely ours or not at all.
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
        """Each tile with its scores, in memory that the next tile reuses.

        Args:
            left: Of all ranks.
            right: Of all ranks.
            scale: Inverse temperature.
        """
        room = self.room(left)
        for span, tiles in groupby(self.tiles(), key=lambda tile: tile.spans[0]):
            # Scaling the rows takes rows x `dim` products;
            # scaling the scores would take rows x rows.
            rows = left[span] * scale
            for tile in tiles:
                columns = right[tile.spans[1]]
                scores = shaped(room, len(rows), len(columns))
                # Autocast ignores products with `out`: they keep their precision.
                yield tile, torch.mm(rows, columns.T, out=scores)

    def room(self, like: Tensor) -> Float[Tensor, " place"]:
        """Memory for the largest tile."""
        return like.new_empty(min(self.tile, self.size) ** 2)


def shaped(room: Float[Tensor, " place"], rows: int, columns: int) -> Float[Tensor, "row column"]:
    """The beginning of some memory as a matrix."""
    return room[: rows * columns].view(rows, columns)


def in_row_tiles(compute: Callable[[slice], T], rows: int, tile: int) -> list[T]:
    """The results of a function of some rows of the matrix, for all rows.

    Args:
        compute: Its intermediate results are computed again in the backward pass, so that those of one
            tile are in memory at once.
        rows: Of the matrix.
        tile: Most rows of a part.
    """
    parts = [slice(start, min(start + tile, rows)) for start in range(0, rows, tile)]
    if len(parts) == 1:
        return [compute(parts[0])]
    return [
        checkpoint(compute, part, use_reentrant=False, preserve_rng_state=False)  # nothing is drawn
        for part in parts
    ]  # pyright: ignore[reportReturnType]
