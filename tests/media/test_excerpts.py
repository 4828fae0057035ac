import av
import numpy as np
import pytest

from trichord.media import DecodePlan, FramePlan


def read(path):
    """Pictures and samples of a file, and when each track begins."""
    frames, samples, first = [], 0, {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            for frame in packet.decode():
                first.setdefault(packet.stream.type, frame.time)
                if packet.stream.type == "video":
                    frames.append(frame.to_ndarray(format="rgb24"))
                else:
                    samples += frame.samples
    return frames, samples, first


def shown(decoder, path, start, end, count=10):
    """Pictures of a span, as a search sees them."""
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=count, short_side=None), rates=())
    return decoder.decode(path, [(start, end)], plan)[0].frames


def test_a_copy_begins_at_the_keyframe_before_and_has_the_same_pictures(decoder, movie, tmp_path):
    target = tmp_path / "out.mp4"
    done = decoder.cut(movie, (4.5, 7.3), target, exact=False)
    assert (done.status, done.encoded) == ("ok", False)
    assert done.start == pytest.approx(4.0, abs=1e-3)  # a keyframe each second
    assert 7.3 <= done.end <= 7.6  # pictures are stored before those that need them
    frames, samples, first = read(target)
    assert 33 <= len(frames) <= 35
    assert samples > 0
    assert max(first.values()) < 0.05
    whole, _, _ = read(movie)
    np.testing.assert_array_equal(np.stack(frames), np.stack(whole[40 : 40 + len(frames)]))


def test_an_exact_excerpt_begins_and_ends_where_it_should(decoder, movie, make, tmp_path):
    target = tmp_path / "out.mp4"
    done = decoder.cut(movie, (4.5, 7.3), target, exact=True)
    assert (done.status, done.encoded, done.start) == ("ok", True, 4.5)
    frames, samples, first = read(target)
    assert [make.number(frame) for frame in frames] == list(range(45, 73))
    rate = av.open(str(movie)).streams.audio[0].rate
    assert samples / rate == pytest.approx(2.8, abs=2048 / rate)  # AAC fills its last frame
    assert max(first.values()) < 0.01
    with av.open(str(target)) as container:
        assert container.duration / 1e6 == pytest.approx(2.8, abs=0.05)


def test_a_turned_film_stays_upright(decoder, make, tmp_path):
    source, target = tmp_path / "turned.mp4", tmp_path / "out.mp4"
    make.movie(source, seconds=3.0, setup=lambda stream: stream.set_display_rotation(90))
    for exact in (False, True):
        done = decoder.cut(source, (1.0, 2.0), target, exact=exact)
        assert done.status == "ok"
        given = shown(decoder, source, 1.0, 2.0).astype(int)
        made = shown(decoder, target, 0.0, 1.0).astype(int)
        assert made.shape == given.shape
        assert np.abs(made - given).mean() < 8


def test_a_sound_is_cut_to_the_sample(decoder, make, tmp_path):
    source, target = tmp_path / "sound.wav", tmp_path / "out.wav"
    wave = make.noise(6.0)
    make.sound(source, wave)
    assert decoder.cut(source, (1.25, 3.5), target, exact=True).status == "ok"
    with av.open(str(source)) as container:
        whole = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)]).astype(int)
        rate = container.streams.audio[0].rate
    with av.open(str(target)) as container:
        part = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)]).astype(int)
    expected = whole[round(1.25 * rate) : round(3.5 * rate)]
    assert len(part) == len(expected)
    assert np.abs(part - expected).max() <= 1
    copied = tmp_path / "copy.wav"
    done = decoder.cut(source, (1.25, 3.5), copied, exact=False)
    assert done.status == "ok"
    assert done.start == pytest.approx(1.25, abs=0.3)


def test_a_still_picture_is_copied_whole(decoder, tmp_path):
    from PIL import Image

    source, target = tmp_path / "still.png", tmp_path / "out.png"
    Image.new("RGB", (40, 30), "red").save(source)
    assert decoder.cut(source, (0.0, 0.0), target, exact=False).status == "ok"
    assert target.read_bytes() == source.read_bytes()


def test_what_cannot_be_cut_has_a_status(decoder, movie, tmp_path):
    target = tmp_path / "out.webm"
    done = decoder.cut(movie, (4.0, 6.0), target, exact=False)  # WebM holds no H.264
    assert done.status == "unsupported"
    assert "--exact" in done.reason
    gone = decoder.cut(tmp_path / "none.mp4", (0.0, 1.0), target, exact=False)
    assert gone.status == "corrupt"
    for exact in (False, True):
        late = decoder.cut(movie, (90.0, 95.0), tmp_path / "late.mp4", exact=exact)
        assert late.status == "corrupt"
