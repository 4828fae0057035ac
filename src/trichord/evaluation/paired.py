"""Systems against one of them, query by query: differences, with intervals over clips.

Both systems answer the same queries, so what makes a clip hard for both falls out of the difference. The
interval is much narrower than two separate ones suggest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from trichord.evaluation.bootstrap import LEVEL, Estimate, Resampling, estimates
from trichord.evaluation.metrics import KS, RECALLS, ndcg_at_10
from trichord.evaluation.query_ranks import QueryRanks
from trichord.evaluation.ranks import Ranks, Ties
from trichord.evaluation.report import RetrievalReport
from trichord.types import UserError
from trichord.types.arrays import Float, Int

MEANS = (*RECALLS, "MRR", "nDCG@10")
"""Measures that are means over queries."""
MEDIAN = "median rank"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A measure of two systems, each the mean over its seeds.

    `low` and `high` are the 95 % interval of `difference`, which is `other` less `first`.
    """

    first: float
    other: float
    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval does."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTask:
    """The differences of a task by measure, over so many queries of so many clips."""

    queries: int
    clips: int
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """A system against the first one, by task; `left_out` are tasks that only one of the two answers."""

    first: str
    other: str
    first_seeds: tuple[int, ...]
    other_seeds: tuple[int, ...]
    method: str
    tasks: dict[str, PairedTask]
    left_out: tuple[str, ...]


def method_of(resampling: Resampling) -> str:
    """How intervals are made, in words."""
    return (
        f"{100 * LEVEL:g} % intervals: paired percentile bootstrap over clips, {resampling.resamples} "
        f"resamples, seed {resampling.seed}; each measure is taken by query and seed, then averaged over "
        "the seeds of a system; no correction for the number of intervals"
    )


def pair(
    first: tuple[str, Sequence[RetrievalReport]],
    other: tuple[str, Sequence[RetrievalReport]],
    resampling: Resampling,
) -> Pairing:
    """Set a system against the first one.

    Args:
        first: What it is called, and a report for each seed.
        other: The same of the other system, under the same protocol.
        resampling: How clips are drawn.

    Raises:
        UserError: Two reports have ranks of other queries, whatever their protocols say.
    """
    ties = first[1][0].protocol.ties
    ours, theirs = (_common_tasks(reports) for _, reports in (first, other))
    tasks: dict[str, PairedTask] = {}
    for name in (name for name in ours if name in theirs):
        _require_same_queries(name, (*first[1], *other[1]))
        ranks = [[report.ranks[name] for report in reports] for _, reports in (first, other)]
        tasks[name] = _paired_task(ranks[0], ranks[1], ties, resampling)
    every = dict.fromkeys(name for _, some in (first, other) for one in some for name in one.ranks)
    return Pairing(
        first=first[0],
        other=other[0],
        first_seeds=tuple(report.seed for report in first[1]),
        other_seeds=tuple(report.seed for report in other[1]),
        method=method_of(resampling),
        tasks=tasks,
        left_out=tuple(name for name in every if name not in tasks),
    )


def _require_same_queries(task: str, reports: Sequence[RetrievalReport]) -> None:
    """Refuse to pair ranks that belong to other queries, such as those of an edited report."""
    one = reports[0]
    for other in reports[1:]:
        if other.ranks[task].clip != one.ranks[task].clip:
            raise UserError(
                f"{one.run} and {other.run} have ranks of other queries for {task}: evaluate both again."
            )


def _common_tasks(reports: Sequence[RetrievalReport]) -> list[str]:
    """Tasks that every seed answers."""
    return [name for name in reports[0].ranks if all(name in one.ranks for one in reports)]


def _paired_task(
    first: Sequence[QueryRanks], other: Sequence[QueryRanks], ties: Ties, resampling: Resampling
) -> PairedTask:
    _, clip = np.unique(first[0].clips, return_inverse=True)
    clips = int(clip.max()) + 1
    ours, theirs = (_means(seeds, ties) for seeds in (first, other))
    # The mean over the same seeds in another order may differ in its last bit, which is no difference.
    change = np.round(theirs - ours, 12)
    found = estimates(change, clip, resamples=resampling.resamples, seed=resampling.seed)
    differences = {
        name: _difference(one, another, estimate)
        for name, one, another, estimate in zip(
            MEANS, ours.mean(0).tolist(), theirs.mean(0).tolist(), found, strict=True
        )
    }
    mine, its = (_median_by_draw(seeds, clip, ties) for seeds in (first, other))
    every = np.arange(clips)[None]
    middle = float(mine(every)[0]), float(its(every)[0])
    [of_medians] = resampling.estimates(
        lambda drawn: np.round(its(drawn) - mine(drawn), 12)[:, None],
        np.array([middle[1] - middle[0]]),
        clips,
        len(clip),
    )
    differences[MEDIAN] = _difference(*middle, of_medians)
    return PairedTask(queries=len(clip), clips=clips, differences=differences)


def _difference(first: float, other: float, found: Estimate) -> Difference:
    return Difference(
        first=first, other=other, difference=found.value, low=found.low, high=found.high
    )


def _means(seeds: Sequence[QueryRanks], ties: Ties) -> Float[ndarray, "query number"]:
    """What each query adds to each mean, averaged over seeds.

    The measure is taken first and averaged then: R@1 of a mean rank would be that of no run.
    """
    return np.mean([_of_queries(one.ranks, ties) for one in seeds], axis=0)


def _of_queries(ranks: Ranks, ties: Ties) -> Float[ndarray, "query number"]:
    hits = [ranks.hit(k, ties) for k in KS]
    return np.stack([*hits, ranks.reciprocal(ties), ndcg_at_10(ranks.rank(ties))], axis=1)


def _median_by_draw(
    seeds: Sequence[QueryRanks], clip: Int[ndarray, " query"], ties: Ties
) -> Callable[[Int[ndarray, "draw clip"]], Float[ndarray, " draw"]]:
    """The median rank of the queries of drawn clips, averaged over seeds."""
    ranks = [one.ranks.rank(ties) for one in seeds]
    ordered = [(np.sort(one), clip[np.argsort(one, kind="stable")]) for one in ranks]

    def medians(drawn: Int[ndarray, "draw clip"]) -> Float[ndarray, " draw"]:
        draws, clips = drawn.shape
        places = drawn + clips * np.arange(draws)[:, None]
        times = np.bincount(places.ravel(), minlength=draws * clips).reshape(draws, clips)
        return np.mean([_weighted_median(rank, times[:, own]) for rank, own in ordered], axis=0)

    return medians


def _weighted_median(
    rank: Float[ndarray, " query"], times: Int[ndarray, "draw query"]
) -> Float[ndarray, " draw"]:
    """The median of ascending ranks, each counted so many times: as `numpy.median` of the repeated ones."""
    upto = np.cumsum(times, axis=1)
    count = upto[:, -1:]
    low, high = (upto >= (count + 1) // 2).argmax(1), (upto >= count // 2 + 1).argmax(1)
    return (rank[low] + rank[high]) / 2
