"""Rank fusion: one order from several whose scores cannot be compared."""

from collections.abc import Hashable, Sequence
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)

DAMPING = 60
"""Added to every rank, so that the first few of an order differ little."""


def fuse_ranks(orders: Sequence[tuple[Sequence[Item], float]]) -> list[Item]:
    """All items of several orders by reciprocal rank fusion; equal sums by first appearance.

    An item's sum is over weight / (60 + rank) in each order that has it, ranks from 1.

    Args:
        orders: Each with its weight; best first, without duplicates.

    Source: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
        Learning Methods" (SIGIR 2009); the 60 is theirs, the weights are not.
    """
    sums: dict[Item, float] = {}
    for order, weight in orders:
        for place, item in enumerate(order, start=1):
            sums[item] = sums.get(item, 0.0) + weight / (DAMPING + place)
    return sorted(sums, key=lambda item: -sums[item])
