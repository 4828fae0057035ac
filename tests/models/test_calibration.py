import numpy as np
import pytest

from trichord.models.calibration import PRIOR, CosineScale, blend


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
