"""The first hits of each query, with their scores."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from trichord.evaluation.ranks import CHUNK, chunks
from trichord.evaluation.scores import Scores
from trichord.types.arrays import Float, Int


@dataclass(frozen=True, slots=True)
class TopHits:
    """Items of each query and their scores, highest first; equal scores in the order of the gallery.

    A right item among them may stand before its rank: the rank counts ties by a rule.
    """

    items: Int[ndarray, "query place"]
    scores: Float[ndarray, "query place"]


def top_hits(
    scores: Scores,
    count: int,
    *,
    back: Int[ndarray, " item"] | None = None,
    chunk: int = CHUNK,
) -> TopHits:
    """The items with the highest scores.

    Args:
        scores: Of queries against items.
        count: Hits of each query; fewer where there are fewer items.
        back: Items that search the queries instead.
        chunk: Queries and items scored at once; changes memory, never the result.
    """
    queries, items = scores.shape
    asking, searched = (queries, items) if back is None else (items, queries)
    found: list[tuple[ndarray, ndarray]] = []
    for rows in chunks(asking, chunk):
        best = np.zeros((rows.stop - rows.start, 0), np.int64)
        values = np.zeros(best.shape)
        for columns in chunks(searched, chunk):
            block = scores.block(rows, columns) if back is None else scores.block(columns, rows).T
            here = np.broadcast_to(np.arange(columns.start, columns.stop), block.shape)
            best, values = (
                np.concatenate(pair, axis=1) for pair in ((best, here), (values, block))
            )
            first = np.argsort(-values, axis=1, kind="stable")[:, :count]
            best, values = (np.take_along_axis(one, first, axis=1) for one in (best, values))
        found.append((best, values))
    best, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return TopHits(best, values) if back is None else TopHits(best[back], values[back])
