"""What ranks come to: R@k, hit@k, recall@k, median and mean rank, MRR.

R@k is the share of queries whose one right item is among the first k: SLAVA's recall, where the
relevant items of a query are one. Where they are several, hit@k (any of them) and recall@k (the
share of them) are two numbers and keep two names.
"""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from trichord.evaluation.bootstrap import Estimate, estimates
from trichord.evaluation.ranks import Ranks, RanksOfSets, Ties
from trichord.types.arrays import Float, Int

KS = (1, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Text or sound to media, one right item a query.

    `recall` is the mean over queries (micro) with its interval over clips; `macro` the mean over
    clips of each clip's mean.
    """

    recall: dict[int, Estimate]
    macro: dict[int, float]
    median_rank: float
    mean_rank: float
    mrr: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverse:
    """Media to text or sound, all items of the clip being right; one query a clip."""

    queries: int
    gallery: int
    hit: dict[int, Estimate]
    recall: dict[int, Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How ranks are turned into numbers."""

    ties: Ties = "pessimistic"
    resamples: int = 1000
    seed: int = 0

    def forward(self, ranks: Ranks, clip: Int[ndarray, " query"]) -> Forward:
        """The numbers of one right item a query; `clip` says whose each query is."""
        hits = np.stack([ranks.hit(k, self.ties) for k in KS], axis=1)
        rank = ranks.rank(self.ties)
        return Forward(
            recall=self._estimates(hits, clip),
            macro={k: macro(hits[:, i], clip) for i, k in enumerate(KS)},
            median_rank=float(np.median(rank)),
            mean_rank=float(rank.mean()),
            mrr=float(ranks.reciprocal(self.ties).mean()),
        )

    def reverse(self, ranks: RanksOfSets) -> Reverse:
        """The numbers of several right items a query, each query being a clip."""
        hits = np.stack([ranks.hit(k, self.ties) for k in KS], axis=1)
        shares = np.stack([ranks.recall(k, self.ties) for k in KS], axis=1)
        # Both from the same draws of clips: one drawing serves both.
        both = estimates(
            np.hstack([hits, shares]),
            np.arange(len(hits)),
            resamples=self.resamples,
            seed=self.seed,
        )
        return Reverse(
            queries=len(hits),
            gallery=len(ranks.query),
            hit=dict(zip(KS, both[: len(KS)], strict=True)),
            recall=dict(zip(KS, both[len(KS) :], strict=True)),
        )

    def _estimates(
        self, values: Float[ndarray, "query k"], clip: Int[ndarray, " query"]
    ) -> dict[int, Estimate]:
        found = estimates(values, clip, resamples=self.resamples, seed=self.seed)
        return dict(zip(KS, found, strict=True))


def macro(values: Float[ndarray, " query"], clip: Int[ndarray, " query"]) -> float:
    """The mean over clips of the mean over a clip's queries: every clip weighs the same."""
    _, row = np.unique(clip, return_inverse=True)
    return float((np.bincount(row, weights=values) / np.bincount(row)).mean())
