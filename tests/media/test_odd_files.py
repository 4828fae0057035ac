"""Files whose headers are wrong or whose tracks are odd: what is there is read, and the rest is said."""

import struct
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from trichord.media import DecodePlan, FramePlan

RATE = 16_000
SOUND = DecodePlan(frames=None, rates=(RATE,))
BOTH = DecodePlan(frames=FramePlan(rule="uniform", count=4, short_side=None), rates=(RATE,))
WHOLE = [(0.0, None)]
ODD = Path(__file__).parents[3] / "shared" / "data" / "odd"
NO_LENGTH = "no_video: its header gives no length"


def wav(samples, declared, riff=None, before=b""):
    """A WAV of 16 bits whose header declares other lengths."""
    content = (samples[0] * 32767).round().astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVE" + form + before + b"data" + struct.pack("<I", declared % 2**32) + content
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


@pytest.mark.parametrize(
    ("declared", "riff", "label"),
    [
        (0, 0, NO_LENGTH),
        (0xFFFFFFFF, 0xFFFFFFFF, NO_LENGTH),
        (0x7FFFF000, 0x7FFFF024, NO_LENGTH),
        (0x80000000, 0x80000024, NO_LENGTH),
        (2 * 3 * RATE, 0, "no_video"),
        (2 * 3 * RATE, 2 * 3 * RATE + 44, "no_video"),
        (2 * 3 * RATE + 1, None, "cut_off: cut off: 1 bytes are missing at its end"),
        (2 * 4 * RATE, None, f"cut_off: cut off: {2 * RATE} bytes are missing at its end"),
    ],
)
def test_a_wav_of_a_wrong_length_is_read(decoder, tmp_path, make, declared, riff, label):
    sound = make.noise(3.0)
    path = tmp_path / "a.wav"
    path.write_bytes(wav(sound, declared, riff))
    probe, [decoded] = decoder.probe(path), decoder.decode(path, WHOLE, SOUND)
    assert (probe.label, decoded.label) == (label, label)
    assert probe.duration == decoded.end == pytest.approx(3.0, abs=0.001)
    np.testing.assert_allclose(decoded.audio[RATE][: 3 * RATE], sound[0], atol=1e-4)


def test_a_wav_with_odd_chunks_and_one_in_64_bits_are_read(decoder, tmp_path, make):
    sound = make.noise(2.0)
    odd = b"note" + struct.pack("<I", 3) + b"abc\0"
    (tmp_path / "odd.wav").write_bytes(wav(sound, 4 * RATE, before=odd))
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, 0, 4 * RATE, 2 * RATE, 0)
    long = wav(sound, 0xFFFFFFFF).replace(b"WAVE", b"WAVE" + sizes, 1)
    (tmp_path / "long.wav").write_bytes(b"RF64\xff\xff\xff\xff" + long[8:])
    for path in tmp_path.iterdir():
        [decoded] = decoder.decode(path, WHOLE, SOUND)
        assert (decoder.probe(path).label, decoded.label) == ("no_video", "no_video")
        np.testing.assert_allclose(decoded.audio[RATE], sound[0], atol=1e-4)


def test_bytes_behind_a_movie_and_before_an_mp3_are_no_harm(decoder, tmp_path, make, movie):
    behind = tmp_path / "behind.mp4"
    behind.write_bytes(movie.read_bytes() + np.random.default_rng(0).bytes(4096))
    assert decoder.probe(behind).label == "ok"
    mp3 = make.sound(tmp_path / "a.mp3", make.noise(3.0), codec="libmp3lame").read_bytes()
    for junk in (bytes(300), b"HTTP/1.1 200 OK\r\n\r\n", mp3[100:180]):
        path = tmp_path / "b.mp3"
        path.write_bytes(junk + mp3)
        assert decoder.probe(path).label == "no_video"
        [decoded] = decoder.decode(path, WHOLE, SOUND)
        assert decoded.end == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize(
    ("suffix", "codecs"),
    [("ts", ("libx264", "aac")), ("ts", ("mpeg2video", "mp2")), ("mpg", ("mpeg2video", "mp2"))],
)
def test_all_of_a_file_whose_clock_restarts_is_read(decoder, tmp_path, make, suffix, codecs):
    parts = []
    for number, first in enumerate((0, 100, 200)):
        part = make.movie(
            tmp_path / f"{number}.{suffix}",
            seconds=4.0,
            fps=25,
            sound=make.noise(4.0, 48_000, seed=number),
            rate=48_000,
            video=codecs[0],
            audio=codecs[1],
            picture=lambda n, *size, first=first: make.picture(first + n, *size),
        )
        parts.append(part.read_bytes())
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(b"".join(parts))
    probe = decoder.probe(path)
    assert probe.label == "ok: its clock restarts"
    assert probe.duration == pytest.approx(12.0, abs=0.3)
    plan = DecodePlan(frames=FramePlan(per_second=0.5, short_side=None), rates=(RATE,))
    [decoded, late] = decoder.decode(path, [(0.0, 12.0), (8.0, 12.0)], plan)
    assert decoded.label == "ok: its clock restarts"
    # Frames at 1, 3, 5 ... s; a recording ends up to a few frames late.
    shown = [make.number(frame) for frame in decoded.frames]
    np.testing.assert_allclose(shown, [25, 75, 125, 175, 225, 19], atol=8)
    np.testing.assert_array_equal(late.frames, decoded.frames[4:])
    loud = np.abs(decoded.audio[RATE][: 12 * RATE].reshape(-1, RATE // 4)).max(axis=1)
    assert (loud > 0.05).mean() > 0.95


def test_a_clock_that_goes_on_is_no_restart(decoder, tmp_path, make):
    path = make.movie(tmp_path / "a.ts", seconds=6.0, sound=make.noise(6.0))
    assert decoder.probe(path).label == "ok"


def test_frames_of_another_shape_get_bars(decoder, tmp_path, make):
    wide = make.movie(tmp_path / "a.ts", seconds=2.0, video="mpeg2video", fps=25)
    tall = make.movie(tmp_path / "b.ts", seconds=2.0, video="mpeg2video", fps=25, size=(48, 64))
    path = tmp_path / "joined.ts"
    path.write_bytes(wide.read_bytes() + tall.read_bytes())
    [decoded] = decoder.decode(path, WHOLE, BOTH)
    assert decoded.status == "no_audio"
    assert decoded.frames.shape == (4, 48, 64, 3)
    assert decoded.frames[3, :, :8].max() < 40  # black at the left
    assert decoded.frames[3, :, 16:48].mean() > 40


def damaged(path, stream):
    """Overwrite all packets of a track with noise."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams[stream]):
            if packet.size:
                noise = np.random.default_rng(packet.pos).bytes(packet.size)
                content[packet.pos : packet.pos + packet.size] = noise
    path.write_bytes(content)


def test_a_dead_track_does_not_spoil_the_other(decoder, tmp_path, make):
    for stream, name, label in (
        (1, "deaf.mp4", "no_audio: its audio cannot be decoded"),
        (0, "blind.mp4", "no_video: its video cannot be decoded"),
    ):
        path = make.movie(tmp_path / name, seconds=2.0, sound=make.noise(2.0), audio="flac")
        damaged(path, stream)
        [decoded] = decoder.decode(path, WHOLE, BOTH)
        assert (decoder.probe(path).label, decoded.label) == (label, label)
        assert (decoded.frames is None, decoded.audio == {}) == (stream == 0, stream == 1)


def test_the_first_track_that_is_not_silent_is_heard(decoder, tmp_path, make):
    loud = make.noise(3.0)
    for name, first, second in (("a.mkv", 0 * loud, loud), ("b.mkv", loud, 0 * loud)):
        path = make.movie(
            tmp_path / name, seconds=3.0, sound=first, second_sound=second, audio="flac"
        )
        probe, [decoded] = decoder.probe(path), decoder.decode(path, WHOLE, BOTH)
        assert (probe.label, decoded.label) == ("ok", "ok")
        assert [stream.chosen for stream in probe.audio] == [name == "b.mkv", name == "a.mkv"]
        np.testing.assert_allclose(decoded.audio[RATE][: 3 * RATE], loud[0], atol=1e-3)


@pytest.mark.parametrize("wanted", ["", "1", "2", "eng", "deu", "3", "fra"])
def test_a_track_can_be_chosen_by_its_number_or_language(decoder, tmp_path, make, wanted):
    first, second = make.noise(2.0), make.noise(2.0, seed=1)
    path = make.movie(
        tmp_path / "a.mkv", seconds=2.0, sound=first, second_sound=second, audio="flac",
        languages=("eng", "deu"),
    )  # fmt: skip
    [decoded] = decoder.decode(path, WHOLE, replace(BOTH, audio_track=wanted))
    expected = second if wanted in ("2", "deu") else first
    np.testing.assert_allclose(decoded.audio[RATE][: 2 * RATE], expected[0], atol=1e-3)
    assert [stream.language for stream in decoder.probe(path).audio] == ["eng", "deu"]
    lacking = f"ok: no audio track {wanted} (there is 1 eng, 2 deu): the usual one is heard"
    assert decoded.label == (lacking if wanted in ("3", "fra") else "ok")


def test_a_chosen_track_is_heard_even_if_it_is_silent(decoder, tmp_path, make):
    sound = make.noise(2.0)
    path = make.movie(tmp_path / "a.mkv", seconds=2.0, sound=0 * sound, second_sound=sound)
    [decoded] = decoder.decode(path, WHOLE, replace(BOTH, audio_track="1"))
    assert decoded.status == "silent"


SOUNDS = {
    "a.w64": ("pcm_s16le", "w64"),
    "a.au": ("pcm_s16be", "au"),
    "a.ac3": ("ac3", "ac3"),
    "a.eac3": ("eac3", "eac3"),
    "a.mp2": ("mp2", "mp3"),
    "a.caf": ("pcm_s16le", "caf"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds_of_rarer_formats_are_read(decoder, tmp_path, make, name):
    codec, container = SOUNDS[name]
    path = make.sound(tmp_path / name, make.noise(3.0, 48_000), 48_000, codec)
    path = path.rename(tmp_path / "named.otherwise")
    probe, [decoded] = decoder.probe(path), decoder.decode(path, WHOLE, SOUND)
    assert (probe.label, probe.container, decoded.label) == ("no_video", container, "no_video")
    assert probe.duration == pytest.approx(3.0, abs=0.05)


VIDEOS = {
    "a.m2v": ("mpeg2video", None, "mpegvideo", "no_audio"),
    "a.mxf": ("mpeg2video", "pcm_s16le", "mxf", "ok"),
    "a.rm": ("rv10", "ac3", "rm", "ok"),
    "a.vob": ("mpeg2video", "mp2", "mpeg", "ok"),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_videos_of_rarer_formats_are_read(decoder, tmp_path, make, name):
    video, audio, container, label = VIDEOS[name]
    sound = None if audio is None else make.noise(4.0, 48_000)
    path = make.movie(tmp_path / name, fps=25, sound=sound, rate=48_000, video=video, audio=audio)
    probe, [decoded] = decoder.probe(path), decoder.decode(path, WHOLE, BOTH)
    assert (probe.label, probe.container, decoded.label) == (label, container, label)
    assert probe.duration == pytest.approx(4.0, abs=0.1)
    shown = [make.number(frame) for frame in decoded.frames]
    np.testing.assert_allclose(shown, [12, 37, 62, 87], atol=1)


@pytest.mark.skipif(not ODD.is_dir(), reason="the shared media folder is not here")
@pytest.mark.parametrize(
    ("name", "label", "seconds"),
    [
        ("real_sox_pipe.wav", NO_LENGTH, 3.0),
        ("cut10bytes.mp4", "cut_off: cut off: 10 bytes are missing at its end", 6.0),
        ("redblue.ts", "ok: its clock restarts", 12.0),
        ("negative.mkv", "no_video: its video cannot be decoded", 4.6),
        ("twotracks_first_silent.mkv", "ok", 6.0),
        ("zeros_then.mp3", "no_video", 6.0),
    ],
)
def test_files_as_people_have_them(decoder, name, label, seconds):
    probe, [decoded] = decoder.probe(ODD / name), decoder.decode(ODD / name, WHOLE, BOTH)
    assert (probe.label, decoded.label) == (label, label)
    assert probe.duration == decoded.end == pytest.approx(seconds, abs=0.1)
    assert np.abs(decoded.audio[RATE]).max() > 0.1
    if name == "redblue.ts":
        assert decoded.frames[:2, ..., 0].min() > 200
        assert decoded.frames[2:, ..., 2].min() > 200
