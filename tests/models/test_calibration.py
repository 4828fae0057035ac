import numpy as np
import pytest

from trichord.models.calibration import PRIOR, BestScores, CosineScale, blend


def test_the_scale_of_no_moments_is_that_of_random_directions():
    nothing = np.zeros((3, 0))
    assert CosineScale.of(nothing, np.zeros((3, 0), bool), 16) == CosineScale(0.0, 0.25)


def test_standardised_values_are_drawn_from_the_mean_of_query_and_prior():
    scale = CosineScale(location=0.5, spread=0.1)
    found = scale.standardise(np.array([[0.7, 0.3]]), np.array([[True, False]]))
    usual = (0.7 + PRIOR * 0.5) / (1 + PRIOR)
    assert found[0, 0] == pytest.approx((0.7 - usual) / 0.1)


def test_blend_divides_by_the_spread_of_the_weighted_sum():
    seen, heard = blend(
        np.array([2.0, 2.0, 0.0]),
        np.array([1.0, 0.0, 1.0]),
        (np.array([3.0, 3.0, 0.0]), np.array([4.0, 0.0, 4.0])),
        agreement=0.0,
    )
    assert seen.tolist() == pytest.approx([1.2, 2.0, 0.0])
    assert heard.tolist() == pytest.approx([0.8, 0.0, 1.0])


def test_agreement_makes_two_modalities_weigh_less_than_two_witnesses():
    one = np.array([1.0])
    seen, heard = blend(one, one, (one, one), agreement=0.5)
    assert seen + heard == pytest.approx(2 / np.sqrt(3))


def test_what_is_usual_for_a_query_follows_from_its_mean_alone():
    rng = np.random.default_rng(0)
    scale = CosineScale(location=0.4, spread=0.2)
    cosines, present = rng.uniform(size=(1, 30)), rng.uniform(size=(1, 30)) < 0.7
    usual = scale.usual(float(cosines[present].mean()), int(present.sum()))
    np.testing.assert_allclose(
        scale.standardise(cosines, present), (cosines - usual) / 0.2, rtol=0, atol=1e-12
    )


def test_a_moment_with_nothing_of_what_counts_scores_nothing():
    one, none = np.array([1.0]), np.array([0.0])
    assert blend(one, one, (none, none), agreement=0.5) == (none, none)


def best_of(rng, queries, moments):
    """Best scores of unrelated queries: some see a few moments only."""
    scores = rng.normal(size=(queries, moments))
    return scores, np.ones(scores.shape, bool)


def test_the_chance_of_a_best_score_is_how_often_unrelated_queries_reach_it():
    rng = np.random.default_rng(0)
    best = BestScores.of(*best_of(rng, 256, 500))
    assert best.moments == 500
    others = rng.normal(size=(2000, 500)).max(axis=1)
    chances = best.chance(others, 500)
    for level in (0.1, 0.3, 0.5, 0.9):  # as a probability, it is evenly spread
        assert (chances <= level).mean() == pytest.approx(level, abs=0.06)
    np.testing.assert_array_equal(np.argsort(chances), np.argsort(-others))


def test_a_larger_archive_has_higher_best_scores_by_chance():
    rng = np.random.default_rng(1)
    best = BestScores.of(*best_of(rng, 256, 500))
    more = rng.normal(size=(400, 5000)).max(axis=1)
    assert 0.3 < np.median(best.chance(more, 5000)) < 0.7
    assert np.median(best.chance(more, 500)) < 0.15
    assert best.chance(np.array([3.0]), 1) < best.chance(np.array([3.0]), 10**6)


def test_with_too_few_queries_a_normal_score_is_assumed_and_equal_ones_have_a_scale():
    assumed = BestScores.of(np.full((9, 5), 7.0), np.ones((9, 5), bool))
    assert assumed == BestScores.of(np.zeros((0, 0)), np.zeros((0, 0), bool))
    draws = assumed.location - assumed.scale * np.log(-np.log(np.linspace(1e-6, 1 - 1e-6, 10**5)))
    assert draws.mean() == pytest.approx(0, abs=0.01)
    assert draws.std() == pytest.approx(1, abs=0.01)
    equal = BestScores.of(np.full((20, 5), 7.0), np.ones((20, 5), bool))
    assert equal.scale > 0
    assert np.isfinite(equal.chance(np.array([-1e9, 0.0, 7.0, 1e9]), 5)).all()


def test_queries_without_moments_do_not_count():
    scores = np.array([[1.0, 9.0]] * 12 + [[5.0, 5.0]] * 3)
    present = np.array([[True, False]] * 12 + [[False, False]] * 3)
    best = BestScores.of(scores, present)
    assert (best.moments, best.location) == (1.0, pytest.approx(1.0, abs=0.1))
