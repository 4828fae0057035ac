"""How far a measured share may be off: 95 % intervals for shares of queries, which come clip by clip.

Captions of one clip succeed and fail together, so 200 clips with five captions each tell less than 1,000
clips with one. How much less follows from the intra-clip correlation; the effective sample size is the
number of independent queries that would tell as much. For a sample of that size the interval is Wilson's,
with continuity correction. The gallery stays as it is: the interval speaks of which clips were asked for,
not of another gallery.

`studies/interval_coverage.py` simulates how often it holds the true share, beside the percentile
bootstrap, which is blind near 0 and 1: without a hit, every resample is without a hit.

Sources: Newcombe, Statistics in Medicine 17 (1998), method 4. Wilson's interval for an effective sample
size, and that design effects from a model cover better than those from the variance alone: Franco,
Little, Louis and Slud, Journal of Survey Statistics and Methodology 7 (2019). The analysis-of-variance
estimator of the correlation: Ridout, Demétrio and Firth, Biometrics 55 (1999).
"""

from statistics import NormalDist

import numpy as np
from numpy import ndarray

from trichord.evaluation.bootstrap import LEVEL, Estimate
from trichord.types.arrays import Float, Int

INTERVAL = f"{100 * LEVEL:g} % Wilson intervals with continuity correction over clips"
"""What reports call it."""
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


def proportions(
    values: Float[ndarray, "query number"], clip: Int[ndarray, " query"]
) -> tuple[Estimate, ...]:
    """The mean over queries of each column, with its interval over clips.

    Args:
        values: One row a query, one column a number from 0 to 1, such as hits at 1, 5 and 10.
        clip: The clip each query belongs to.

    Raises:
        ValueError: There is no query.
    """
    if len(values) == 0:
        raise ValueError("An interval needs at least one query.")
    _, row, count = np.unique(clip, return_inverse=True, return_counts=True)
    total = np.stack([np.bincount(row, weights=column) for column in values.T], axis=1)
    return _estimates(values.mean(0), total / count[:, None], count, count / len(values))


def mean_shares(
    shares: Float[ndarray, "clip number"], count: Int[ndarray, " clip"]
) -> tuple[Estimate, ...]:
    """The mean over clips of each column, with its interval: every clip counts the same.

    Args:
        shares: Of each clip, from 0 to 1, such as the share of its captions among the first 10.
        count: Of how many each is a share.

    Raises:
        ValueError: There is no clip.
    """
    if len(shares) == 0:
        raise ValueError("An interval needs at least one clip.")
    even = np.full(len(shares), 1 / len(shares))
    return _estimates(shares.mean(0), shares, count, even)


def _estimates(
    value: Float[ndarray, " number"],
    shares: Float[ndarray, "clip number"],
    count: Int[ndarray, " clip"],
    weight: Float[ndarray, " clip"],
) -> tuple[Estimate, ...]:
    return tuple(
        wilson(float(one), effective_size(column, count, weight))
        for one, column in zip(value, shares.T, strict=True)
    )


def wilson(value: float, size: float) -> Estimate:
    """A share with its interval, as measured on so many independent queries; not always a whole number.

    Both ends lie in [0, 1] with the value between them. No hit has the lower end 0 and an upper end
    above it, and the other way round.
    """
    twice, square = 2 * size * value, Z * Z
    below = square - 2 - 1 / size + 4 * value * (size * (1 - value) + 1)
    above = square + 2 - 1 / size + 4 * value * (size * (1 - value) - 1)
    low = (twice + square - 1 - Z * max(below, 0.0) ** 0.5) / (2 * (size + square))
    high = (twice + square + 1 + Z * max(above, 0.0) ** 0.5) / (2 * (size + square))
    # The formula ends slightly beside 0 and 1 where there is no hit or no miss.
    return Estimate(
        value,
        0.0 if value <= 0 else min(max(low, 0.0), value),
        1.0 if value >= 1 else max(min(high, 1.0), value),
    )


def effective_size(
    shares: Float[ndarray, " clip"], count: Int[ndarray, " clip"], weight: Float[ndarray, " clip"]
) -> float:
    """How many independent queries would tell as much as those of these clips.

    Args:
        shares: Mean of each clip's queries.
        count: Of each clip's queries.
        weight: Of each clip in the mean of all; their sum is 1.
    """
    alike = correlation(shares, count)
    return float(1 / (weight**2 * (alike + (1 - alike) / count)).sum())


def correlation(shares: Float[ndarray, " clip"], count: Int[ndarray, " clip"]) -> float:
    """Intra-clip correlation, from 0 (queries of a clip are independent) to 1 (all alike).

    Few hits say little about how they come: a single one makes the captions of a clip look independent
    of one another. So one more clip is counted whose queries are all alike. It weighs as much as one of
    the clips that tell, which are those with a hit or those with a miss, whichever are fewer; without
    any, the correlation is 1.
    """
    clips, queries = len(shares), int(count.sum())
    if clips == 1 or queries == clips:
        return 1.0  # nothing to tell it by, or nothing to tell
    mean = float(count @ shares) / queries
    between = float(count @ (shares - mean) ** 2) / (clips - 1)
    within = float(count @ (shares * (1 - shares))) / (queries - clips)
    typical = (queries - float(count @ count) / queries) / (clips - 1)
    spread = between + (typical - 1) * within
    found = min(max((between - within) / spread, 0.0), 1.0) if spread > 0 else 1.0
    telling = int(min(np.count_nonzero(shares > 0), np.count_nonzero(shares < 1)))
    return (telling * found + 1) / (telling + 1)
