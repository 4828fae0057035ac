"""No frame is decoded beyond what a plan implies: counted against the packets of each file."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from trichord.media import DecodePlan, DecodeRequest, FramePlan, Limits
from trichord.media.decode_pass import DecodePass
from trichord.media.media_file import open_source
from trichord.media.video import VideoTrack

FIVE = FramePlan(rule="uniform", count=5, short_side=None)
KEYS = FramePlan(rule="uniform", count=5, short_side=None, nearest="keyframe")
KINDS = [
    ("a.mp4", "libx264", 10),  # with B-frames, which x264 makes by itself
    ("one.mp4", "libx264", 1000),  # one group of pictures
    ("a.ts", "libx264", 25),
    ("a.flv", "libx264", 25),
    ("plain.mp4", "mpeg4", 10),
    ("a.webm", "libvpx", 10),
    ("a.mkv", "mpeg4", 10),
]


def packets_of(path):
    with av.open(str(path)) as container:
        return [(p.pts, p.is_keyframe) for p in container.demux(video=0) if p.size]


def fewest(packets, answers):
    """Packets from each keyframe that an answer needs to the last answer of its group."""
    starts = [n for n, (_, key) in enumerate(packets) if key] + [len(packets)]
    total = 0
    for begin, end in pairwise(starts):
        inside = [n + 1 for n in range(begin, end) if packets[n][0] in answers]
        total += max(inside, default=begin) - begin
    return total


def answers_of(packets, path, times, keys=False):
    """Time stamps of the frames shown at these seconds, or of the keyframes before them."""
    with av.open(str(path)) as container:
        track = container.streams.video[0]
        first = min(s.start_time * s.time_base for s in container.streams)
        ticks = [(time + 1e-6 + float(first)) / float(track.time_base) for time in times]
    stamps = sorted(pts for pts, key in packets if key or not keys)
    return {max((s for s in stamps if s <= tick), default=stamps[0]) for tick in ticks}


def measured(decoder, path, plan, span=(0.0, 12.0)):
    request = DecodeRequest(path=path, spans=[span], plan=DecodePlan(frames=plan))
    ((decoded,), work) = decoder.decode_measured(request)
    assert decoded.label == "no_audio"
    return decoded, work


@pytest.mark.parametrize(("name", "codec", "group"), KINDS)
def test_as_many_frames_are_decoded_as_the_plan_implies(
    decoder, tmp_path, make, name, codec, group
):
    path = make.movie(tmp_path / name, seconds=12.0, video=codec, group=group)
    packets = packets_of(path)
    _, work = measured(decoder, path, FIVE)
    needed = fewest(packets, answers_of(packets, path, FIVE.times(0.0, 12.0)))
    assert 5 <= needed < len(packets)
    assert work.frames == needed


def test_guessed_decoding_times_cost_what_the_decoder_holds_back(decoder, tmp_path, make):
    # Matroska keeps no decoding times: only when the decoder puts the frame out is it sure that no
    # earlier one follows. x264 makes three B-frames, which refer to one another: a run of four packets
    # and the one that shows that it is over.
    path = make.movie(tmp_path / "a.mkv", seconds=12.0, group=20)
    packets = packets_of(path)
    answers = answers_of(packets, path, FIVE.times(0.0, 12.0))
    _, work = measured(decoder, path, FIVE)
    assert 0 <= work.frames - fewest(packets, answers) <= 5 * len(answers)


def test_a_sought_group_is_decoded_from_its_keyframe_alone(decoder, movie, make):
    packets = packets_of(movie)
    decoded, work = measured_span(decoder, movie, (15.0, 16.0))
    assert [make.number(frame) for frame in decoded.frames] == [155]
    assert (work.frames, work.seeks) == (
        fewest(packets, answers_of(packets, movie, [15.5])),
        1,
    )


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4", "a.flv", "a.avi"])
def test_a_span_far_from_the_only_keyframe_is_decoded(decoder, tmp_path, make, name):
    """In MPEG-TS, a seek to the start landed behind the keyframe, which is decoded before it is shown."""
    path = make.movie(tmp_path / name, seconds=20.0, video="libx264", group=1000)
    plan = FramePlan(per_second=1.0, short_side=None)
    whole, _ = measured(decoder, path, plan, (0.0, 17.0))
    for start in (7, 12, 16):
        decoded, _ = measured(decoder, path, plan, (float(start), start + 1.0))
        assert decoded.label == "no_audio"
        np.testing.assert_array_equal(decoded.frames[0], whole.frames[start])


def measured_span(decoder, path, span):
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=1, short_side=None))
    ((decoded,), work) = decoder.decode_measured(DecodeRequest(path=path, spans=[span], plan=plan))
    return decoded, work


@pytest.mark.parametrize(("name", "codec", "group"), KINDS)
def test_keyframes_alone_are_decoded_where_they_do(decoder, tmp_path, make, name, codec, group):
    path = make.movie(tmp_path / name, seconds=12.0, video=codec, group=group)
    packets = packets_of(path)
    decoded, work = measured(decoder, path, KEYS)
    keys = answers_of(packets, path, KEYS.times(0.0, 12.0), keys=True)
    assert len(decoded.frames) == 5  # where two looks meet one keyframe, it comes twice
    assert len(np.unique(decoded.times)) == work.frames == len(keys)
    assert (decoded.times <= KEYS.times(0.0, 12.0)).all()
    whole, _ = measured(decoder, path, FramePlan(per_second=10.0, count=200, short_side=None))
    by_time = dict(zip(whole.times.tolist(), whole.frames, strict=True))
    for frame, time in zip(decoded.frames, decoded.times.tolist(), strict=True):
        np.testing.assert_array_equal(frame, by_time[time])


def test_frames_that_are_chosen_are_decoded_without_shortcuts(movie):
    for plan in (FIVE, KEYS):
        source = open_source(movie, Limits())
        decode_pass = DecodePass(
            source, {0: (0.0, 12.0)}, DecodePlan(frames=plan), Limits(), print_nothing
        )
        decode_pass.run()
        context = source.video.codec_context
        assert (context.skip_frame, str(context.flags2 & 1)) == ("DEFAULT", "0")  # 1: fast
        source.close()


def print_nothing(number, decoded):
    assert decoded.status in ("ok", "no_audio")


# Pictures that are left out


def three_between(stream):
    """Three pictures that nothing is predicted from between each two that others are predicted from."""
    if stream.codec_context.name == "libx264":
        stream.options["x264-params"] += ":bframes=3:b-adapt=0:b-pyramid=none"
    else:
        stream.codec_context.max_b_frames = 3


def passed(path, plan, spans=((0.0, 12.0),)):
    """What a pass in this process gives, and the packets that its decoder got, with what it may skip."""
    given, found, decode = [], {}, VideoTrack._decode

    def note(self, packet, skippable=False):
        decode(self, packet, skippable)
        if packet is not None:
            given.append((packet.pts, str(self.track.codec_context.skip_frame)))

    source = open_source(path, Limits())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoTrack, "_decode", note)
        whole = dict(enumerate(spans))
        DecodePass(source, whole, plan, Limits(), found.__setitem__).run()
    source.close()
    return [found[n] for n in range(len(spans))], given


@pytest.fixture(params=[("a.mp4", "libx264"), ("a.ts", "libx264"), ("a.flv", "libx264"),
                        ("a.mp4", "mpeg4"), ("a.ts", "mpeg2video")], ids="-".join)  # fmt: skip
def between(request, tmp_path, make):
    name, codec = request.param
    size = {"setup": three_between, "size": (160, 128), "fps": 25}
    return make.movie(tmp_path / name, seconds=12.0, video=codec, group=50, **size)


def test_pictures_that_nothing_needs_are_left_out_and_the_others_are_the_same(between):
    each = DecodePlan(frames=FramePlan(per_second=25.0, count=400, short_side=None))
    ((whole,), _) = passed(between, each)
    by_time = dict(zip(whole.times.tolist(), whole.frames, strict=True))
    assert len(by_time) == 300
    ((some,), given) = passed(between, DecodePlan(frames=FIVE))
    assert {"NONREF", "DEFAULT"} == {way for _, way in given}
    assert len(some.frames) == 5
    for frame, time in zip(some.frames, some.times.tolist(), strict=True):
        np.testing.assert_array_equal(frame, by_time[time])


def test_where_a_frame_does_not_come_out_the_one_before_counts_though_it_was_left_out(
    tmp_path, make
):
    path = make.movie(tmp_path / "a.mp4", seconds=12.0, group=60, setup=three_between)
    with av.open(str(path)) as container:
        packets = {
            round(float(p.pts * p.time_base) * 10): p for p in container.demux(video=0) if p.size
        }
        place, size = packets[31].pos, packets[31].size  # the second of three
        assert not packets[31].is_keyframe
    damaged = bytearray(path.read_bytes())
    damaged[place : place + size] = bytes(size)
    path.write_bytes(damaged)
    one = FramePlan(rule="uniform", count=1, short_side=None)
    ((alone,), given) = passed(path, DecodePlan(frames=one), [(3.1, 3.199)])
    assert [make.number(frame) for frame in alone.frames] == [30]
    stamps = [stamp for stamp, _ in given]
    assert len(stamps) > len(set(stamps))  # decoded once more, whole
    ((first, second), _) = passed(path, DecodePlan(frames=one), [(2.9, 3.0), (3.1, 3.199)])
    np.testing.assert_array_equal(second.frames, alone.frames)
    assert [make.number(frame) for frame in first.frames] == [29]


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))]
)
def test_damage_looks_the_same_whatever_was_left_out(between, seed, monkeypatch):
    whole, rng = bytearray(between.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(len(whole) // 20, 19 * len(whole) // 20, size=8):
        whole[place] ^= 1 << rng.integers(8)
    between.write_bytes(whole)
    asked = [[(0.0, 12.0)], [(3.0, 4.0)], [(5.0, 9.0)], [(0.0, 12.0), (3.0, 4.0), (5.0, 9.0)]]
    some = [passed(between, DecodePlan(frames=FIVE), spans)[0] for spans in asked]
    monkeypatch.setattr("trichord.media.video.SKIPPING", ())
    for found, spans in zip(some, asked, strict=True):
        right, given = passed(between, DecodePlan(frames=FIVE), spans)
        assert {way for _, way in given} == {"DEFAULT"}
        for one, expected in zip(found, right, strict=True):
            assert one.status == expected.status
            np.testing.assert_array_equal(one.times, expected.times)
            np.testing.assert_array_equal(one.frames, expected.frames)


# Pictures on the way to a wanted one


@pytest.mark.parametrize("damage", [0, 1, 2])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_on_the_way_to_a_wanted_one_are_given_back(tmp_path, make, name, damage):
    path = make.movie(tmp_path / name, seconds=12.0, video="mpeg4", group=60)
    whole, rng = bytearray(path.read_bytes()), np.random.default_rng(damage)
    for place in rng.integers(len(whole) // 10, 9 * len(whole) // 10, size=4 * damage):
        whole[place] ^= 1 << rng.integers(8)
    path.write_bytes(whole)
    found, most = held(path)
    assert most <= 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trichord.media.video.OVERWRITING", ())
        kept, all_of_them = held(path)
    assert all_of_them > 10
    np.testing.assert_array_equal(found.times, kept.times)
    np.testing.assert_array_equal(found.frames, kept.frames)


def held(path):
    """The span, and how many frames the decoder had put out at most that were not taken yet."""
    count, decode = [0], VideoTrack._decode

    def note(self, *packet, **how):
        decode(self, *packet, **how)
        count.append(len(self.output))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoTrack, "_decode", note)
        found = {}
        source = open_source(path, Limits())
        DecodePass(
            source, {0: (0.0, 12.0)}, DecodePlan(frames=FIVE), Limits(), found.__setitem__
        ).run()
        source.close()
    return found[0], max(count)


# Pictures that are not read


SPARSE = FramePlan(rule="uniform", count=3, short_side=None)


def whole(path, plan, seconds):
    """The span of that length from the start."""
    ((decoded,), _) = passed(path, plan, [(0.0, seconds)])
    return decoded


def test_pictures_of_distant_targets_and_sound_together_are_those_of_each_alone(tmp_path, make):
    path = make.movie(
        tmp_path / "a.mp4", seconds=120.0, group=20, sound=make.noise(120.0), setup=three_between
    )
    both = whole(path, DecodePlan(frames=SPARSE, rates=(16_000,)), 120.0)
    assert [make.number(frame) for frame in both.frames] == [200, 600 % 256, 1000 % 256]
    alone = whole(path, DecodePlan(frames=SPARSE), 120.0)
    heard = whole(path, DecodePlan(frames=None, rates=(16_000,)), 120.0)
    np.testing.assert_array_equal(both.frames, alone.frames)
    np.testing.assert_array_equal(both.audio[16_000], heard.audio[16_000])


def test_where_pictures_are_shown_long_after_they_are_decoded_none_and_no_sound_is_lost(
    tmp_path, make
):
    # A picture each five seconds: one that lies between others is decoded up to twenty seconds early,
    # and the keyframe that the index has at a time is shown later.
    path = make.movie(
        tmp_path / "a.mp4",
        seconds=380.0,
        fps=Fraction(1, 5),
        group=8,
        sound=make.noise(380.0, rate=8000),
        rate=8000,
        setup=three_between,
    )
    both = whole(path, DecodePlan(frames=FIVE, rates=(8000,)), 380.0)
    alone = whole(path, DecodePlan(frames=FIVE), 380.0)
    assert [make.number(frame) for frame in both.frames] == [7, 22, 38, 53, 68]
    np.testing.assert_array_equal(both.frames, alone.frames)
    heard = whole(path, DecodePlan(frames=None, rates=(8000,)), 380.0)
    np.testing.assert_array_equal(both.audio[8000], heard.audio[8000])
