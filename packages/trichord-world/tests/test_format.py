import numpy as np

from trichord_world.format import (
    FRAMES,
    FRAMES_PER_SECOND,
    RATE,
    SAMPLES,
    SECONDS,
    stroke_times,
)


def test_strokes_come_once_a_period_from_half_a_period_on():
    np.testing.assert_allclose(stroke_times("slow"), [2 / 3, 2.0, 10 / 3])
    assert len(stroke_times("medium")) == 6
    assert len(stroke_times("fast")) == 12
    np.testing.assert_allclose(np.diff(stroke_times("fast")), 1 / 3)


def test_a_clip_is_a_whole_number_of_frames_samples_and_aac_frames():
    assert FRAMES == SECONDS * FRAMES_PER_SECOND == 48
    assert SAMPLES == SECONDS * RATE
    assert SAMPLES % 1024 == 0
