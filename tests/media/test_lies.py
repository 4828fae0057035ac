"""Every kind of odd, broken or hostile file gets its status, and costs nothing else."""

import ctypes
import io
import json
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

import av
import lies
import numpy as np
import pytest
from processes import peak_memory
from rich.console import Console

from trichord.corpora.diagnosis import tables
from trichord.corpora.doctor import examine_path
from trichord.media import DecodePlan, DecodeRequest, FramePlan

WHOLE = [(0.0, None)]
PLAN = DecodePlan(frames=FramePlan(rule="uniform", count=4, short_side=None), rates=(16_000,))
ONCE = DecodePlan(frames=FramePlan(rule="uniform", count=1, short_side=None))
MOST_MEMORY = 1024**3


@pytest.fixture(scope="module")
def found(decoder, make, tmp_path_factory):
    """By kind: what a probe and what decoding say, all asked of one decoder with two workers."""
    root = tmp_path_factory.mktemp("lies")
    paths = {}
    for number, (name, kind) in enumerate(lies.KINDS.items()):
        folder = root / str(number)
        folder.mkdir()
        paths[name] = kind.make(make, folder)
    plans = {"8192 x 4320": ONCE}
    requests = (
        DecodeRequest(path=path, plan=plans.get(name, PLAN)) for name, path in paths.items()
    )
    answers = zip(decoder.probe_all(paths.values()), decoder.decode_all(requests), strict=True)
    return {
        name: (probe, decoded) for name, (probe, (decoded,)) in zip(paths, answers, strict=True)
    }


def says(label, expected):
    """Whether a label is as expected; an expectation that ends in a space is its beginning."""
    return label.startswith(expected) if ": " in expected else label == expected


@pytest.mark.parametrize("name", lies.KINDS)
def test_each_kind_has_its_status(found, name):
    (probe, decoded), kind = found[name], lies.KINDS[name]
    assert says(probe.label, kind.label), probe.label
    assert says(decoded.label, kind.decoded or kind.label), decoded.label


@pytest.mark.parametrize("name", [name for name, kind in lies.KINDS.items() if kind.numbers])
def test_the_frames_are_those_that_are_shown_then(found, make, name):
    _, decoded = found[name]
    assert tuple(make.number(frame) for frame in decoded.frames) == lies.KINDS[name].numbers
    assert len(decoded.times) == len(decoded.frames)


@pytest.mark.parametrize("name", [name for name, kind in lies.KINDS.items() if kind.shape])
def test_the_frames_have_their_shape(found, name):
    assert found[name][1].frames.shape[1:3] == lies.KINDS[name].shape


@pytest.mark.parametrize(
    "name", [name for name, kind in lies.KINDS.items() if kind.seconds is not None]
)
def test_the_file_lasts_as_long_as_it_says(found, name):
    probe, decoded = found[name]
    assert probe.duration == decoded.end == pytest.approx(lies.KINDS[name].seconds, abs=0.05)


@pytest.mark.parametrize(
    "name", [name for name, kind in lies.KINDS.items() if kind.heard is not None]
)
def test_sound_is_heard_where_there_is_one(found, name):
    _, decoded = found[name]
    heard = {rate: float(np.abs(samples).max()) > 0.1 for rate, samples in decoded.audio.items()}
    assert heard == ({16_000: True} if lies.KINDS[name].heard else {})


def test_the_probe_knows_the_tracks(found):
    for name, kind in lies.KINDS.items():
        probe, _ = found[name]
        assert {field: getattr(probe.video, field) for field in kind.video} == kind.video
        if kind.sound is not None:
            assert (probe.audio[0].channels, probe.audio[0].sample_rate) == kind.sound


@pytest.mark.parametrize(("degrees", "bright"), [(90, (1, 0)), (180, (1, 1)), (270, (0, 1))])
def test_a_turned_picture_is_upright(found, degrees, bright):
    # Stored bright at the upper left; turned counter-clockwise, that corner wanders.
    frame = found[f"rotated {degrees}"][1].frames[0]
    height, width = frame.shape[0] // 2, frame.shape[1] // 2
    quarters = {
        (down, across): frame[down * height :, across * width :][:height, :width].mean()
        for down in (0, 1)
        for across in (0, 1)
    }
    assert max(quarters, key=quarters.__getitem__) == bright
    assert quarters[bright] > 200 > 60 > min(quarters.values())


def test_all_of_them_together_need_little_memory(found, decoder):
    assert len(found) == len(lies.KINDS) >= 50
    for worker in decoder.workers:
        assert peak_memory(worker.child.pid) < MOST_MEMORY


# What would lead to other files or addresses


class Watched:
    """A file and a server that notice when somebody comes."""

    def __init__(self, folder):
        self.secret = folder / "secret.mp4"
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.setblocking(False)
        self.address = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.notices = self.libc.inotify_init1(os.O_NONBLOCK)

    def watch(self):
        opened = 0x00000020  # IN_OPEN
        assert self.libc.inotify_add_watch(self.notices, os.fsencode(self.secret), opened) >= 0

    def opened(self):
        try:
            return len(os.read(self.notices, 4096)) // 16
        except BlockingIOError:
            return 0

    def visited(self):
        try:
            self.server.accept()[0].close()
        except BlockingIOError:
            return 0
        return 1


@pytest.fixture
def watched(tmp_path, make):
    place = Watched(tmp_path)
    make.movie(place.secret, seconds=1.0)
    if not hasattr(place.libc, "inotify_init1") or place.notices < 0:
        pytest.skip("needs inotify, which tells who opens a file")
    place.watch()
    yield place
    place.server.close()
    os.close(place.notices)


def test_the_watch_notices_a_visit(watched):
    watched.secret.read_bytes()
    socket.create_connection(watched.server.getsockname()).close()
    assert (watched.opened(), watched.visited()) == (1, 1)
    assert (watched.opened(), watched.visited()) == (0, 0)


def disguises(there, make):
    """Files that name another file or an address, by what they are in truth."""
    secret, url = str(there.secret), f"http://{there.address}/a"
    for place in (
        secret,
        f"file://{secret}",
        "secret.mp4",
        f"{url}.mp4",
        f"concat:{secret}|{secret}",
    ):
        text = place.encode()
        yield "concat script", b"ffconcat version 1.0\nfile '%s'\nduration 1\n" % text
        yield "concat script", b"# a comment\nffconcat version 1.0\nfile %s\n" % text
        playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n%s\n#EXT-X-ENDLIST\n" % text
        yield "playlist", playlist
        yield "playlist behind an MP3's tag", b"ID3\x03\0\0\0\0\0\0" + playlist
        yield "playlist behind a movie's first box", b"\0\0\0\x14ftypisom\0\0\0\0isom" + playlist
        yield "playlist in a movie's media", b"\0\0\0\0mdat" + playlist
        yield (
            "playlist in a transport stream's packet",
            b"".join(
                b"G\x1f\xff\x10" + piece.ljust(184, b"\n")
                for piece in (playlist[:184], playlist[184:368], b"", b"")
            ),
        )
        yield (
            "playlist of initial segments",
            b'#EXTM3U\n#EXT-X-MAP:URI="%s"\n#EXTINF:9,\nx\n' % text,
        )
        yield (
            "key of a playlist",
            b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="%s"\n#EXTINF:9,\nx\n' % text,
        )
        yield (
            "DASH",
            (
                b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
                b"<BaseURL>%s</BaseURL><Period><AdaptationSet><Representation id='1'>"
                b"<BaseURL>%s</BaseURL></Representation></AdaptationSet></Period></MPD>"
                % (text, text)
            ),
        )
        yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="%s"/></svg>' % text
        yield "reference movie", reference_movie(text)
        yield "subtitle in an AVI", subtitled_avi(playlist)
        yield "external track", external(make, there, text)
    host, port = there.address.split(":")
    sdp = "v=0\no=- 0 0 IN IP4 {0}\ns=x\nc=IN IP4 {0}\nt=0 0\nm=video {1} RTP/AVP 96\n"
    yield "SDP", sdp.format(host, port).encode()
    yield "RTSP redirect", f"rtsp://{there.address}/a\n".encode()


def box(kind, content):
    return struct.pack(">I", 8 + len(content)) + kind + content


def reference_movie(place):
    """QuickTime's list of alternatives elsewhere."""
    link = box(b"rdrf", bytes(4) + b"url " + struct.pack(">I", len(place) + 1) + place + b"\0")
    return box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"moov", box(b"rmra", box(b"rmda", link)))


def external(make, there, place):
    """A movie whose tracks declare that their media lie in another file, as an alias and as a URL."""
    whole = there.secret.with_name("whole.mp4")
    content = make.movie(whole, seconds=0.5).read_bytes()
    inside = box(b"url ", b"\0\0\0\1")
    at = content.index(inside)
    alias = bytes(150) + struct.pack(">HH", 2, len(place)) + place.ljust(200, b"\0")
    entry = box(b"alis", bytes(4) + alias) + box(b"url ", bytes(4) + place + b"\0")
    grown = bytearray(content[:at] + entry + content[at + len(inside) :])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):  # the index comes last
        start = content.index(kind) - 4
        size = int.from_bytes(content[start : start + 4], "big") + len(entry) - len(inside)
        grown[start : start + 4] = size.to_bytes(4, "big")
    return bytes(grown)


def subtitled_avi(playlist):
    """A subtitle file inside a packet, which a demuxer might take for a playlist and follow."""

    def chunk(kind, content):
        return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

    header = struct.pack(
        "<4s4sIHHIIIIIIIIHHHH", b"txts", bytes(4), 0, 0, 0, 0, 1, 25, 0, 1, 0, 0, 0, *bytes(4)
    )
    stream = chunk(b"LIST", b"strl" + chunk(b"strh", header) + chunk(b"strf", b""))
    main = chunk(b"avih", struct.pack("<14I", 40_000, 0, 0, 0, 1, 0, 1, 0, 64, 48, *bytes(4)))
    packet = (
        b"GAB2\0"
        + struct.pack("<HI", 2, 4)
        + b"a\0\0\0"
        + struct.pack("<HI", 4, len(playlist))
        + playlist
    )
    movi = chunk(b"LIST", b"movi" + chunk(b"00tx", packet))
    body = b"AVI " + chunk(b"LIST", b"hdrl" + main + stream) + movi
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("name", "form", "options"),
    [
        ("concat script", "concat", {"safe": "0"}),
        ("playlist", "hls", {"allowed_extensions": "ALL", "extension_picky": "0"}),
        ("external track", "mov", {"enable_drefs": "1", "use_absolute_path": "1"}),
    ],
)
def test_the_disguises_would_work_on_whoever_lets_them(
    watched, make, tmp_path, name, form, options
):
    path = tmp_path / "a.mp4"
    path.write_bytes(dict(reversed(list(disguises(watched, make))))[name])
    watched.opened()  # made by now
    with suppress(av.FFmpegError), av.open(str(path), format=form, options=options) as container:
        next(container.demux())
    assert watched.opened() > 0


def test_no_file_leads_to_another_file_or_address(decoder, watched, make, tmp_path):
    paths = []
    for number, (name, content) in enumerate(disguises(watched, make)):
        paths.append(tmp_path / f"{number} {name}.mp4")
        paths[-1].write_bytes(content)
    probes = {Path(probe.path).name: probe.label for probe in decoder.probe_all(paths)}
    answers = decoder.decode_all(DecodeRequest(path=path, plan=PLAN) for path in paths)
    assert len(list(answers)) == len(paths) > 60
    assert (watched.opened(), watched.visited()) == (0, 0)
    refused = {label.split(":")[0] for label in probes.values()}
    assert refused <= {"unsupported", "corrupt"}, probes


def test_a_folder_of_such_files_is_walked_and_told(decoder, make, tmp_path):
    for number, name in enumerate(lies.NAMES):
        (tmp_path / str(number)).mkdir()
        lies.KINDS[f"name: {name}"].make(make, tmp_path / str(number))
    for kind in ("FIFO", "folder", "symlink loop", "symlink to nothing", "zero length"):
        (tmp_path / kind).mkdir()
        lies.KINDS[kind].make(make, tmp_path / kind)
    diagnosis = examine_path(tmp_path, decoder)
    assert diagnosis.statuses == {"ok": len(lies.NAMES), "corrupt": 1}
    assert len(json.loads(diagnosis.to_json())["files"]) == len(lies.NAMES) + 1
    written = io.StringIO()
    Console(file=written, width=400).print(tables(diagnosis))
    assert "🎬.mp4" in written.getvalue()
