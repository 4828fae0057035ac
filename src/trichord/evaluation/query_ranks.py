"""The rank of every single query, as reports keep it: what a paired comparison is made of."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from trichord.evaluation.gallery import ClipVectors
from trichord.evaluation.ranks import Ranks
from trichord.evaluation.retrieval import Answered, Unanswered
from trichord.types.arrays import Int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRanks:
    """The ranks of a task's queries: whole numbers separated by blanks, one for each query.

    They are texts because a JSON list would have a line for each number. Queries are sorted by the id of
    their clip, then by their text: reports under one protocol have the same queries in the same places.

    Attributes:
        clip: Number of the clip that each query belongs to.
        better: How many other items score better than the right one.
        tied: How many score the same.
    """

    clip: str
    better: str
    tied: str

    @classmethod
    def of(cls, answered: Answered, vectors: ClipVectors) -> "QueryRanks":
        """The ranks of one task."""
        ids = [vectors.ids[row] for row in answered.clips[answered.right].tolist()]
        texts = query_texts(answered, vectors) or [""] * len(ids)
        pairs = list(zip(ids, texts, strict=True))
        order = sorted(range(len(ids)), key=pairs.__getitem__)
        number = {name: i for i, name in enumerate(sorted(set(ids)))}
        ranks = answered.ranks
        return cls(
            clip=_joined(number[ids[i]] for i in order),
            better=_joined(ranks.better[order].tolist()),
            tied=_joined(ranks.tied[order].tolist()),
        )

    @property
    def ranks(self) -> Ranks:
        """As they were counted."""
        return Ranks(_numbers(self.better), _numbers(self.tied))

    @property
    def clips(self) -> Int[ndarray, " query"]:
        """The number of each query's clip."""
        return _numbers(self.clip)


def query_ranks(
    answered: Iterable[Answered | Unanswered], vectors: ClipVectors
) -> dict[str, QueryRanks]:
    """The ranks of all tasks that have a query, by task."""
    return {
        one.task.name: QueryRanks.of(one, vectors) for one in answered if isinstance(one, Answered)
    }


def query_texts(answered: Answered, vectors: ClipVectors) -> list[str] | None:
    """The text of each query of a task; None where sounds search."""
    kind = answered.task.query
    if kind == "sound":
        return None
    return [vectors.captions[kind].texts[row] for row in answered.queries.tolist()]


def _joined(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def _numbers(text: str) -> Int[ndarray, " query"]:
    return np.array(text.split(), dtype=np.int64)
