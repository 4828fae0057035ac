"""What a probe says of whole, odd, broken and hostile files; and that decoding agrees."""

import os
import random
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from trichord.media import STATUSES, USABLE, DecodePlan, Decoder, FramePlan, Limits, Probe

PLAN = DecodePlan(frames=FramePlan(count=4), rates=(16_000,))
WHOLE = [(0.0, None)]


def both(decoder, path):
    """The labels of a probe and of decoding the whole file."""
    return decoder.probe(path).label, decoder.decode(path, WHOLE, PLAN)[0].label


def test_a_probe_names_the_tracks(decoder, movie):
    probe = decoder.probe(movie)
    assert (probe.label, probe.container, probe.size) == ("ok", "mov", movie.stat().st_size)
    assert probe.duration == pytest.approx(20.0, abs=0.1)
    video, (audio,) = probe.video, probe.audio
    assert (video.codec, video.width, video.height, video.rotation) == ("h264", 64, 48, 0)
    assert (video.frame_rate, video.variable, video.pixel_aspect) == (10.0, False, 1.0)
    assert (audio.codec, audio.channels, audio.sample_rate) == ("aac", 1, 16_000)
    assert audio.decodable
    assert audio.chosen


def test_the_label_has_the_reason():
    assert Probe(path="a", status="corrupt", reason="empty file").label == "corrupt: empty file"
    assert Probe(path="a", status="ok").label == "ok"
    assert set(USABLE) < set(STATUSES)


def test_zeros_are_no_sound(decoder, tmp_path, make):
    zeros = np.zeros((1, 48_000), np.float32)
    movie = make.movie(tmp_path / "a.mp4", seconds=3.0, sound=zeros)
    sound = make.sound(tmp_path / "a.wav", zeros)
    for path in (movie, sound):
        assert both(decoder, path) == ("silent", "silent")
        assert decoder.decode(path, WHOLE, PLAN)[0].audio == {}
    faint = make.sound(
        tmp_path / "faint.wav", zeros + 1 / 32767
    )  # one step of 16 bits can be heard
    assert both(decoder, faint) == ("no_video", "no_video")


@pytest.mark.parametrize(
    "content",
    [
        b"just a text\n" * 100,
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        b"<?xml version='1.0'?><MPD><Period/></MPD>",
        b"\x00",
    ],
)
def test_what_is_no_allowed_container_is_refused_whatever_its_name(decoder, tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    reason = "unsupported: its content is of no known media format"
    assert both(decoder, path) == (reason, reason)


def test_what_is_no_regular_file_is_refused_without_waiting(decoder, tmp_path):
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "empty.mp4").touch()
    refused = "unsupported: not a regular file"
    assert both(decoder, tmp_path / "fifo.mp4") == (refused, refused)
    assert both(decoder, tmp_path / "folder.mp4") == (refused, refused)
    assert both(decoder, tmp_path / "empty.mp4") == ("corrupt: empty file",) * 2
    absent = decoder.probe(tmp_path / "absent.mp4")
    assert absent.label == "corrupt: cannot be opened: No such file or directory"
    assert decoder.probe(tmp_path / "loop.mp4").status == "corrupt"
    assert decoder.probe("a\0b").status == "corrupt"


def test_any_name_will_do(decoder, movie, tmp_path):
    for name in (b"-y.mp4", b"a\xff.mp4", "🎬\n.mp4".encode(), b"x" * 250 + b".mp4", b"movie.txt"):
        path = os.fsdecode(os.path.join(os.fsencode(tmp_path), name))  # noqa: PTH118 - bytes
        os.link(movie, path)
        probe = decoder.probe(path)
        assert (probe.label, probe.path) == ("ok", path)
    link = tmp_path / "link"
    link.symlink_to(movie)
    assert decoder.probe(link).status == "ok"


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("name", ["front.mp4", "end.mp4", "a.mkv", "a.avi", "a.wav"])
def test_a_cut_off_file_is_read_up_to_its_end(decoder, tmp_path, make, name, share):
    whole = tmp_path / name
    sound = make.noise(6.0)
    if name == "a.wav":
        make.sound(whole, sound)
    else:
        make.movie(whole, seconds=6.0, sound=sound, audio="flac" if name == "a.mkv" else "aac")
    if name == "front.mp4":
        to_front(whole)
    assert decoder.probe(whole).status in ("ok", "no_video")
    [before] = decoder.decode(whole, WHOLE, DecodePlan(frames=None, rates=(16_000,)))
    whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    probe, [decoded] = decoder.probe(whole), decoder.decode(whole, WHOLE, PLAN)
    assert decoded.label == probe.label
    assert probe.reason.startswith("cut off: ")
    assert probe.reason.endswith(" bytes are missing at its end")
    # Nothing can be read without the index, nor of the first percent, which is headers.
    readable = name != "end.mp4" and (share > 0.01 or name == "a.wav")
    assert probe.status == ("cut_off" if readable else "corrupt")
    if readable:
        # Much of the AVI is the index at its end.
        assert (
            probe.duration
            == decoded.end
            == pytest.approx(6 * share, abs=0.7 if name != "a.avi" else 3)
        )
        # Sound may end a little before the picture.
        same = slice(max(0, len(decoded.audio[16_000]) - 12_000))
        np.testing.assert_array_equal(decoded.audio[16_000][same], before.audio[16_000][same])


def to_front(path):
    """Copy a movie so that its index comes before its media."""
    with av.open(str(path)) as source:
        target = av.open(str(path) + ".mov", "w", format="mp4", options={"movflags": "faststart"})
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
        target.close()
    os.replace(str(path) + ".mov", path)  # noqa: PTH105


def test_what_is_there_of_a_cut_off_file_can_be_read(decoder, tmp_path, make):
    path = make.movie(tmp_path / "a.mkv", seconds=8.0, sound=make.noise(8.0), audio="flac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    early, late = decoder.decode(path, [(0.0, 2.0), (6.0, 8.0)], PLAN)
    assert (early.status, len(early.frames)) == ("cut_off", 2)
    assert late.status == "corrupt"
    assert late.reason.startswith("cut off: ")


def test_a_file_that_ends_before_its_declared_length_is_read_up_to_there(decoder, tmp_path, make):
    # FLAC declares its number of samples, but not its bytes.
    path = make.sound(tmp_path / "a.flac", make.noise(9.0), codec="flac")
    plan = DecodePlan(frames=None, rates=(16_000,))
    [whole] = decoder.decode(path, WHOLE, plan)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    early, across, late = decoder.decode(path, [(0.0, 2.0), (1.0, 8.0), (7.0, 9.0)], plan)
    assert early.status == "no_video"
    assert across.label == f"cut_off: cut off: ends at {across.end:.1f} of 9.0 s"
    assert across.end == pytest.approx(4.5, abs=0.5)
    heard = across.audio[16_000]
    assert len(heard) == round((across.end - 1) * 16_000)
    np.testing.assert_array_equal(heard[:40_000], whole.audio[16_000][16_000:56_000])
    assert late.status == "corrupt"
    assert late.reason.startswith("cut off: ends at ")


def test_a_damaged_file_costs_a_status_at_most(decoder, tmp_path, make):
    path = make.movie(tmp_path / "a.mp4", seconds=2.0, sound=make.noise(2.0))
    whole = path.read_bytes()
    draw = random.Random(0)
    paths = []
    for number in range(40):
        bad = bytearray(whole)
        for _ in range(draw.choice((1, 10, 100))):
            bad[draw.randrange(8, len(bad))] = draw.randrange(256)
        paths.append(tmp_path / f"{number}.mp4")
        paths[-1].write_bytes(bad)
    for path in paths:
        probe, (decoded,) = decoder.probe(path), decoder.decode(path, WHOLE, PLAN)
        assert "crashed" not in probe.label + decoded.label
        assert probe.status != "timeout"
        if decoded.status == "ok":
            assert decoded.audio[16_000].dtype == np.float32
            assert np.isfinite(decoded.audio[16_000]).all()
            assert len(decoded.frames) == len(decoded.times) > 0


def png_of(width, height):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_a_huge_picture_is_refused_before_it_is_decoded(decoder, tmp_path, make):
    (tmp_path / "bomb.png").write_bytes(png_of(16_384, 16_384))
    reason = "too_big: 16384 x 16384 pixels, the limit is 201326592 pixels"
    assert both(decoder, tmp_path / "bomb.png") == (reason, reason)
    Image.new("L", (20_000, 2)).save(
        tmp_path / "strip.png"
    )  # small, but not with a short side of 224
    assert decoder.decode(tmp_path / "strip.png", WHOLE, PLAN)[0].status == "too_big"
    movie = make.movie(tmp_path / "a.mp4", seconds=0.5)
    with Decoder(1, Limits(pixels=1000)) as pool:
        assert pool.probe(movie).label == "too_big: 64 x 48 pixels, the limit is 1000 pixels"
        assert pool.decode(movie, WHOLE, PLAN)[0].status == "too_big"


def test_too_many_streams_or_bytes_are_refused(tmp_path, make):
    path = make.movie(tmp_path / "a.mkv", sound=make.noise(4.0))
    with Decoder(1, Limits(streams=1)) as pool:
        assert pool.probe(path).label == "too_big: 2 streams, the limit is 1"
    with Decoder(1, Limits(file_bytes=100)) as pool:
        assert pool.probe(path).label == f"too_big: {path.stat().st_size} bytes, the limit is 100"


def test_a_photograph_is_turned_as_its_camera_says(decoder, tmp_path):
    picture = np.full((40, 60, 3), 30, np.uint8)
    picture[:20, :30] = 220
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(picture).save(tmp_path / "a.jpg", quality=95, exif=exif)
    probe = decoder.probe(tmp_path / "a.jpg")
    assert (probe.label, probe.duration) == ("no_audio", 0.0)
    assert (probe.video.width, probe.video.height, probe.video.rotation) == (40, 60, 270)
    plan = DecodePlan(frames=FramePlan(short_side=None))
    frame = decoder.decode(tmp_path / "a.jpg", WHOLE, plan)[0].frames[0]
    assert frame.shape == (60, 40, 3)
    assert frame[5, 35].mean() > 200
    assert frame[5, 5].mean() < 60


def test_pictures_of_any_depth_and_kind_become_rgb(decoder, tmp_path):
    sixteen = np.full((10, 10), 0x8000, np.uint16)
    Image.fromarray(sixteen).save(tmp_path / "16.png")
    Image.new("RGBA", (10, 10), (10, 20, 30, 0)).save(
        tmp_path / "a.webp", lossless=True, exact=True
    )
    Image.new("P", (10, 10), 3).save(tmp_path / "a.gif")
    Image.new("CMYK", (10, 10)).save(tmp_path / "cmyk.jpg")
    Image.new("RGB", (10, 10), (1, 2, 3)).save(tmp_path / "a.bmp")
    plan = DecodePlan(frames=FramePlan(short_side=None))
    first = {
        p.name: decoder.decode(p, WHOLE, plan)[0].frames[0, 0, 0].tolist()
        for p in tmp_path.iterdir()
    }
    assert first["16.png"] == [128, 128, 128]
    assert first["a.webp"] == [255, 255, 255]  # transparent
    assert first["a.bmp"] == [1, 2, 3]
    assert first.keys() == {"16.png", "a.webp", "a.gif", "cmyk.jpg", "a.bmp"}
    (tmp_path / "broken.png").write_bytes((tmp_path / "16.png").read_bytes()[:40])
    assert decoder.probe(tmp_path / "broken.png").status == "corrupt"
    assert (
        decoder.decode(tmp_path / "16.png", WHOLE, DecodePlan(frames=None))[0].status == "no_audio"
    )


def test_cover_art_is_not_a_picture_track(decoder, tmp_path, make):
    path = make.sound(tmp_path / "a.mp3", make.noise(2.0), codec="libmp3lame")
    with_cover(path)
    probe = decoder.probe(path)
    assert (probe.label, probe.container, probe.video) == ("no_video", "mp3", None)
    (decoded,) = decoder.decode(path, WHOLE, PLAN)
    assert (decoded.status, decoded.frames) == ("no_video", None)


def with_cover(path):
    """Put an ID3 tag with a cover before an MP3 file."""
    from io import BytesIO

    cover = BytesIO()
    Image.new("RGB", (32, 32), (200, 0, 0)).save(cover, "JPEG")
    body = b"\0image/jpeg\0\x03\0" + cover.getvalue()
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    sound = path.read_bytes()
    if sound.startswith(b"ID3"):
        skip = 10 + (sound[6] << 21 | sound[7] << 14 | sound[8] << 7 | sound[9])
        sound = sound[skip:]
    path.write_bytes(b"ID3\x03\0\0" + size + frame + sound)


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p"])
def test_deep_and_odd_sized_pictures_decode(decoder, tmp_path, make, pix_fmt):
    def deep(stream):
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, 10)

    size = (63, 47) if pix_fmt == "yuv444p" else (64, 48)
    path = make.movie(tmp_path / "a.mkv", seconds=0.5, size=size, setup=deep)
    plan = DecodePlan(frames=FramePlan(count=1, rule="uniform", short_side=None))
    (decoded,) = decoder.decode(path, WHOLE, plan)
    assert decoded.frames.shape == (1, size[1], size[0], 3)
    assert make.number(decoded.frames[0]) == 2


def test_a_track_that_no_decoder_knows_is_passed_over(decoder, tmp_path, make):
    # As in telephones' spatial sound: the second track's codec is renamed to one that does not exist.
    two = make.movie(
        tmp_path / "two.mp4", sound=make.noise(4.0), second_sound=make.noise(4.0, seed=1)
    )
    content = two.read_bytes()
    last = content.rindex(b"mp4a")
    other = content[last:].replace(b"mp4a", b"apac").replace(b"esds", b"free")
    two.write_bytes(content[:last] + other)
    probe = decoder.probe(two)
    assert (probe.label, [s.decodable for s in probe.audio]) == ("ok", [True, False])
    assert decoder.decode(two, WHOLE, PLAN)[0].status == "ok"
    two.write_bytes(content.replace(b"mp4a", b"apac").replace(b"esds", b"free"))
    assert decoder.probe(two).label == "no_audio: no decoder for its audio (unknown, unknown)"
    assert decoder.decode(two, WHOLE, PLAN)[0].status == "no_audio"


def test_tracks_that_begin_later_stay_in_sync(decoder, tmp_path, make):
    path = tmp_path / "a.mkv"
    shifted(path, make)
    probe = decoder.probe(path)
    assert probe.duration == pytest.approx(3.0, abs=0.11)
    plan = DecodePlan(
        frames=FramePlan(rule="rate", per_second=1.0, short_side=None), rates=(16_000,)
    )
    (decoded,) = decoder.decode(path, [(0.0, 3.0)], plan)
    assert [make.number(frame) for frame in decoded.frames] == [5, 15, 25]
    samples = decoded.audio[16_000]
    assert not samples[:15_990].any()  # sound begins a second after the picture
    np.testing.assert_allclose(samples[16_100:32_000], make.noise(2.0)[0][100:16_000], atol=1e-3)


def shifted(path, make):
    """Pictures from 5 s of the file's clock on, sound from 6 s on."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options = {"qp": "4"}
        audio = container.add_stream("flac", rate=16_000, layout="mono")
        sound = (make.noise(2.0)[0] * 32767).round().astype(np.int16)
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(make.picture(number), format="rgb24")
            frame.pts = 50 + number
            container.mux(video.encode(frame))
        for start in range(0, len(sound), 1600):
            piece = av.AudioFrame.from_ndarray(
                sound[None, start : start + 1600], format="s16", layout="mono"
            )
            piece.sample_rate, piece.pts = 16_000, 96_000 + start
            piece.time_base = Fraction(1, 16_000)
            container.mux(audio.encode(piece))
        for stream in (video, audio):
            container.mux(stream.encode(None))
