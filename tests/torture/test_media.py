"""Damaged files by the hundred, a file of ten hours, and fuzzing of whatever parses bytes."""

import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
from footage import counted_picture, make_movie, make_sound, noise, number_in
from forgeries import without_reordering
from format_files import FILES
from PIL import Image
from processes import peak_memory

from trichord.media import STATUSES, USABLE, DecodePlan, Decoder, DecodeRequest, FramePlan
from trichord.media.ipc import send

pytestmark = pytest.mark.torture

FUZZER = Path(__file__).with_name("fuzz_media.py")
WHOLE = [(0.0, None)]
PLAN = DecodePlan(frames=FramePlan(rule="uniform", count=4), rates=(16_000,))
HOURS = 10


class Peak:
    """The most memory that any child of a decoder held, looked up all the time."""

    def __init__(self, decoder):
        self.decoder, self.bytes = decoder, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def look(self):
        while not self.done.wait(0.02):
            for worker in self.decoder.workers:
                child = worker.child
                try:
                    self.bytes = max(self.bytes, peak_memory(child.pid) if child else 0)
                except (OSError, ValueError):  # it has just ended
                    continue


@pytest.fixture(scope="module")
def specimens(tmp_path_factory):
    """Two seconds in each of eight containers."""
    folder = tmp_path_factory.mktemp("specimens")
    sound = noise(2.0)
    movies = {"mp4": ("aac", "libx264"), "mkv": ("flac", "libx264"), "ts": ("aac", "libx264"),
              "avi": ("pcm_s16le", "mpeg4")}  # fmt: skip
    for name, (audio, video) in movies.items():
        path = folder / f"a.{name}"
        make_movie(path, seconds=2.0, sound=sound, audio=audio, video=video)
    for name, codec in {"wav": "pcm_s16le", "mp3": "libmp3lame", "flac": "flac"}.items():
        make_sound(folder / f"a.{name}", sound, codec=codec)
    make_sound(folder / "a.ogg", noise(2.0, 48_000), 48_000, codec="libopus")
    return sorted(folder.iterdir())


def damaged(folder, specimens):
    """At least 500 copies with 1, 10 or 100 other bytes, and each cut off at 25 places."""
    draw = random.Random(0)
    for number in range(504):
        path = specimens[number % len(specimens)]
        bad = bytearray(path.read_bytes())
        for _ in range(draw.choice((1, 10, 100))):
            at = draw.randrange(len(bad) if draw.random() < 0.5 else min(600, len(bad)))
            bad[at] ^= draw.randrange(1, 256)
        yield "bytes flipped", keep(folder / f"flip {number}{path.suffix}", bad)
    for path in specimens:
        whole = path.read_bytes()
        for step in range(25):
            cut = whole[: len(whole) * step // 25 + step % 3]
            yield "cut off", keep(folder / f"cut {step}{path.suffix}", cut)


def test_a_file_of_any_format_may_be_damaged(tmp_path, tally):
    """Each format that is read: bytes flipped in its head and anywhere, cut off, and another's head."""
    draw, files = random.Random(0), []
    (tmp_path / "whole").mkdir()
    kinds = {name: file for name, file in FILES.items() if file.kind != "other"}
    for name, file in kinds.items():
        file.write(tmp_path / "whole" / name)
    contents = [(tmp_path / "whole" / name).read_bytes() for name in kinds]
    for name, content in zip(kinds, contents, strict=True):
        for number, bad in enumerate(spoiled(content, draw.choice(contents), draw)):
            files.append(keep(tmp_path / f"{number} {name}", bad))
    with Decoder(2) as decoder, Peak(decoder) as peak:
        probes = list(decoder.probe_all(files))
        requests = (DecodeRequest(path=path, spans=WHOLE, plan=PLAN) for path in files)
        answers = [decoded for (decoded,) in decoder.decode_all(requests)]
    silent = [one for one in answers if one.status not in USABLE and not one.reason]
    crashed = [one for one in (*probes, *answers) if "crashed" in one.reason]
    tally(
        "damaged files of every format, probed and decoded",
        formats=len(kinds),
        files=len(files),
        **Counter(one.status for one in answers),
        without_a_reason=len(silent),
        crashed=len(crashed),
        peak_MiB=peak.bytes // 1024**2,
    )
    assert len(files) >= 1000
    assert {one.status for one in (*probes, *answers)} <= set(STATUSES)
    assert (silent, crashed) == ([], [])


def spoiled(content, other, draw):
    """Six damaged versions of a file."""
    for length, count in ((600, 3), (len(content), 1), (len(content), 30)):
        bad = bytearray(content)
        for _ in range(count):
            bad[draw.randrange(min(length, len(bad)))] ^= draw.randrange(1, 256)
        yield bad
    yield content[: len(content) * 9 // 10]
    yield content[: draw.randrange(1, len(content))]
    yield other[:64] + content[64:]


def keep(path, content):
    path.write_bytes(content)
    return path


def test_whatever_is_done_to_a_file_it_ends_with_a_status(specimens, tmp_path, tally):
    files = list(damaged(tmp_path, specimens))
    with Decoder(2) as decoder, Peak(decoder) as peak:
        probes = list(decoder.probe_all(path for _, path in files))
        requests = (DecodeRequest(path=path, spans=WHOLE, plan=PLAN) for _, path in files)
        answers = [decoded for (decoded,) in decoder.decode_all(requests)]
    crashed = [one for one in (*probes, *answers) if "crashed" in one.reason]
    late = [one for one in (*probes, *answers) if one.status == "timeout"]
    tally(
        "damaged media, probed and decoded",
        **Counter(what for what, _ in files),
        with_status=sum(one.status in STATUSES for one in answers),
        usable=sum(decoded.status in USABLE for decoded in answers),
        crashed=len(crashed),
        late=len(late),
        peak_MiB=peak.bytes // 1024**2,
    )  # fmt: skip
    assert len(probes) == len(answers) == len(files) == 704
    assert {one.status for one in (*probes, *answers)} <= set(STATUSES)
    assert (crashed, late) == ([], [])
    assert 0 < peak.bytes < 1024**3
    for decoded in answers:
        for samples in decoded.audio.values():
            assert np.isfinite(samples).all()
        assert decoded.frames is None or len(decoded.frames) == len(decoded.times) == 4


@pytest.mark.parametrize(("name", "audio"), [("long.mp4", "aac"), ("long.mkv", "flac")])
def test_ten_hours_are_read_where_they_are_looked_at(tmp_path, tally, name, audio):
    path = tmp_path / name
    minute = make_movie(
        tmp_path / f"minute.{name[-3:]}", seconds=60.0, fps=1, group=10, audio=audio, rate=8000,
        sound=noise(60.0, 8000),
        setup=without_reordering,
    )  # fmt: skip
    repeated(minute, path, 60 * HOURS)
    frames = DecodePlan(frames=FramePlan(rule="uniform", count=12, short_side=None))
    begins = [HOURS * 3600 * (n + 0.5) / 30 + 7.0 for n in range(30)]
    windows = [(begin, begin + 10.0) for begin in begins]
    with Decoder(1) as decoder, Peak(decoder) as peak:
        (seen,), looked = decoder.decode_measured(DecodeRequest(path=path, plan=frames))
        heard, listened = decoder.decode_measured(
            DecodeRequest(path=path, spans=windows, plan=DecodePlan(frames=None, rates=(8000,)))
        )
    size = path.stat().st_size
    path.unlink()  # hundreds of MiB
    tally(
        f"ten hours, 12 frames and 30 windows of 10 s, {name[-3:]}",
        file_KiB=size // 1024,
        read_KiB=(looked.bytes_read + listened.bytes_read) // 1024,
        frames_decoded=looked.frames,
        seconds_heard=round(listened.audio_seconds),
        peak_MiB=peak.bytes // 1024**2,
    )
    assert seen.label == "ok"
    assert seen.end == pytest.approx(HOURS * 3600, abs=5)
    targets = seen.end * (np.arange(12) + 0.5) / 12
    assert ((targets - 1.1 < seen.times) & (seen.times <= targets + 1e-6)).all()
    shown = np.round(seen.times).astype(int) % 60  # a picture a second, numbered anew each minute
    assert [number_in(frame) for frame in seen.frames] == shown.tolist()
    assert [decoded.label for decoded in heard] == ["ok"] * 30
    assert min(np.abs(decoded.audio[8000]).max() for decoded in heard) > 0.2
    assert looked.frames <= 12 * 10
    assert listened.audio_seconds <= 30 * 25  # three blocks of 8 s, and the edges of packets
    assert looked.bytes_read + listened.bytes_read < size / 4
    assert peak.bytes < 500 * 1024**2


def repeated(piece, target, times):
    """A movie that shows a piece again and again, without encoding anything anew."""
    with av.open(str(piece)) as source, av.open(str(target), "w") as copy:
        streams = {s.index: copy.add_stream_from_template(s) for s in source.streams}
        packets = [
            (p.stream.index, bytes(p), p.pts, p.dts, p.duration, p.time_base, p.is_keyframe)
            for p in source.demux()
            if p.dts is not None and 0 <= p.pts * p.time_base < 60
        ]
        for turn in range(times):
            for index, content, pts, dts, duration, base, key in packets:
                packet = av.Packet(content)
                packet.stream, packet.time_base, packet.is_keyframe = streams[index], base, key
                shift = round(60 * turn / Fraction(base))
                packet.pts, packet.dts, packet.duration = pts + shift, dts + shift, duration
                copy.mux(packet)


def test_the_bad_among_two_thousand_files_are_named_and_dying_children_cost_none(
    specimens, tmp_path, tally
):
    draw = random.Random(1)
    bad = set(draw.sample(range(2000), 100))
    paths = []
    for number in range(2000):
        source = specimens[number % len(specimens)]
        paths.append(tmp_path / f"{number}{source.suffix}")
        if number in bad:
            paths[-1].write_bytes(draw.choice((b"", b"no medium at all", source.read_bytes()[:9])))
        else:
            os.link(source, paths[-1])
    killed = 0
    named = set()
    with Decoder(2) as decoder:
        requests = (DecodeRequest(path=path, plan=PLAN) for path in paths)
        for number, (decoded,) in enumerate(decoder.decode_all(requests)):
            if decoded.status not in USABLE:
                named.add(number)
            if number % 100 == 50:
                child = decoder.workers[number // 100 % 2].child
                if child is not None:
                    child.send_signal(signal.SIGSEGV)
                    killed += 1
    tally(
        "2,000 media files, 5 % of them bad",
        bad=len(bad),
        named=len(named & bad),
        named_wrongly=len(named - bad),
        children_killed=killed,
    )
    assert named == bad
    assert killed >= 18


def seeds(folder, specimens):
    """Small files of each kind to begin with, and messages as a child sends them."""
    folder.mkdir()
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "AVIF"):
        Image.fromarray(counted_picture(3, 12, 10)).save(folder / kind, kind)
    message = io.BytesIO()
    arrays = {"16000": np.zeros(4, np.float32), "frames": np.zeros((1, 2, 2, 3), np.uint8)}
    send(message, {"span": 0, "status": "ok"}, arrays)
    (folder / "message").write_bytes(message.getvalue())
    (folder / "header").write_bytes(message.getvalue()[4:])
    for path in specimens:
        if path.stat().st_size < 50_000:
            shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize(
    ("target", "runs"),
    [
        ("sniff", 200_000),
        ("signature", 20_000),
        ("wire", 200_000),
        ("picture", 200_000),
        ("still", 20_000),
        ("probe", 10_000),
        ("child", 3_000),
    ],
)
def test_no_bytes_break_what_parses_them(specimens, tally, tmp_path, target, runs):
    pytest.importorskip("atheris", reason="needs atheris, which fuzzes Python on Linux")
    memory = Path("/dev/shm")  # a file is written for each run
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as room:
        start = seeds(Path(room) / "seeds", specimens)
        command = [sys.executable, str(FUZZER), target, str(runs), str(start)]
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        told = ended.stdout.decode(errors="replace")
        broke = [path for path in start.parent.iterdir() if path.name not in ("seeds", "held")]
        found = [shutil.copy(path, tmp_path) for path in broke]
    done, covered = re.search(r"Done (\d+)", told), re.findall(r"cov: (\d+)", told)
    native = "deadly signal" in told
    tally(
        f"fuzzing {target}",
        runs=int(done[1]) if done else 0,
        branches=int(covered[-1]) if covered else 0,
        found=len(found),
        of_them_in_native_code=native * len(found),
    )
    if native:  # a library died, not our code: that is why files are opened in a child
        with Decoder(1) as decoder:
            assert all(decoder.probe(path).status in STATUSES for path in found)
        return
    assert (ended.returncode, found) == (0, []), told[-3000:]
    assert int(done[1]) >= runs
