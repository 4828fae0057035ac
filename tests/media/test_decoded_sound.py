"""Decoded sound: sample for sample, in time, resampled and mixed."""

import numpy as np
import pytest

from trichord.media import DecodePlan, FramePlan

NATURAL = FramePlan(rule="rate", per_second=1.0, count=64, short_side=None)
WHOLE = [(0.0, None)]


def lag_of(got, expected, reach=400):
    """By how many samples `got` comes later than `expected`."""
    middle = slice(reach, len(expected) - reach)
    scores = [
        float(np.dot(got[middle.start + lag : middle.stop + lag], expected[middle]))
        for lag in range(-reach, reach + 1)
    ]
    return int(np.argmax(scores)) - reach


def test_sound_without_loss_comes_back_sample_for_sample(decoder, tmp_path, make):
    sound = make.noise(20.0)
    path = make.sound(tmp_path / "a.wav", sound)
    spans = [(0.0, 20.0), (7.9, 8.1), (3.25, 4.0), (15.5, 16.5)]
    got = decoder.decode(path, spans, DecodePlan(frames=None, rates=(16_000,)))
    for (start, end), decoded in zip(spans, got, strict=True):
        expected = sound[0, round(start * 16_000) : round(end * 16_000)]
        assert decoded.label == "no_video"
        np.testing.assert_allclose(decoded.audio[16_000], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "audio", "rate", "tolerance"),
    [
        ("a.mp4", "aac", 16_000, 1),
        ("a.mp4", "aac", 44_100, 1),
        ("a.mkv", "aac", 48_000, 24),  # Matroska's milliseconds
        ("a.mkv", "libopus", 48_000, 24),
        ("a.mkv", "flac", 16_000, 8),
        ("a.avi", "libmp3lame", 44_100, 1),
        ("a.ts", "aac", 48_000, 1),
        ("a.flv", "aac", 44_100, 23),
    ],
)
def test_sound_stays_in_sync_far_into_the_file(
    decoder, tmp_path, make, name, audio, rate, tolerance
):
    sound = make.noise(30.0, rate)
    path = make.movie(tmp_path / name, seconds=30.0, sound=sound, rate=rate, audio=audio)
    spans = [(0.5, 2.0), (7.5, 9.0), (24.25, 25.0)]
    frames = FramePlan(rule="uniform", count=1, short_side=None)
    got = decoder.decode(path, spans, DecodePlan(frames=frames, rates=(rate,)))
    for (start, end), decoded in zip(spans, got, strict=True):
        expected = sound[0, round(start * rate) : round(end * rate)]
        shift = (
            0 if name not in ("a.avi", "a.ts", "a.flv") else start_shift(decoder, path, sound, rate)
        )
        assert abs(lag_of(decoded.audio[rate], expected, 2500) - shift) <= tolerance
        if name == "a.mp4":
            assert make.number(decoded.frames[0]) == int((start + end) * 5 + 1e-6) % 256


def start_shift(decoder, path, sound, rate):
    """Delay of the encoder's padding at the start, for containers that cannot say so."""
    (decoded,) = decoder.decode(path, [(0.0, 2.0)], DecodePlan(frames=None, rates=(rate,)))
    return lag_of(decoded.audio[rate], sound[0, : 2 * rate], 2500)


def test_resampling_keeps_time(decoder, tmp_path):
    rate, tone = 44_100, 440.0
    seconds = np.arange(6 * rate) / rate
    from_file = 0.5 * np.sin(2 * np.pi * tone * seconds)
    path = tmp_path / "tone.wav"
    write_wav(path, from_file, rate)
    spans = [(1.0, 2.0), (1.2345, 3.0)]
    got = decoder.decode(path, spans, DecodePlan(frames=None, rates=(16_000, 48_000)))
    for (start, end), decoded in zip(spans, got, strict=True):
        for wanted, samples in decoded.audio.items():
            begin = round(start * rate) / rate  # the nearest sample of the file
            times = begin + np.arange(len(samples)) / wanted
            assert len(samples) == round((end - start) * wanted)
            np.testing.assert_allclose(samples, 0.5 * np.sin(2 * np.pi * tone * times), atol=2e-3)


def write_wav(path, samples, rate, channels=1):
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())


def test_mono_is_the_mean_of_two_channels_and_a_mix_of_more(decoder, tmp_path):
    quarter, half = np.full(8000, 0.25), np.full(8000, 0.5)
    write_wav(tmp_path / "two.wav", np.stack([quarter, half], 1), 16_000, channels=2)
    eight = np.stack([quarter] * 6 + [half] * 2, 1)
    write_wav(tmp_path / "eight.wav", eight, 16_000, channels=8)
    # 7.1 without the low frequencies, the fourth; all but left and right at -3 dB.
    half_power = 0.5**0.5
    surround = (0.25 * (1 + 2 * half_power) + 0.5 * half_power) / (1 + 3 * half_power)
    for name, mean in (("two.wav", 0.375), ("eight.wav", surround)):
        (decoded,) = decoder.decode(
            tmp_path / name, WHOLE, DecodePlan(frames=None, rates=(16_000,))
        )
        np.testing.assert_allclose(decoded.audio[16_000], mean, atol=1e-4)


def test_sound_that_ends_early_is_followed_by_zeros_and_span_lengths_hold(decoder, tmp_path, make):
    path = make.movie(tmp_path / "a.mkv", seconds=6.0, sound=make.noise(2.0), audio="flac")
    (decoded, late) = decoder.decode(
        path, [(0.0, 6.0), (4.0, 5.0)], DecodePlan(frames=NATURAL, rates=(16_000,))
    )
    assert decoded.audio[16_000].shape == (96_000,)
    assert np.abs(decoded.audio[16_000][:32_000]).max() > 0.3
    assert not decoded.audio[16_000][33_000:].any()
    assert (late.status, late.audio) == ("silent", {})
    assert late.frames is not None
