import numpy as np
import pytest

from trichord.evaluation.bootstrap import Estimate, estimates


def test_the_value_is_the_plain_mean_and_lies_inside_its_interval():
    hits = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    first, second = estimates(hits, np.array([0, 0, 1, 2]))
    assert (first.value, second.value) == (0.5, 0.75)
    assert 0 <= first.low <= 0.5 <= first.high <= 1


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    hits = np.random.default_rng(0).normal(size=(50, 1))
    clip = np.arange(50) // 2
    assert estimates(hits, clip, seed=1) == estimates(hits, clip, seed=1)
    assert estimates(hits, clip, seed=1) != estimates(hits, clip, seed=2)


def test_the_interval_holds_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(4)
    held = 0
    for seed in range(200):
        own = rng.random(100) < 0.4  # whole clips hit or miss: five captions each, all alike
        hits = np.repeat(own, 5)[:, None].astype(float)
        (found,) = estimates(hits, np.repeat(np.arange(100), 5), resamples=300, seed=seed)
        held += found.low <= 0.4 <= found.high
    assert 180 <= held <= 198


def test_captions_of_one_clip_do_not_narrow_the_interval():
    own = (np.arange(40) % 2).astype(float)
    (once,) = estimates(own[:, None], np.arange(40), seed=0)
    (often,) = estimates(np.repeat(own, 5)[:, None], np.repeat(np.arange(40), 5), seed=0)
    assert once == often


def test_the_interval_has_the_width_of_the_binomial():
    hits = (np.arange(400) % 2).astype(float)[:, None]
    (found,) = estimates(hits, np.arange(400), resamples=4000)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.06)


def test_clips_may_be_numbered_with_gaps():
    hits = np.array([[1.0], [0.0], [1.0]])
    assert estimates(hits, np.array([0, 1, 2])) == estimates(hits, np.array([7, 70, 700]))


def test_nothing_asked_has_no_interval():
    with pytest.raises(ValueError, match="at least one query"):
        estimates(np.empty((0, 3)), np.empty(0, dtype=int))


def test_an_estimate_is_written_with_its_interval():
    assert str(Estimate(0.5249, 0.446, 1.0)) == "0.52 (.45–1.00)"


@pytest.mark.parametrize("at_once", [1, 1000, 10**9])
def test_how_many_are_drawn_together_changes_no_bit(monkeypatch, at_once):
    rng = np.random.default_rng(0)
    values, clip = rng.random((300, 3)), rng.integers(40, size=300)
    usual = estimates(values, clip)
    monkeypatch.setattr("trichord.evaluation.bootstrap.AT_ONCE", at_once)
    assert estimates(values, clip) == usual
