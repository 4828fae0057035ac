"""No frame is decoded beyond what a plan implies: counted against the packets of each file."""

from itertools import pairwise

import av
import numpy as np
import pytest

from trichord.media import DecodePlan, FramePlan, Limits, Request
from trichord.media.passage import Passage
from trichord.media.source import open_source

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
    request = Request(path=path, spans=[span], plan=DecodePlan(frames=plan))
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


def measured_span(decoder, path, span):
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=1, short_side=None))
    ((decoded,), work) = decoder.decode_measured(Request(path=path, spans=[span], plan=plan))
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


def test_exact_frames_are_decoded_without_shortcuts(movie):
    for plan in (FIVE, KEYS):
        source = open_source(movie, Limits())
        passage = Passage(
            source, {0: (0.0, 12.0)}, DecodePlan(frames=plan), Limits(), print_nothing
        )
        passage.run()
        context = source.video.codec_context
        assert (context.skip_frame, str(context.flags2 & 1)) == ("DEFAULT", "0")  # 1: fast
        source.close()


def print_nothing(number, decoded):
    assert decoded.status in ("ok", "no_audio")
