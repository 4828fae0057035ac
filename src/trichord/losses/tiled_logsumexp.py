"""Log-sum-exponentials over all scores of a batch, in memory that grows with its rows.

Two passes over the matrix of scores: one for sums of exponentials and, if a gradient is needed, one for
the gradient in closed form. No matrix of that size is kept between them.

Source: the gradient of a log-sum-exp is the softmax; recomputed in tiles as in FlashAttention (Dao et
al., 2022) and, for this loss, in Inf-CL (Cheng et al., 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from trichord.distributed import all_gather, world_size
from trichord.losses.tiles import Square, Tile, shaped

Directions = Literal["both", "a_to_b", "b_to_a"]
WAYS: dict[Directions, tuple[int, ...]] = {"both": (0, 1), "a_to_b": (0,), "b_to_a": (1,)}
"""Queries: the rows of the matrix of scores (0), which are of the left side, or its columns (1)."""


class TiledLogSumExp(NamedTuple):
    """Positives and log-sum-exps of negatives of the rows of all ranks, in double precision.

    `positive` has the scores of the pairs; `negatives` the log-sum-exp of all other scores of the left
    and of the right row of each pair: a huge negative number if there are none, or if that side is no
    query. They are separate because the loss of a well-separated pair would be lost in the rounding of
    their sum.
    """

    positive: Float[Tensor, " all_rows"]
    negatives: tuple[Float[Tensor, " all_rows"], Float[Tensor, " all_rows"]]


def tiled_logsumexp(
    left: Float[Tensor, "pair dim"],
    right: Float[Tensor, "pair dim"],
    scale: Float[Tensor, ""],
    *,
    directions: Directions = "both",
    tile: int,
    half: bool = False,
) -> TiledLogSumExp:
    """Scores of positives and log-sum-exps of negatives of the rows of all ranks, the same on each.

    The backward pass needs no communication. As with `all_gather_with_grad` each rank gets the gradient
    of its own rows, and their part of that of the scale, times the number of ranks.

    Args:
        left: This rank's rows, in at least single precision; may be empty.
        right: Row i belongs to row i of `left`.
        scale: Inverse temperature.
        directions: Which side are queries.
        tile: Longest side of the parts in which scores are computed.
        half: For rows compared with themselves, whose matrix is symmetric: of two rows, the later is
            among the first negatives of the earlier, the earlier among the second of the later.
    """
    every_left, ours = all_gather(left)
    every_right = every_left if right is left else all_gather(right)[0]
    square = Square(size=len(every_left), ours=ours, tile=tile, half=half)
    # Detached: the function below computes the gradient of the scale itself.
    sweeps = _Sweeps(square, WAYS[directions], every_left, every_right, scale.detach())
    positive, first, second = _TiledLogSumExp.apply(left, right, scale, sweeps)  # pyright: ignore[reportGeneralTypeIssues]
    return TiledLogSumExp(positive, (first, second))


@dataclass(slots=True)
class _Sums:
    """Sums of exponentials of one direction, each relative to its largest score."""

    way: int
    top: Float[Tensor, " row"]
    total: Float[Tensor, " row"]

    @classmethod
    def empty(cls, way: int, rows: int, like: Tensor) -> "_Sums":
        # A finite number for "no score yet", because differences of infinities are NaN.
        return cls(way, like.new_full((rows,), torch.finfo(like.dtype).min), like.new_zeros(rows))

    def add(self, tile: Tile, scores: Tensor, room: Tensor) -> None:
        """Add the scores of one tile."""
        span, across = tile.spans[self.way], 1 - self.way
        # Online softmax (Milakov and Gimelshein, 2018): the sum is rescaled for
        # each larger score. So nothing overflows, and one pass is enough.
        top = torch.maximum(self.top[span], scores.amax(across))
        terms = torch.sub(scores, top.unsqueeze(across), out=room).exp_()
        self.total[span] = self.total[span] * (self.top[span] - top).exp() + terms.sum(across)
        self.top[span] = top

    def logarithms(self) -> Float[Tensor, " row"]:
        """Logarithms of the sums; a huge negative number for an empty sum."""
        # In double precision, because the log of the sum is small beside a large `top`.
        known = self.top.double() + self.total.double().log()
        return torch.where(self.total > 0, known, torch.finfo(torch.float).min)


@dataclass(slots=True)
class _Softmax:
    """Factors from exponentials to gradients of the scores, in one direction."""

    way: int
    top: Float[Tensor, " row"]
    share: Float[Tensor, " row"]

    @classmethod
    def of(cls, sums: _Sums, weights: Tensor) -> "_Softmax":
        """From the gradients of the logarithms, `weights`."""
        share = torch.where(sums.total > 0, weights / sums.total, 0)
        return cls(sums.way, sums.top, share.to(sums.total.dtype))

    def slopes(self, tile: Tile, scores: Tensor, room: Tensor) -> Tensor:
        """Gradient of each score of a tile; `room` may be the memory of the scores."""
        span, across = tile.spans[self.way], 1 - self.way
        top, share = self.top[span].unsqueeze(across), self.share[span].unsqueeze(across)
        return torch.sub(scores, top, out=room).exp_().mul_(share)


@dataclass(slots=True)
class _Sweeps:
    """Passes over the matrix of scores of all ranks' rows."""

    square: Square
    ways: tuple[int, ...]
    left: Float[Tensor, "row dim"]
    right: Float[Tensor, "row dim"]
    scale: Float[Tensor, ""]

    def sums(self) -> list[_Sums]:
        """First pass: the negatives of our rows and columns."""
        # Both directions even if only one is needed: the table
        # that ranks exchange always has the same columns.
        sums = [_Sums.empty(way, self.square.size, self.left) for way in (0, 1)]
        spare = self.square.room(self.left)
        for tile, scores in self.square.scores(self.left, self.right, self.scale):
            self._hide(tile, scores)
            for way in self.ways:
                if tile.ours[way]:
                    sums[way].add(tile, scores, shaped(spare, *scores.shape))
        return sums

    def gradients(
        self, softmaxes: Sequence[_Softmax], needed: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Second pass: of our left and right rows, as far as needed, before the scale is applied."""
        ours, spare = self.square.ours, self.square.room(self.left)
        left, right = (torch.zeros_like(self.left[ours]) if want else None for want in needed)
        for tile, scores in self.square.scores(self.left, self.right, self.scale):
            self._hide(tile, scores)
            slopes = self._slopes(softmaxes, tile, scores, shaped(spare, *scores.shape))
            rows, columns = tile.spans
            if left is not None and tile.ours[0]:
                left[_within(rows, ours)].addmm_(slopes, self.right[columns])
            if right is not None and tile.ours[1]:
                right[_within(columns, ours)].addmm_(slopes.T, self.left[rows])
        return left, right

    def _slopes(
        self, softmaxes: Sequence[_Softmax], tile: Tile, scores: Tensor, spare: Tensor
    ) -> Tensor:
        first, *others = softmaxes
        if not others:
            return first.slopes(tile, scores, scores)
        slopes = first.slopes(tile, scores, spare)
        # The last direction may overwrite the scores: they are not needed again.
        return slopes.add_(others[0].slopes(tile, scores, scores))

    def _hide(self, tile: Tile, scores: Tensor) -> None:
        """Mask the positives; for half a matrix, everything on and below the diagonal."""
        if not tile.diagonal:
            return
        if self.square.half:
            scores.masked_fill_(torch.ones_like(scores, dtype=torch.bool).tril(), float("-inf"))
        else:
            scores.fill_diagonal_(float("-inf"))

    def products(self, one: Tensor, other: Tensor) -> Float[Tensor, " row"]:
        """Row-wise inner products, without a temporary matrix of all products."""
        parts = zip(one.split(self.square.tile), other.split(self.square.tile), strict=True)
        return torch.cat([(some * others).sum(1) for some, others in parts])


class _TiledLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, left: Tensor, right: Tensor, scale: Tensor, sweeps: _Sweeps
    ) -> tuple[Tensor, ...]:
        sums, ours = sweeps.sums(), sweeps.square.ours
        positives = sweeps.scale * sweeps.products(sweeps.left[ours], sweeps.right[ours])
        columns = [column[ours] for one in sums for column in (one.top, one.total)]
        # The only exchange beside the rows: five numbers a
        # row. The backward pass needs no others.
        table, _ = all_gather(torch.stack([positives, *columns], dim=1))
        ctx.save_for_backward(sweeps.left, sweeps.right, scale, table)
        ctx.square, ctx.ways = sweeps.square, sweeps.ways
        return table[:, 0].double(), *(one.logarithms() for one in _sums_of(table))

    @staticmethod
    # Autograd cannot differentiate this backward formula: a
    # second derivative is an error instead of being wrong.
    @once_differentiable
    def backward(ctx: Any, *weights: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        left, right, scale, table = ctx.saved_tensors
        wants_left, wants_right, wants_scale, _ = ctx.needs_input_grad
        # The gradient of the scale comes from the left side on every rank. If it came from different
        # sides, scores would be counted twice or not at all.
        needed = (wants_left or wants_scale, wants_right)
        sweeps = _Sweeps(ctx.square, ctx.ways, left, right, scale)
        sums = _sums_of(table)
        softmaxes = [_Softmax.of(sums[way], weights[1 + way]) for way in ctx.ways]
        gradients = sweeps.gradients(softmaxes, needed)
        return *_finished(sweeps, gradients, weights[0], wants_scale), None


def _sums_of(table: Float[Tensor, "row 5"]) -> tuple[_Sums, _Sums]:
    """The sums of all ranks' rows, from the exchanged table."""
    _, *columns = table.unbind(1)
    return _Sums(0, columns[0], columns[1]), _Sums(1, columns[2], columns[3])


def _finished(
    sweeps: _Sweeps,
    gradients: tuple[Tensor | None, Tensor | None],
    weights: Float[Tensor, " row"],
    wants_scale: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of our rows and of the scale, with positives and factors."""
    ours, scale = sweeps.square.ours, sweeps.scale
    pairs = sweeps.left[ours], sweeps.right[ours]
    weight = weights[ours].unsqueeze(1).to(pairs[0].dtype)
    # The gradient of a score by its left row is along its right row, and vice versa.
    for gradient, positives in zip(gradients, reversed(pairs), strict=True):
        if gradient is not None:
            gradient.addcmul_(positives, weight)
    of_scale = None
    if wants_scale and gradients[0] is not None:
        # Before the factors are applied: then a row times its gradient
        # is the sum of slope x cosine, the gradient of the scale.
        products = sweeps.products(pairs[0], gradients[0]).double()
        of_scale = (world_size() * products.sum()).to(scale.dtype)
    for gradient in gradients:
        if gradient is not None:
            # Gradients are averaged over ranks later; the factor compensates.
            gradient.mul_(scale * world_size())
    return *gradients, of_scale  # pyright: ignore[reportReturnType]


def _within(span: slice, ours: slice) -> slice:
    """A span within our rows, relative to our first row."""
    return slice(span.start - ours.start, span.stop - ours.start)
