import math

import pytest

from trichord.media import DecodePlan, Decoder, DecodeRequest, FramePlan, samples_in


def test_frames_at_a_rate_lie_at_bin_centres():
    plan = FramePlan(rule="rate", per_second=2.0)
    assert plan.times(10.0, 12.0) == (10.25, 10.75, 11.25, 11.75)
    assert plan.times(0.0, 1.6) == (0.25, 0.75, 1.25)  # the fourth centre, 1.75, is outside
    assert plan.times(3.0, 3.1) == (3.05,)  # at least one
    assert plan.times(3.0, 3.0) == (3.0,)


def test_too_many_frames_are_thinned_evenly():
    plan = FramePlan(rule="rate", per_second=1.0, count=3)
    assert plan.times(0.0, 12.0) == (2.5, 6.5, 10.5)
    assert len(FramePlan(per_second=1000.0, count=4).times(0.0, 36_000.0)) == 4


def test_uniform_frames_are_exactly_as_many():
    assert FramePlan(rule="uniform", count=4).times(0.0, 8.0) == (1.0, 3.0, 5.0, 7.0)
    assert FramePlan(rule="uniform", count=2).times(5.0, 5.0) == (5.0, 5.0)


def test_impossible_plans_are_refused():
    for wrong in ({"count": 0}, {"per_second": 0.0}, {"per_second": math.inf}, {"short_side": 0}):
        with pytest.raises(ValueError):
            FramePlan(**wrong)
    for rates in ((0,), (16_000, 16_000)):
        with pytest.raises(ValueError):
            DecodePlan(frames=None, rates=rates)
    for span in ((1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)):
        with pytest.raises(ValueError, match="span"):
            DecodeRequest(path="a", spans=[span], plan=DecodePlan(frames=None))
    with pytest.raises(ValueError, match="worker"):
        Decoder(0)


def test_sample_counts_round_halves_up():
    assert [samples_in(s, 2) for s in (0.2, 0.25, 0.7, 0.75, 1.0)] == [0, 1, 1, 2, 2]


def test_a_plan_of_exact_frames_is_known_by_what_it_was_before_there_was_a_choice():
    before = {"rule": "rate", "per_second": 1.0, "count": 64, "short_side": 224}
    assert FramePlan().described() == before
    assert FramePlan(nearest="keyframe").described() == {**before, "nearest": "keyframe"}
