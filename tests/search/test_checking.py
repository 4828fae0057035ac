import math

import numpy as np
import pytest

from trichord.search.checking import SideVectors, best, own_ranks, similarity


def unit(*angles):
    """Unit vectors in the plane at angles in degrees: cosines are known by hand."""
    turned = np.radians(angles)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def texts(toward_vision, toward_audio):
    return SideVectors(unit(*toward_vision), unit(*toward_audio))


def moments(vision, audio):
    """Moments at angles; None: it lacks the modality."""

    def side(angles):
        has = np.array([angle is not None for angle in angles])
        return unit(*(angle or 0 for angle in angles)) * has[:, None]

    return SideVectors(side(vision), side(audio))


def test_likeness_is_the_weighted_mean_of_the_cosines_with_what_is_there():
    found = similarity(
        texts([0.0, 90.0], [60.0, 0.0]), moments([60.0, 0.0, None, None], [60.0, None, 0.0, None])
    )
    root = math.sqrt(3) / 2
    # sight 60: .5 and root; sound 60: 1 and .5; the others have one side or none.
    expected = [[0.75, 1.0, 0.5, np.nan], [(root + 0.5) / 2, 0.0, 1.0, np.nan]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_weights_count_where_both_are_there_only():
    found = similarity(
        texts([0.0], [0.0]), moments([60.0, 60.0, None], [0.0, None, 60.0]), (3.0, 1.0)
    )
    np.testing.assert_allclose(found, [[(3 * 0.5 + 1) / 4, 0.5, 0.5]], atol=1e-6)


@pytest.mark.parametrize("weights", [(0.0, 1.0), (1.0, -1.0), (1.0, math.nan)])
def test_weights_that_are_not_positive_are_refused(weights):
    with pytest.raises(ValueError, match="positive"):
        similarity(texts([0.0], [0.0]), moments([0.0], [0.0]), weights)


def test_the_best_candidate_is_the_nearest_and_of_equals_the_likeliest():
    likelihood = np.array([-1.0, -2.0, -3.0, -4.0], np.float32)
    assert best(np.array([0.1, 0.3, 0.2, 0.0], np.float32), likelihood) == 1
    # Nearer than batches move a cosine: equal.
    assert best(np.array([0.1, 0.3, 0.3 + 5e-7, 0.3 + 2e-6], np.float32), likelihood) == 3
    assert best(np.array([0.1, 0.3, 0.3 + 5e-7, 0.2], np.float32), likelihood) == 1
    assert best(np.array([0.3, 0.3], np.float32), np.array([-5.0, -5.0], np.float32)) == 0


def test_a_text_finds_its_own_moment_at_the_place_of_its_cosine_ties_against_it():
    angles = [0.0, 10.0, 40.0, 40.0]
    asked = texts([0.0, 30.0, 30.0, 90.0], [0.0, 30.0, 30.0, 90.0])
    # 30 degrees is 10 from the last two (which tie), 20 from the second, 30 from the first.
    assert own_ranks(asked, moments(angles, angles)).tolist() == [1, 3, 2, 2]


def test_many_texts_are_ranked_in_portions_as_at_once(monkeypatch):
    from trichord.search import checking

    random = np.random.default_rng(0)
    angles = random.uniform(0, 90, 11).tolist()
    asked, shown = texts(angles, angles[::-1]), moments(angles[::-1], angles)
    whole = own_ranks(asked, shown, (2.0, 1.0))
    monkeypatch.setattr(checking, "AT_ONCE", 4)
    assert own_ranks(asked, shown, (2.0, 1.0)).tolist() == whole.tolist()
    assert len(set(whole.tolist())) > 3
