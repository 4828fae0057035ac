"""Sound from the middle of spans, and what it costs."""

import numpy as np
import pytest

from trichord.media import DecodePlan, Decoder, DecodeRequest, FramePlan, Limits
from trichord.media.audio import AudioTrack

RATE = 16_000
WHOLE = [(0.0, None)]
HOURS = 10


def plan_of(seconds, *rates, frames=None, stereo=False):
    return DecodePlan(frames=frames, rates=rates or (RATE,), stereo=stereo, audio_seconds=seconds)


def test_a_plan_takes_the_middle_of_longer_spans_only():
    plan = plan_of(6.0)
    assert plan.audio_span(2.0, 12.0) == (4.0, 10.0)
    assert plan.audio_length(2.0, 12.0) == 6.0
    for start, end in ((2.0, 8.0), (2.1, 7.3), (5.0, 5.0)):
        assert plan.audio_span(start, end) == (start, end)
        assert plan.audio_length(start, end) == end - start
        assert plan_of(None).audio_span(start, end) == (start, end)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_lengths_of_sound_are_refused(seconds):
    with pytest.raises(ValueError, match="audio_seconds"):
        plan_of(seconds)


@pytest.mark.parametrize(
    ("name", "audio", "video", "stereo"),
    [("a.mkv", "flac", "libx264", False), ("a.mp4", "aac", "libx264", True),
     ("a.mkv", "libopus", "libx264", True), ("a.avi", "mp2", "mpeg4", False),
     pytest.param("a.mkv", "flac", "libx264", True, marks=pytest.mark.slow),
     pytest.param("a.mp4", "aac", "libx264", False, marks=pytest.mark.slow),
     pytest.param("a.mkv", "libopus", "libx264", False, marks=pytest.mark.slow),
     pytest.param("a.avi", "mp2", "mpeg4", True, marks=pytest.mark.slow)],
)  # fmt: skip
def test_the_middle_is_the_slice_of_the_whole_and_frames_are_the_same(
    decoder, tmp_path, make, name, audio, video, stereo
):
    sound = make.noise(40.0, 48_000, 2)
    path = make.movie(
        tmp_path / name,
        seconds=40.0,
        sound=sound,
        rate=48_000,
        layout="stereo",
        audio=audio,
        video=video,
    )
    frames, rates = FramePlan(rule="uniform", count=3, short_side=None), (RATE, 48_000)
    spans = [(0.0, 40.0), (1.0, 31.0), (20.0, 26.0)]
    whole = decoder.decode(path, spans, plan_of(None, *rates, frames=frames, stereo=stereo))
    middle = decoder.decode(path, spans, plan_of(6.0, *rates, frames=frames, stereo=stereo))
    for (start, end), all_of_it, some in zip(spans, whole, middle, strict=True):
        assert (some.start, some.end, some.label) == (start, end, "ok")
        assert some.audio_start == (start + end) / 2 - 3
        assert all_of_it.audio_start == start
        np.testing.assert_array_equal(some.frames, all_of_it.frames)
        np.testing.assert_array_equal(some.times, all_of_it.times)
        for rate in rates:
            first = round((some.audio_start - start) * rate)
            expected = all_of_it.audio[rate][..., first : first + 6 * rate]
            assert expected.shape[-1] == 6 * rate
            np.testing.assert_array_equal(some.audio[rate], expected)


def test_a_middle_between_samples_begins_at_the_nearest_and_misses_none_at_its_end(
    decoder, tmp_path, make
):
    # Rounded by itself, the end of each of these middles would come one sample early.
    for samples, taken, start in (
        (40_005, 16_000, 0.0),
        (40_008, 16_001, 0.0),
        (40_012, 20_001, 0.1),
    ):
        sound = make.noise(3.0)[:, :samples]
        path = make.sound(tmp_path / "a.wav", sound, codec="pcm_f32le")
        (decoded,) = decoder.decode(path, [(start, None)], plan_of(taken / RATE))
        first = round(decoded.audio_start * RATE)
        assert decoded.audio_start == pytest.approx((start + (samples - taken) / RATE) / 2)
        np.testing.assert_array_equal(decoded.audio[RATE], sound[0, first : first + taken])


def test_a_middle_resampled_from_elsewhere_differs_by_rounding_only(decoder, tmp_path):
    # 44,100 and 16,000 meet each 441 samples; this middle begins at none of them.
    rate, tone = 44_100, 440.0
    sound = 0.5 * np.sin(2 * np.pi * tone * np.arange(8 * rate + 202) / rate)
    path = tmp_path / "a.wav"
    write_wav(path, sound[None], rate)
    (decoded,) = decoder.decode(path, WHOLE, plan_of(2.0))
    assert round(decoded.audio_start * rate) == 3 * rate + 101
    times = decoded.audio_start + np.arange(2 * RATE) / RATE
    np.testing.assert_allclose(
        decoded.audio[RATE], 0.5 * np.sin(2 * np.pi * tone * times), atol=2e-3
    )


def write_wav(path, sound, rate):
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(sound))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound.T * 32767).round().astype("<i2").tobytes())


def test_middles_are_the_same_bits_in_company_and_alone(movie):
    spans = [(0.0, 20.0), (3.0, 17.0), (3.3, 9.9), (18.0, 19.5), (10.0, 20.0)]
    plan = plan_of(2.5, RATE, 22_050, frames=FramePlan(count=2, rule="uniform"), stereo=True)
    with Decoder(1) as pool:
        together = pool.decode(movie, spans, plan)
        alone = [pool.decode(movie, [span], plan)[0] for span in spans]
    for one, other in zip(together, alone, strict=True):
        assert one.audio_start == other.audio_start
        np.testing.assert_array_equal(one.frames, other.frames)
        for rate in (RATE, 22_050):
            np.testing.assert_array_equal(one.audio[rate], other.audio[rate])


def test_sound_outside_the_middle_does_not_count(decoder, tmp_path, make):
    sound = make.noise(10.0)
    sound[0, 3 * RATE : 7 * RATE] = 0
    path = make.sound(tmp_path / "a.wav", sound)
    (decoded,) = decoder.decode(path, WHOLE, plan_of(3.0))
    assert (decoded.status, decoded.audio, decoded.audio_start) == ("silent", {}, 3.5)


def test_a_failure_says_where_the_sound_would_have_been(decoder, tmp_path, make):
    path = make.sound(tmp_path / "a.wav", make.noise(2.0))
    inside, outside = decoder.decode(path, [(0.0, 2.0), (5.0, 9.0)], plan_of(1.0))
    assert (inside.audio_start, outside.audio_start, outside.status) == (0.5, 5.0, "corrupt")
    (absent,) = decoder.decode(tmp_path / "b.wav", [(5.0, 9.0)], plan_of(1.0))
    assert (absent.audio_start, absent.status) == (5.0, "corrupt")


def test_ten_hours_cost_one_minute_in_little_memory(tmp_path, make):
    rate, length = 16_000, HOURS * 3600
    loud = (make.noise(60.0, rate, 2) * 32767).round().astype("<i2")
    path = tmp_path / "long.wav"
    write_wav(path, np.zeros((2, 0)), rate)
    size = 4 * rate * length
    with path.open("r+b") as file:  # its zeros take no space
        header = bytearray(file.read())
        header[4:8] = (len(header) - 8 + size).to_bytes(4, "little")
        header[40:44] = size.to_bytes(4, "little")
        file.seek(0)
        file.write(header)
        file.seek(len(header) + 4 * rate * (length // 2 - 30))
        file.write(loud.T.tobytes())
        file.truncate(len(header) + size)
    request = DecodeRequest(path=path, plan=plan_of(60.0, stereo=True))
    with Decoder(1, Limits(memory_bytes=512 * 1024**2)) as pool:
        (decoded,), work = pool.decode_measured(request)
    assert (decoded.label, decoded.end) == ("no_video", length)
    assert decoded.audio_start == length / 2 - 30
    np.testing.assert_allclose(decoded.audio[RATE], loud / 2.0**15, atol=1e-6)
    assert work.audio_seconds <= 60 + 2 * 8
    assert work.seeks == 1
    assert work.bytes_read <= 4 * rate * 90


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.m4a", "aac"),
        ("a.flac", "flac"),
        pytest.param("a.mp3", "libmp3lame", marks=pytest.mark.slow),
    ],
)
def test_ten_minutes_are_decoded_only_in_the_middle(decoder, tmp_path, make, name, codec):
    sound = np.tile(make.noise(6.0, 8000), 100)
    path = make.sound(tmp_path / name, sound, 8000, codec)
    request = DecodeRequest(path=path, spans=[(0.0, 600.0)], plan=plan_of(60.0, 8000))
    (decoded,), work = decoder.decode_measured(request)
    assert decoded.audio[8000].shape == (60 * 8000,)
    assert np.abs(decoded.audio[8000]).max() > 0.3
    assert work.audio_seconds <= 60 + 2 * 8
    assert work.seeks == 1


def test_a_codec_without_a_fresh_start_is_heard_to_the_end_of_a_span(decoder, tmp_path, make):
    sound = make.noise(12.0, 48_000)
    path = make.movie(tmp_path / "a.mkv", seconds=12.0, sound=sound, rate=48_000, audio="mp2")
    spans = [(0.0, 12.0), (4.0, 6.0), (11.0, 12.0)]
    whole, *others = decoder.decode(path, spans, plan_of(None, 48_000))
    assert whole.status == "ok"
    seconds = zip(whole.audio[48_000].reshape(-1, 48_000), sound.reshape(-1, 48_000), strict=True)
    assert min(np.corrcoef(*second)[0, 1] for second in seconds) > 0.8
    for (start, end), part in zip(spans[1:], others, strict=True):
        expected = whole.audio[48_000][round(start * 48_000) : round(end * 48_000)]
        np.testing.assert_array_equal(part.audio[48_000], expected)


def test_a_codec_without_a_fresh_start_keeps_only_what_is_wanted(tmp_path, make, monkeypatch):
    from trichord.media.decode_pass import DecodePass
    from trichord.media.media_file import open_source

    path = make.sound(tmp_path / "a.mka", make.noise(120.0, RATE), RATE, "mp2")
    kept, feed = [], AudioTrack.feed

    def fed(sound, packet, time):
        feed(sound, packet, time)
        kept.append(sum(samples.shape[1] for _, samples in sound.pieces) / RATE)

    monkeypatch.setattr(AudioTrack, "feed", fed)
    found = {}
    source = open_source(path, Limits())
    decode_pass = DecodePass(source, {0: (0.0, 120.0)}, plan_of(10.0), Limits(), found.__setitem__)
    decode_pass.run()
    source.close()
    assert found[0].audio[RATE].shape == (10 * RATE,)
    assert max(kept) < 10 + 3
    assert decode_pass.audio.decoded < 65 + 3
