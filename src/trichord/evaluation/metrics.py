"""What ranks come to: R@k, hit@k, recall@k, median and mean rank, MRR.

R@k is the share of queries whose one right item is among the first k: SLAVA's recall, where the
relevant items of a query are one. Where they are several, hit@k (any of them) and recall@k (the
share of them) are two numbers and keep two names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy import ndarray

from trichord.evaluation.bootstrap import Estimate, estimates
from trichord.evaluation.proportions import mean_shares, proportions
from trichord.evaluation.ranks import Ranks, RanksOfSets, Ties
from trichord.evaluation.row import ReportRow
from trichord.types import UserError, first_line
from trichord.types.arrays import Float, Int
from trichord.types.plugins import Group

KS = (1, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number beside the usual ones, chosen by `trichord evaluate --metrics KIND`.

    One of your own is a value of this class, named by an entry point of the group `trichord.metrics` or
    passed by `--plugin`.

    Attributes:
        kind: Its name.
        per_query: Ranks of the right items, float (query,), 1 being the best, to a value for each query.
            Reports have the mean with its interval over clips: Wilson's where all values are from 0 to
            1, as of the usual numbers, otherwise a bootstrap. A tied rank is what the rule for ties
            makes of it, and may be a fraction.
    """

    group: ClassVar[str] = "metrics"
    kind: str
    per_query: Callable[[Float[ndarray, " query"]], Float[ndarray, " query"]]


def ndcg_at_10(rank: Float[ndarray, " query"]) -> Float[ndarray, " query"]:
    """Normalised discounted cumulative gain of one right item among the first ten.

    Source: Järvelin and Kekäläinen (2002); with one relevant item the ideal gain is 1.
    """
    return np.where(rank <= 10, 1 / np.log2(1 + rank), 0.0)


METRICS: Group[Metric] = Group(
    "metrics", "metric", {"ndcg@10": Metric(kind="ndcg@10", per_query=ndcg_at_10)}
)


RECALLS = tuple(f"R@{k}" for k in KS)
USUAL = (*RECALLS, "median rank", "mean rank", "MRR")
"""Measures that every row of a task has; no other metric may have their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How ranks are turned into numbers.

    Raises:
        UserError: A metric has the name of a usual measure.
    """

    ties: Ties = "pessimistic"
    metrics: tuple[Metric, ...] = ()

    def __post_init__(self) -> None:
        if taken := [one.kind for one in self.metrics if one.kind in USUAL]:
            raise UserError(f"--metrics {taken[0]}: every report has it: leave the option out.")

    def forward(
        self, name: str, gallery: int, ranks: Ranks, clip: Int[ndarray, " query"]
    ) -> ReportRow:
        """Text or sound to media, one right item a query; `clip` says whose each query is.

        R@k is the mean over queries (micro) with its interval over clips; per clip it is the mean over
        clips of each clip's mean.
        """
        hits = np.stack([ranks.hit(k, self.ties) for k in KS], axis=1)
        rank = ranks.rank(self.ties)
        return ReportRow(
            name=name,
            sizes={"queries": len(clip), "gallery": gallery},
            estimates=_by_k("R", proportions(hits, clip))
            | {one.kind: _mean(one, rank, clip) for one in self.metrics},
            numbers={f"R@{k} per clip": macro(hits[:, i], clip) for i, k in enumerate(KS)}
            | {
                "median rank": float(np.median(rank)),
                "mean rank": float(rank.mean()),
                "MRR": float(ranks.reciprocal(self.ties).mean()),
            },
            chance={f"R@{k}": min(1.0, k / gallery) for k in KS},
        )

    def reverse(self, name: str, ranks: RanksOfSets) -> ReportRow:
        """Media to text or sound, all items of the clip being right; one query a clip.

        With several right items in a small gallery a hit is all but certain: what a random order reaches
        stands beside it.
        """
        hits = np.stack([ranks.hit(k, self.ties) for k in KS], axis=1)
        shares = np.stack([ranks.recall(k, self.ties) for k in KS], axis=1)
        right, gallery = np.bincount(ranks.query), len(ranks.query)
        return ReportRow(
            name=name,
            sizes={"queries": len(hits), "gallery": gallery},
            estimates=_by_k("hit", proportions(hits, np.arange(len(hits))))
            | _by_k("recall", mean_shares(shares, right)),
            chance={f"hit@{k}": chance_of_hit(k, right, gallery) for k in KS}
            | {f"recall@{k}": min(1.0, k / gallery) for k in KS},
        )


def _mean(metric: Metric, rank: Float[ndarray, " query"], clip: Int[ndarray, " query"]) -> Estimate:
    """The mean of a metric over queries, with its interval over clips.

    Raises:
        UserError: It fails, or gives something other than a finite number a query.
    """
    try:
        values = np.asarray(metric.per_query(rank), np.float64)
    except Exception as error:  # whatever somebody else's function raises
        raise UserError(
            f"The metric '{metric.kind}' fails: {type(error).__name__}: {first_line(error)}."
        ) from error
    if values.shape != rank.shape or not np.isfinite(values).all():
        raise UserError(
            f"The metric '{metric.kind}' gives {values.shape} values of {len(rank)} queries, or some that "
            "are not finite: give one finite number for each."
        )
    shares = values.min() >= 0 and values.max() <= 1
    [estimate] = (proportions if shares else estimates)(values[:, None], clip)
    return estimate


def _by_k(measure: str, found: tuple[Estimate, ...]) -> dict[str, Estimate]:
    return {f"{measure}@{k}": one for k, one in zip(KS, found, strict=True)}


def chance_of_hit(k: int, right: Int[ndarray, " query"], gallery: int) -> float:
    """How often a random order has any right item among the first `k`, in the mean over queries.

    Args:
        k: At most all items count.
        right: Right items of each query.
        gallery: All items.
    """
    drawn = np.arange(min(k, gallery))
    wrong = np.maximum(gallery - right[:, None] - drawn, 0)
    return float(1 - (wrong / (gallery - drawn)).prod(axis=1).mean())


def macro(values: Float[ndarray, " query"], clip: Int[ndarray, " query"]) -> float:
    """The mean over clips of the mean over a clip's queries: every clip weighs the same."""
    _, row = np.unique(clip, return_inverse=True)
    return float((np.bincount(row, weights=values) / np.bincount(row)).mean())
