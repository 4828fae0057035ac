"""Decoding real files in real child processes."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from trichord.media import DecodePlan, Decoder, DecodeRequest, FramePlan, Limits

NATURAL = FramePlan(rule="rate", per_second=1.0, count=64, short_side=None)
WHOLE = [(0.0, None)]


def numbers(make, decoded):
    return [make.number(frame) for frame in decoded.frames]


def test_a_target_gets_the_last_frame_at_or_before_it(decoder, movie, make):
    # Bin centres are 0.5, 1.5, ...; at 10 frames a second those are frames 5, 15, ...
    (decoded,) = decoder.decode(movie, [(0.0, 4.0)], DecodePlan(frames=NATURAL))
    assert numbers(make, decoded) == [5, 15, 25, 35]
    np.testing.assert_allclose(decoded.times, [0.5, 1.5, 2.5, 3.5])
    between = FramePlan(rule="uniform", count=1, short_side=None)
    (decoded,) = decoder.decode(movie, [(1.0, 1.5)], DecodePlan(frames=between))  # centre 1.25
    assert numbers(make, decoded) == [12]
    assert (decoded.start, decoded.end, decoded.label) == (1.0, 1.5, "ok")


def test_frames_have_the_wanted_short_side(decoder, movie):
    plan = DecodePlan(frames=FramePlan(count=2, rule="uniform", short_side=30))
    (decoded,) = decoder.decode(movie, WHOLE, plan)
    assert decoded.frames.shape == (2, 30, 40, 3)
    assert decoded.frames.dtype == np.uint8
    (decoded,) = decoder.decode(movie, WHOLE, DecodePlan(frames=NATURAL))
    assert decoded.frames.shape == (20, 48, 64, 3)


def test_a_relative_path_is_that_of_the_callers_folder_of_now(decoder, movie, monkeypatch):
    assert decoder.probe(movie).status == "ok"  # starts the child, in another folder
    monkeypatch.chdir(movie.parent)
    assert decoder.probe(movie.name).status == "ok"
    (decoded,) = decoder.decode(movie.name, [(0.0, 2.0)], DecodePlan(frames=NATURAL))
    assert len(decoded.frames) == 2


def test_the_end_of_the_file_is_the_default_end(decoder, movie):
    (decoded,) = decoder.decode(movie, [(18.0, None)], DecodePlan(frames=None, rates=(8000,)))
    assert decoded.end == pytest.approx(20.0, abs=0.1)
    assert decoded.audio[8000].shape == (round((decoded.end - 18.0) * 8000),)


def test_a_span_is_the_same_bits_alone_in_company_and_on_any_worker(movie):
    spans = [(0.0, 20.0), (12.3, 14.0), (13.0, 15.1), (18.9, 19.9), (0.1, 0.2)]
    plan = DecodePlan(
        frames=FramePlan(rule="uniform", count=3, short_side=32), rates=(16_000, 22_050)
    )
    with Decoder(2) as pool:
        together = pool.decode(movie, spans, plan)
        requests = [DecodeRequest(path=movie, spans=[span], plan=plan) for span in spans * 2]
        alone = [decoded for (decoded,) in pool.decode_all(requests)]
    for one, other in zip(together * 2, alone, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_array_equal(one.times, other.times)
        assert one.audio.keys() == other.audio.keys() == {16_000, 22_050}
        for rate in one.audio:
            np.testing.assert_array_equal(one.audio[rate], other.audio[rate])


@pytest.mark.parametrize(
    ("name", "audio", "video"),
    [("a.mkv", "libopus", "libx264"), ("a.webm", "libopus", "libvpx"), ("a.avi", "libmp3lame", "mpeg4"),
     ("a.ts", "aac", "libx264")],
)  # fmt: skip
def test_seeking_changes_no_bit_in_other_containers(decoder, tmp_path, make, name, audio, video):
    path = make.movie(
        tmp_path / name,
        seconds=24.0,
        sound=make.noise(24.0, 48_000),
        rate=48_000,
        audio=audio,
        video=video,
    )
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=2, short_side=None), rates=(16_000,))
    spans = [(0.0, 24.0), (20.2, 21.0)]
    (_, sequential), work = decoder.decode_measured(
        DecodeRequest(path=path, spans=spans, plan=plan)
    )
    (sought,), jump = decoder.decode_measured(DecodeRequest(path=path, spans=spans[1:], plan=plan))
    assert (work.seeks, jump.seeks > 0) == (0, True)
    np.testing.assert_array_equal(sequential.frames, sought.frames)
    np.testing.assert_array_equal(sequential.audio[16_000], sought.audio[16_000])


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4", "a.flv"])
def test_seeking_into_a_long_group_of_pictures_finds_its_beginning(decoder, tmp_path, make, name):
    path = make.movie(tmp_path / name, seconds=60.0, group=80, setup=plain_groups(80))
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=1, short_side=None))
    for target in (29.06, 43.16, 51.96):  # in groups that begin at 24, 40 and 48 s
        ((decoded,), work) = decoder.decode_measured(
            DecodeRequest(path=path, spans=[(target - 1, target + 1)], plan=plan)
        )
        assert make.number(decoded.frames[0]) == int(target * 10) % 256
        assert target - 0.1 < decoded.times[0] <= target
        assert work.frames <= 160


def plain_groups(size):
    def setup(stream):
        stream.max_b_frames = 0
        x264 = f"keyint={size}:scenecut=0:bframes=0"
        stream.options = {"preset": "veryfast", "qp": "4", "x264-params": x264}

    return setup


def test_a_sound_far_into_a_movie_is_sought(decoder, tmp_path, make):
    sound = make.noise(400.0, 8000)
    path = make.movie(
        tmp_path / "a.mkv", seconds=400.0, fps=1, group=5, sound=sound, rate=8000, audio="flac"
    )
    request = DecodeRequest(
        path=path, spans=[(380.0, 381.0)], plan=DecodePlan(frames=None, rates=(8000,))
    )
    (decoded,), work = decoder.decode_measured(request)
    np.testing.assert_allclose(decoded.audio[8000], sound[0, 380 * 8000 : 381 * 8000], atol=1e-3)
    assert work.bytes_read < path.stat().st_size / 5


def test_no_frame_is_decoded_beyond_what_the_plan_needs(decoder, tmp_path, make):
    # Keyframes each second: the frame at 0.5 s of a group is its sixth; x264 holds some back.
    path = make.movie(tmp_path / "a.mp4", seconds=20.0, setup=plain)
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=2, short_side=None))
    (decoded,), work = decoder.decode_measured(
        DecodeRequest(path=path, spans=[(2.0, 4.0)], plan=plan)
    )
    assert numbers(make, decoded) == [25, 35]
    assert work.frames == 12


def plain(stream):
    stream.max_b_frames = 0
    stream.options = {
        "preset": "veryfast",
        "qp": "4",
        "x264-params": "keyint=10:scenecut=0:bframes=0",
    }


def test_a_long_file_is_read_only_where_it_is_looked_at(decoder, tmp_path, make):
    path = make.movie(
        tmp_path / "long.mp4",
        seconds=600.0,
        fps=1,
        group=5,
        sound=make.noise(600.0, 8000),
        rate=8000,
    )
    spans = [(at, at + 1.0) for at in (100.0, 300.0, 590.0)]
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=1, short_side=None), rates=(8000,))
    got, work = decoder.decode_measured(DecodeRequest(path=path, spans=spans, plan=plan))
    assert [decoded.label for decoded in got] == ["ok"] * 3
    assert [make.number(d.frames[0]) for d in got] == [100, 300 % 256, 590 % 256]
    assert work.seeks == 3
    assert work.frames <= 15
    assert work.audio_seconds <= 30
    assert work.bytes_read < path.stat().st_size / 2


def test_pictures_and_sounds_alone_are_clips(decoder, tmp_path, make):
    from PIL import Image

    Image.fromarray(make.picture(7, 60, 40)).save(tmp_path / "a.png")
    make.sound(tmp_path / "a.flac", make.noise(1.0), codec="flac")
    make.movie(tmp_path / "a.mp4")
    plan = DecodePlan(frames=NATURAL, rates=(16_000,))
    (picture,) = decoder.decode(tmp_path / "a.png", WHOLE, plan)
    assert (picture.status, picture.audio, picture.end) == ("no_audio", {}, 0.0)
    np.testing.assert_array_equal(picture.frames[0], make.picture(7, 60, 40))
    (sound,) = decoder.decode(tmp_path / "a.flac", WHOLE, plan)
    assert (sound.status, sound.frames, len(sound.times)) == ("no_video", None, 0)
    assert sound.audio[16_000].shape == (16_000,)
    (mute,) = decoder.decode(tmp_path / "a.mp4", WHOLE, plan)
    assert (mute.status, mute.audio, len(mute.frames)) == ("no_audio", {}, 4)


def test_a_plan_without_sound_or_without_frames_leaves_them_out(decoder, movie):
    (pictures,) = decoder.decode(movie, [(0.0, 2.0)], DecodePlan(frames=NATURAL))
    assert (pictures.status, pictures.audio) == ("ok", {})
    (sound,) = decoder.decode(movie, [(0.0, 2.0)], DecodePlan(frames=None, rates=(8000,)))
    assert (sound.status, sound.frames) == ("ok", None)
    (nothing,) = decoder.decode(movie, [(0.0, 2.0)], DecodePlan(frames=None))
    assert (nothing.status, nothing.frames, nothing.audio) == ("ok", None, {})


def test_a_span_outside_the_file_says_how_long_the_file_is(decoder, movie):
    plan = DecodePlan(frames=NATURAL)
    inside, outside = decoder.decode(movie, [(1.0, 2.0), (30.0, 31.0)], plan)
    assert inside.status == "ok"
    assert outside.status == "corrupt"
    assert "span outside the file, which is 20." in outside.reason
    (cut,) = decoder.decode(movie, [(19.0, 40.0)], plan)
    assert cut.end == pytest.approx(20.0, abs=0.1)


def test_a_sound_file_of_unknown_length_is_measured(decoder, tmp_path, make):
    path = make.sound(tmp_path / "a.aac", make.noise(3.0), codec="aac")
    (decoded,) = decoder.decode(path, WHOLE, DecodePlan(frames=None, rates=(16_000,)))
    assert decoded.status == "no_video"
    assert decoded.end == pytest.approx(3.0, abs=0.15)


def test_the_first_decodable_sound_track_that_is_best_is_read(decoder, tmp_path, make):
    path = make.movie(
        tmp_path / "a.mkv",
        sound=make.noise(4.0),
        second_sound=make.noise(4.0, seed=1),
        audio="flac",
    )
    probe = decoder.probe(path)
    assert [stream.chosen for stream in probe.audio] == [True, False]
    (decoded,) = decoder.decode(path, [(0.0, 4.0)], DecodePlan(frames=None, rates=(16_000,)))
    np.testing.assert_allclose(decoded.audio[16_000], make.noise(4.0)[0], atol=1e-3)


def test_pictures_are_shown_upright_and_with_square_pixels(decoder, tmp_path, make):
    def corner(number, width, height):
        picture = np.full((height, width, 3), 30, np.uint8)
        picture[: height // 2, : width // 2] = 220  # bright at the upper left, as stored
        return picture

    def bright(frame):
        height, width = frame.shape[:2]
        quarters = {
            (y, x): frame[
                y * height // 2 : (y + 1) * height // 2, x * width // 2 : (x + 1) * width // 2
            ].mean()
            for y in (0, 1)
            for x in (0, 1)
        }
        return max(quarters, key=lambda place: quarters[place])

    expected = {0: (0, 0), 90: (1, 0), 180: (1, 1), 270: (0, 1)}  # turned counter-clockwise
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=1, short_side=None))
    for degrees, place in expected.items():
        path = make.movie(
            tmp_path / f"{degrees}.mp4", seconds=0.5, picture=corner,
            setup=lambda stream, degrees=degrees: stream.set_display_rotation(degrees),
        )  # fmt: skip
        (decoded,) = decoder.decode(path, WHOLE, plan)
        assert bright(decoded.frames[0]) == place
        assert decoder.probe(path).video.rotation == degrees
        assert decoded.frames.shape[1:3] == ((64, 48) if degrees in (90, 270) else (48, 64))

    def anamorphic(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)

    path = make.movie(tmp_path / "wide.mp4", seconds=0.5, setup=anamorphic)
    assert (decoder.probe(path).video.width, decoder.probe(path).video.pixel_aspect) == (128, 2.0)
    assert decoder.decode(path, WHOLE, plan)[0].frames.shape == (1, 48, 128, 3)


def test_unevenly_spaced_frames_are_found_by_their_time(decoder, tmp_path, make):
    path = make.movie(tmp_path / "a.mkv", fps=30, stamps=[0, 100, 150, 900, 1000, 2500, 2600, 3900])
    plan = DecodePlan(frames=FramePlan(rule="rate", per_second=2.0, count=8, short_side=None))
    (decoded,) = decoder.decode(path, [(0.0, 3.5)], plan)  # looks at 0.25, 0.75, ... 3.25
    assert numbers(make, decoded) == [2, 2, 4, 4, 4, 6, 6]
    np.testing.assert_allclose(decoded.times, [0.15, 0.15, 1.0, 1.0, 1.0, 2.6, 2.6])
    assert decoder.probe(path).video.variable


def test_answers_come_in_order_and_requests_are_drawn_only_a_few_ahead(decoder, tmp_path, make):
    paths = [make.sound(tmp_path / f"{n}.wav", make.noise(0.25 * (n + 1))) for n in range(12)]
    drawn = []

    def requests():
        for path in paths:
            drawn.append(path)
            yield DecodeRequest(path=path, plan=DecodePlan(frames=None, rates=(16_000,)))

    answers = decoder.decode_all(requests())
    first = next(answers)
    assert len(drawn) <= 4
    lengths = [len(decoded.audio[16_000]) for (decoded,) in [first, *answers]]
    assert lengths == [4000 * (n + 1) for n in range(12)]
    assert [probe.path for probe in decoder.probe_all(paths)] == [str(path) for path in paths]


def test_a_track_that_ends_is_not_waited_for(decoder, tmp_path, make):
    path = make.movie(tmp_path / "a.mp4", seconds=60.0, fps=2, sound=make.noise(3.0))
    spans = [(1.0, 2.0), (40.0, 41.0), (50.0, 51.0)]
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=1, short_side=None), rates=(16_000,))
    got = decoder.decode(path, spans, plan)
    assert [decoded.status for decoded in got] == ["ok", "silent", "silent"]
    assert [make.number(decoded.frames[0]) for decoded in got] == [3, 81, 101]


def test_an_endless_group_of_pictures_is_decoded_in_bounded_memory(movie, make, monkeypatch):
    from trichord.media.decode_pass import DecodePass
    from trichord.media.media_file import open_source

    monkeypatch.setattr(
        "trichord.media.video.MAX_HELD_BYTES", 500
    )  # less than a keyframe and its like
    found = {}
    source = open_source(movie, Limits())
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=2, short_side=None))
    DecodePass(source, {0: (0.0, 20.0)}, plan, Limits(), found.__setitem__).run()
    source.close()
    assert numbers(make, found[0]) == [50, 150]


def test_too_much_memory_is_a_status(tmp_path, make):
    path = make.movie(tmp_path / "big.mp4", seconds=0.3, size=(1920, 1088))
    with Decoder(1, Limits(memory_bytes=512 * 1024**2)) as pool:
        plan = DecodePlan(frames=FramePlan(rule="uniform", count=200, short_side=1000))
        (decoded,) = pool.decode(path, WHOLE, plan)
        assert decoded.label == "too_big: needs more than 512 MiB to decode"
        assert pool.probe(path).status == "no_audio"


def test_real_files_give_what_their_source_says(decoder):
    folder = Path(__file__).parents[3] / "shared" / "data" / "media_fixtures"
    if not folder.is_dir():
        pytest.skip("shared/data/media_fixtures is absent")
    expected = {
        "av1_video.mkv": "no_audio",
        "big_buck_bunny_0_30.webm": "ok",
        "flipping_a_pancake.mkv": "ok",
        "format_FLV_H264_AAC.video": "ok",
        "format_MKV_VP8_VORBIS.video": "ok",
        "h265_video.mp4": "no_audio",
        "nasa_13013.mp4": "ok",
        "part_0.mp4": "no_audio",
        "test.avi": "ok",
    }
    paths = [folder / name for name in expected]
    assert {Path(p.path).name: p.label for p in decoder.probe_all(paths)} == expected
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=4), rates=(16_000,))
    requests = [DecodeRequest(path=path, plan=plan) for path in paths]
    got = {
        path.name: decoded.label
        for path, (decoded,) in zip(paths, decoder.decode_all(requests), strict=True)
    }
    assert got == expected
