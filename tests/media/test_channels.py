"""Frames of many channels as left and right, against FFmpeg's own mixing."""

import av
import numpy as np
import pytest

from trichord.media.channels import downmix, mix, mono_of, samples_of

HALF = 0.5**0.5


def frame_of(samples, layout, kind="s16"):
    """A packed frame of (channel, sample) at full scale 1."""
    values = np.ascontiguousarray(samples.T.reshape(1, -1))
    if kind == "s16":
        values = (values * 32767).round().astype(np.int16)
    frame = av.AudioFrame.from_ndarray(values, format=kind, layout=layout)
    frame.sample_rate = 48_000
    return frame


@pytest.mark.parametrize(
    ("layout", "channels"),
    [
        ("2.1", 3),
        ("quad", 4),
        ("5.0", 5),
        ("5.1", 6),
        ("5.1(side)", 6),
        ("6 channels", 6),
        ("6.1", 7),
        ("7.1", 8),
        ("7.1(wide)", 8),
    ],
)
def test_more_channels_are_mixed_as_ffmpeg_mixes_16_bit_sound(layout, channels, make):
    frame = frame_of(make.noise(0.05, 48_000, channels), layout)
    mixed = av.AudioResampler(format="s16p", layout="stereo").resample(frame)
    expected = np.concatenate([got.to_ndarray() for got in mixed], axis=1) / 2.0**15
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(samples_of(frame, 2), expected, atol=2 / 2.0**15)


def test_dialogue_comes_from_both_sides_and_the_mix_stays_at_full_scale():
    # Front left and right, centre, low frequencies, back left and right.
    expected = np.array([[1, 0, HALF, 0, HALF, 0], [0, 1, HALF, 0, 0, HALF]]) / (1 + 2 * HALF)
    np.testing.assert_allclose(downmix("5.1", 6), expected, atol=1e-6)
    assert np.abs(samples_of(frame_of(np.ones((6, 10), np.float32), "5.1", "flt"), 2)).max() <= 1


def test_channels_that_ffmpeg_cannot_place_come_from_both_sides_alike():
    for layout, channels in (("9 channels", 9), ("ambisonic 1", 4), ("FL+FR+TFL", 3)):
        np.testing.assert_allclose(downmix(layout, channels), np.full((2, channels), 1 / channels))


def test_two_channels_are_left_and_right_whatever_they_are_called():
    both = np.array([[0.25, -0.5], [0.125, 1.0]], np.float32)
    for layout in ("stereo", "downmix", "2 channels", "FL+LFE"):
        np.testing.assert_array_equal(samples_of(frame_of(both, layout, "flt"), 2), both)
        np.testing.assert_array_equal(
            samples_of(frame_of(both, layout, "flt"), 1), [[0.1875, 0.25]]
        )


def test_a_frame_of_one_channel_in_a_track_of_two_is_heard_on_both_sides():
    one = np.array([[0.25, -0.5]], np.float32)
    np.testing.assert_array_equal(samples_of(frame_of(one, "mono", "flt"), 2), one.repeat(2, 0))


@pytest.mark.parametrize(("layout", "channels"), [("7.1", 8), ("hexadecagonal", 16)])
def test_eight_planes_or_more_are_read_whole_and_not_beyond(layout, channels, make):
    values = make.noise(0.02, 48_000, channels)
    packed = frame_of(values, layout, "flt")
    (planar,) = av.AudioResampler(format="fltp").resample(packed)
    assert planar.format.is_planar
    np.testing.assert_array_equal(mono_of(planar), mono_of(packed))
    np.testing.assert_array_equal(samples_of(planar, 2), samples_of(packed, 2))


def test_what_is_not_a_number_is_zero_in_its_own_channel_only():
    values = np.full((2, 4), 0.5, np.float32)
    values[0, 1:] = np.nan, np.inf, -np.inf
    frame = frame_of(values, "stereo", "flt")
    np.testing.assert_array_equal(samples_of(frame, 2), [[0.5, 0, 0, 0], [0.5] * 4])
    np.testing.assert_array_equal(mono_of(frame), [0.5, 0, 0, 0])


@pytest.mark.parametrize(
    ("layout", "weights"),
    [
        # ITU-R BS.775, mono of 3/2: centre 1, left and right -3 dB, surround -6 dB; no low frequencies.
        ("5.1", [HALF, HALF, 1, 0, 0.5, 0.5]),
        ("5.1(side)", [HALF, HALF, 1, 0, 0.5, 0.5]),
        ("6 channels", [HALF, HALF, 1, 0, 0.5, 0.5]),
        ("7.1", [HALF, HALF, 1, 0, 0.5, 0.5, 0.5, 0.5]),
        ("8 channels", [HALF, HALF, 1, 0, 0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_mono_of_surround_has_the_weights_of_the_itu(layout, weights):
    one_by_one = np.eye(len(weights), dtype=np.float32)
    heard = mono_of(frame_of(one_by_one, layout, "flt"))
    np.testing.assert_allclose(heard / heard[2], weights, atol=1e-6)
    np.testing.assert_array_equal(mix(one_by_one, 1, layout)[0], heard)


def test_microphones_without_places_are_averaged():
    four = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(mono_of(frame_of(four, "4 channels", "flt")), [0.25] * 4)
    np.testing.assert_array_equal(mix(four, 1), [[0.25] * 4])
