"""Left and right of real files, decoded in real child processes."""

import math

import numpy as np
import pytest

from trichord.media import DecodePlan, Decoder, DecodeRequest, FramePlan

RATE = 16_000
WHOLE = [(0.0, None)]
HALF = 0.5**0.5


def plan_of(*rates, stereo=True, frames=None):
    return DecodePlan(frames=frames, rates=rates or (RATE,), stereo=stereo)


def heard(decoder, path, *rates, stereo=True):
    (decoded,) = decoder.decode(path, WHOLE, plan_of(*rates, stereo=stereo))
    return decoded


def alike(one, other):
    """Correlation of two sounds."""
    count = min(len(one), len(other))
    return float(np.corrcoef(one[:count], other[:count])[0, 1])


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac")])
def test_left_and_right_come_back_sample_for_sample(decoder, tmp_path, make, name, codec):
    sound = make.noise(9.0, channels=2)
    path = make.sound(tmp_path / name, sound, codec=codec, layout="stereo")
    both = heard(decoder, path).audio[RATE]
    assert (both.shape, both.dtype) == ((2, 9 * RATE), np.float32)
    np.testing.assert_allclose(both, sound, atol=1e-4)
    mono = heard(decoder, path, stereo=False).audio[RATE]
    np.testing.assert_array_equal(mono, both.mean(axis=0, dtype=np.float32))


def test_compressed_left_and_right_stay_apart(decoder, tmp_path, make):
    sound = make.noise(12.0, channels=2)
    path = make.movie(tmp_path / "a.mp4", seconds=12.0, sound=sound, layout="stereo")
    decoded = heard(decoder, path)
    left, right = decoded.audio[RATE]
    assert decoded.label == "ok"
    assert min(alike(left, sound[0]), alike(right, sound[1])) > 0.9
    assert abs(alike(left, sound[1])) < 0.1
    mono = heard(decoder, path, stereo=False).audio[RATE]
    np.testing.assert_allclose(mono, (left + right) / 2, atol=1e-7)


def test_a_track_of_one_channel_gives_one_row(decoder, tmp_path, make):
    path = make.sound(tmp_path / "a.wav", make.noise(1.0))
    both, mono = (heard(decoder, path, RATE, 22_050, stereo=s).audio for s in (True, False))
    for rate in (RATE, 22_050):
        assert both[rate].shape == (1, rate)
        np.testing.assert_array_equal(both[rate][0], mono[rate])


def test_a_sound_on_the_left_leaves_the_right_empty_at_any_rate(decoder, tmp_path, make):
    sound = make.noise(3.0, channels=2)
    sound[1] = 0
    path = make.sound(tmp_path / "left.wav", sound, layout="stereo")
    alone = make.sound(tmp_path / "alone.wav", sound[:1])
    for rate in (8000, RATE, 44_100):
        left, right = heard(decoder, path, rate).audio[rate]
        np.testing.assert_array_equal(left, heard(decoder, alone, rate).audio[rate][0])
        assert not right.any()


def test_channels_that_cancel_each_other_are_silent_only_as_mono(decoder, tmp_path, make):
    sound = make.noise(1.0).repeat(2, axis=0)
    sound[1] *= -1
    path = make.sound(tmp_path / "a.wav", sound, codec="pcm_f32le", layout="stereo")
    mono, both = heard(decoder, path, stereo=False), heard(decoder, path)
    assert (mono.status, mono.audio) == ("silent", {})
    assert both.status == "no_video"
    np.testing.assert_array_equal(both.audio[RATE], sound)


def test_zeros_on_both_sides_are_silence(decoder, tmp_path):
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(4 * RATE))
    decoded = heard(decoder, tmp_path / "a.wav")
    assert (decoded.status, decoded.audio, decoded.end) == ("silent", {}, 1.0)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.m4a", "aac")]
)
def test_six_channels_are_mixed_to_two_with_the_voice_in_the_middle(
    decoder, tmp_path, make, name, codec
):
    left, right, centre, low, back_left, back_right = sound = make.noise(4.0, 48_000, 6)
    path = make.sound(tmp_path / name, sound, 48_000, codec, "5.1")
    both = heard(decoder, path, 48_000).audio[48_000]
    full = 1 + 2 * HALF
    expected = (
        (left + HALF * (centre + back_left)) / full,
        (right + HALF * (centre + back_right)) / full,
    )
    mono = heard(decoder, path, 48_000, stereo=False).audio[48_000]
    if codec == "aac":
        assert min(alike(*pair) for pair in zip(both, expected, strict=True)) > 0.9
        return
    np.testing.assert_allclose(both, expected, atol=1e-4)
    np.testing.assert_allclose(mono, np.mean(expected, axis=0), atol=1e-4)
    assert abs(alike(mono, low)) < 0.1


def test_eight_compressed_channels_are_heard(decoder, tmp_path, make):
    import av

    sound = make.noise(2.0, 48_000, 8)
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="7.1")
        for start in range(0, 96_000, 960):
            piece = np.ascontiguousarray(sound[:, start : start + 960].T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(piece, format="flt", layout="7.1")
            frame.sample_rate, frame.pts = 48_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    mono = heard(decoder, path, 48_000, stereo=False).audio[48_000]
    assert alike(mono, sound.mean(axis=0)) > 0.8
    assert heard(decoder, path, 48_000).audio[48_000].shape[0] == 2


@pytest.mark.parametrize(
    ("name", "audio", "video"),
    [("a.mp4", "aac", "libx264"), ("a.mkv", "libopus", "libx264"),
     ("a.avi", "libmp3lame", "mpeg4"),
     pytest.param("a.mkv", "flac", "libx264", marks=pytest.mark.slow),
     pytest.param("a.mkv", "ac3", "libx264", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_span_is_the_same_bits_in_company_and_alone(tmp_path, make, name, audio, video):
    path = make.movie(
        tmp_path / name,
        seconds=24.0,
        sound=make.noise(24.0, 48_000, 2),
        rate=48_000,
        layout="stereo",
        audio=audio,
        video=video,
    )
    spans = [(0.0, 24.0), (20.2, 21.0), (7.9, 8.1), (12.3, 17.0), (0.1, 0.2)]
    plan = plan_of(RATE, 48_000, frames=FramePlan(rule="uniform", count=2, short_side=None))
    with Decoder(1) as pool:
        together = pool.decode(path, spans, plan)
        alone = [pool.decode(path, [span], plan)[0] for span in spans]
    assert [decoded.label for decoded in together] == ["ok"] * len(spans)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        for rate in plan.rates:
            assert one.audio[rate].shape == (2, math.floor((one.end - one.start) * rate + 0.5))
            np.testing.assert_array_equal(one.audio[rate], other.audio[rate])


@pytest.mark.parametrize("rate", [8000, 96_000])
def test_low_and_high_rates_become_the_wanted_one_in_each_channel(decoder, tmp_path, make, rate):
    def tones(times):
        return np.stack([0.5 * np.sin(2 * np.pi * tone * times) for tone in (440.0, 1000.0)])

    sound = tones(np.arange(3 * rate) / rate).astype(np.float32)
    path = make.sound(tmp_path / "a.wav", sound, rate, layout="stereo")
    (decoded,) = decoder.decode(path, [(1.0, 2.0)], plan_of())
    expected = tones(1.0 + np.arange(RATE) / RATE)
    np.testing.assert_allclose(decoded.audio[RATE], expected, atol=2e-3)


def test_what_is_not_a_number_is_zero_and_spoils_no_other_channel(decoder, tmp_path, make):
    sound = make.noise(1.0, channels=2)
    expected = sound.copy()
    sound[0, 100:200] = np.nan
    sound[1, 300] = np.inf
    expected[0, 100:200] = expected[1, 300] = 0
    path = make.sound(tmp_path / "a.wav", sound, codec="pcm_f32le", layout="stereo")
    np.testing.assert_array_equal(heard(decoder, path).audio[RATE], expected)
    assert np.isfinite(heard(decoder, path, 44_100).audio[44_100]).all()


@pytest.mark.parametrize("shape", [(RATE,), (3, RATE), (0, RATE), (2, RATE - 1), (1, 2, RATE)])
def test_a_child_that_answers_in_another_shape_is_not_believed(monkeypatch, shape):
    def ask(worker, message, take):
        header = {"span": 0, "status": "ok", "reason": "", "start": 0.0, "end": 1.0}
        take(header, {str(RATE): np.zeros(shape, np.float32)})
        return {"work": {}}

    monkeypatch.setattr("trichord.media.worker.Worker.ask", ask)
    request = DecodeRequest(path="a.wav", spans=[(0.0, 1.0)], plan=plan_of())
    with Decoder(1) as pool:
        assert pool.decode_measured(request)[0][0].label == "corrupt: decoder crashed"
