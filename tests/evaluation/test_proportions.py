from math import comb

import numpy as np
import pytest

from trichord.evaluation.bootstrap import estimates
from trichord.evaluation.proportions import (
    correlation,
    effective_size,
    mean_shares,
    proportions,
    wilson,
)

ROUNDS = 600


def column(*values):
    return np.array(values, dtype=float)[:, None]


# The interval


@pytest.mark.parametrize(
    ("hits", "size", "low", "high"),
    [
        (81, 263, 0.2535, 0.3682),
        (15, 148, 0.0598, 0.1644),
        (0, 20, 0.0000, 0.2005),
        (1, 29, 0.0018, 0.1963),
    ],
)
def test_independent_queries_have_the_interval_of_newcombes_method_4(hits, size, low, high):
    found = wilson(hits / size, float(size))  # his Table I
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize("size", [1.0, 1.7, 3.0, 20.0, 999.5])
@pytest.mark.parametrize("value", [0.0, 1e-9, 0.004, 0.3, 0.5, 0.999, 1.0])
def test_ends_lie_in_the_unit_interval_around_the_value_and_never_fall_together(size, value):
    found = wilson(value, size)
    assert 0 <= found.low <= found.value == value <= found.high <= 1
    assert found.low < found.high
    assert (found.low == 0) >= (value == 0)
    assert (found.high == 1) >= (value == 1)
    mirrored = wilson(1 - value, size)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))


def test_no_hit_in_a_thousand_clips_is_not_printed_as_certainty():
    (none,) = proportions(np.zeros((1000, 1)), np.arange(1000))
    (every,) = proportions(np.ones((1000, 1)), np.arange(1000))
    assert (str(none), str(every)) == ("0.000 (.000–.005)", "1.000 (.995–1.000)")
    assert (none.percent(), every.percent()) == ("0.0 (0.0–0.5)", "100.0 (99.5–100.0)")


@pytest.mark.parametrize("clips", [1, 2, 3, 5, 8, 12, 19, 40])
def test_however_few_clips_there_are_the_truth_is_missed_in_one_of_twenty_cases_at_most(clips):
    found = [wilson(hits / clips, float(clips)) for hits in range(clips + 1)]
    for share in np.linspace(0.001, 0.999, 333):
        held = sum(
            comb(clips, hits) * share**hits * (1 - share) ** (clips - hits)
            for hits, one in enumerate(found)
            if one.low <= share <= one.high
        )
        assert held > 0.945


# Captions of one clip


def test_captions_that_are_all_alike_tell_no_more_than_one_of_them():
    own = (np.arange(40) % 3 == 0).astype(float)
    (once,) = proportions(own[:, None], np.arange(40))
    (often,) = proportions(np.repeat(own, 5)[:, None], np.repeat(np.arange(40), 5))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_captions_that_are_independent_tell_nearly_as_much_as_so_many_clips():
    hits = (np.random.default_rng(0).random((2000, 5)) < 0.4).astype(float)
    count = np.full(2000, 5)
    size = effective_size(hits.mean(axis=1), count, count / 10_000)
    assert 9_000 < size <= 10_000


def test_the_correlation_is_found_and_the_fewer_hits_the_more_it_is_feared():
    random = np.random.default_rng(1)
    clips = random.beta(0.5 / 3 * 7, 0.5 / 3 * 7, 3000)  # correlation 0.3
    shares = (random.random((3000, 4)) < clips[:, None]).mean(axis=1)
    assert correlation(shares, np.full(3000, 4)) == pytest.approx(0.3, abs=0.03)

    def with_single_hits(count):
        return correlation(np.where(np.arange(30) < count, 0.2, 0.0), np.full(30, 5))

    feared = [with_single_hits(count) for count in (0, 1, 4)]
    assert feared == pytest.approx([1.0, 0.5, 0.2])


def test_clips_with_many_captions_weigh_more_and_make_the_sample_smaller():
    count = np.array([10, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    alike = (np.arange(10) < 5).astype(float)
    assert effective_size(alike, count, count / 19) == pytest.approx(19**2 / (100 + 9))
    hits, clip = np.repeat(alike, count), np.repeat(np.arange(10), count)
    (found,) = proportions(hits[:, None], clip)
    assert found.value == pytest.approx(14 / 19)


def test_the_mean_of_shares_lets_every_clip_count_the_same():
    (found,) = mean_shares(column(1.0, 0.5, 0.0, 0.5), np.array([1, 4, 2, 6]))
    assert found.value == 0.5
    assert found.high - found.low < np.subtract(*_ends(wilson(0.5, 4.0)))


def _ends(estimate):
    return estimate.high, estimate.low


def test_one_clip_tells_next_to_nothing_however_many_captions_it_has():
    (found,) = proportions(np.ones((30, 1)), np.zeros(30, dtype=int))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low < 0.1


def test_columns_are_independent_and_clips_may_be_numbered_with_gaps():
    random = np.random.default_rng(2)
    hits, clip = (random.random((60, 2)) < 0.5).astype(float), np.arange(60) // 3
    both = proportions(hits, clip)
    assert both == (*proportions(hits[:, :1], clip), *proportions(hits[:, 1:], clip))
    assert both == proportions(hits[::-1], (7 * clip + 5)[::-1])
    assert [one.value for one in both] == hits.mean(axis=0).tolist()


def test_probabilities_of_ties_are_shares_too():
    (found,) = proportions(column(0.25, 0.25, 0.25, 0.25), np.arange(4))
    assert found.value == 0.25
    assert 0 < found.low < 0.25 < found.high < 1


def test_nothing_asked_has_no_interval():
    with pytest.raises(ValueError, match="at least one query"):
        proportions(np.empty((0, 3)), np.empty(0, dtype=int))
    with pytest.raises(ValueError, match="at least one clip"):
        mean_shares(np.empty((0, 3)), np.empty(0, dtype=int))


# How often the truth is held. `studies/interval_coverage.py` does the same with more rounds.


def simulated(share, clips, captions, alike):
    """Hits of captions, a column a round, and their clips; the captions of a clip are so much alike."""
    random = np.random.default_rng(7)
    count = np.full(clips, captions) if captions else random.integers(1, 10, clips)
    clip = np.repeat(np.arange(clips), count)
    if alike in (0, 1):
        own = np.full((clips, ROUNDS), share)
        own = (random.random(own.shape) < own).astype(float) if alike else own
    else:
        spread = (1 - alike) / alike
        own = random.beta(share * spread, (1 - share) * spread, (clips, ROUNDS))
    return (random.random((len(clip), ROUNDS)) < own[clip]).astype(float), clip


def covered(found, share):
    return sum(one.low <= share <= one.high for one in found) / ROUNDS


@pytest.mark.parametrize(
    "share",
    [0.02, 0.5, 0.98, *(pytest.param(one, marks=pytest.mark.slow) for one in (0.1, 0.3, 0.9))],
)
@pytest.mark.parametrize(
    ("captions", "alike"), [(1, 0), (5, 0), (5, 0.3), (5, 0.7), (5, 1), (None, 0.3), (None, 1)]
)
def test_the_true_share_is_held_nine_times_in_ten_near_0_and_1_too(share, captions, alike):
    for clips in (20, 74, 200):
        hits, clip = simulated(share, clips, captions, alike)
        assert covered(proportions(hits, clip), share) >= 0.9


def test_the_percentile_bootstrap_would_not_have_done():
    hits, clip = simulated(0.02, 20, 1, 0)
    assert covered(estimates(hits, clip, resamples=200), 0.02) < 0.5


def test_intervals_are_no_wider_than_they_must_be():
    """Five independent captions of 200 clips against the plain formula for 1,000 of them."""
    hits, clip = simulated(0.5, 200, 5, 0)
    widths = [one.high - one.low for one in proportions(hits, clip)]
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 0.5 / 1000**0.5, rel=0.1)
