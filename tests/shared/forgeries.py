"""Makes files that are odd, broken or hostile, each from nothing."""

import io
import os
import struct
import wave
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
from av.stream import Disposition
from PIL import Image

SECONDS = 2.0
FPS = 10
LOOKS = (0.25, 0.75, 1.25, 1.75)
"""Where four frames of two seconds are looked for; at 10 frames a second: numbers 2, 7, 12, 17."""
NUMBERS = (2, 7, 12, 17)


def movie(make, folder, name="a.mp4", **how):
    """Two seconds of counted pictures with noise, unless said otherwise."""
    how = {"seconds": SECONDS, "sound": make.noise(SECONDS)} | how
    return make.movie(folder / name, **how)


def mute(make, folder, name="a.mp4", **how):
    return movie(make, folder, name, sound=None, **how)


def plain(content, make, folder, name="a.mp4"):
    """A file of these bytes."""
    path = folder / name
    path.write_bytes(content)
    return path


def written(path, tracks, packets, options=None):
    """A file of packets made by hand: (track, bytes, time stamp) in ticks of a hundredth of a second."""
    with av.open(str(path), "w", options=options or {}) as container:
        streams = [track(container) for track in tracks]
        for number, content, stamp in packets:
            packet = av.Packet(content)
            packet.stream, packet.time_base = streams[number], Fraction(1, 100)
            packet.pts = packet.dts = stamp
            packet.duration = 10
            packet.is_keyframe = True
            container.mux(packet)
    return path


def still_track(container, codec="png", size=(64, 48), kind="rgb24"):
    track = container.add_stream(codec, rate=FPS)
    track.width, track.height = size
    track.pix_fmt = kind
    return track


def pcm_track(container):
    return container.add_stream("pcm_s16le", rate=16_000, layout="mono")


def picture_bytes(make, number, kind="PNG", size=(64, 48)):
    content = io.BytesIO()
    Image.fromarray(make.picture(number, *size)).save(content, kind)
    return content.getvalue()


# Broken


def truncated(share, front, make, folder):
    """A movie cut off at a share of its bytes, its index before or behind its media."""
    path = movie(make, folder)
    if front:
        path = copied(path, folder / "front.mp4", {"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def renamed(name, codec, make, folder):
    """A sound of another container under the name of a movie."""
    return make.sound(folder / name, make.noise(SECONDS), codec=codec).rename(folder / "a.mp4")


KEY = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "76" * 16,
    "encryption_kid": "a7" * 16,
}


def encrypted(make, folder):
    """Common encryption: the tracks name their codecs openly, their packets cannot be decoded."""
    return copied(movie(make, folder), folder / "locked.mp4", KEY)


def encrypted_sound(make, folder):
    whole = make.sound(folder / "a.m4a", make.noise(SECONDS), codec="aac")
    return copied(whole, folder / "locked.mp4", KEY)


def copied(path, target, options=None, shift=0.0):
    """The packets of a movie in another container, perhaps later by some seconds."""
    with av.open(str(path)) as source, av.open(str(target), "w", options=options or {}) as copy:
        streams = {s.index: copy.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                ticks = round(shift / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    return target


def endless(make, folder):
    """A Matroska file that declares to last for ages; its length is a number like any other."""
    path = movie(make, folder, "a.mkv", audio="flac")
    content = bytearray(path.read_bytes())
    at = content.index(b"\x44\x89\x88")  # Duration, eight bytes
    content[at + 3 : at + 11] = struct.pack(">d", 1e15)
    path.write_bytes(content)
    return path


def endless_movie(make, folder):
    """A movie whose frames declare to be shown for days each."""
    path = mute(make, folder)
    content = bytearray(path.read_bytes())
    at = content.index(b"stts")
    content[at + 16 : at + 20] = (0x7FFFFF00).to_bytes(4, "big")  # ticks from one frame to the next
    path.write_bytes(content)
    return path


def endless_sound(make, folder):
    """A FLAC file that declares as many samples as its header has room for."""
    path = make.sound(folder / "a.flac", make.noise(SECONDS), codec="flac")
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    return path


# Odd sounds


def no_samples(make, folder):
    """A sound of a right header and nothing behind it."""
    with wave.open(str(folder / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    return folder / "a.wav"


def empty_track(make, folder):
    """A movie with a sound track of no packets."""
    return movie(make, folder, "a.mkv", sound=make.noise(1.0)[:, :0], audio="flac")


def eight_channels(make, folder):
    sound = make.noise(SECONDS, 48_000, 8)
    return make.sound(folder / "a.wav", sound, 48_000, layout="7.1")


def sampled(rate, make, folder):
    return make.sound(folder / "a.wav", make.noise(SECONDS, rate), rate)


# Odd times


KEPT = {"avoid_negative_ts": "disabled"}
WRAP = 2**33 / 90_000
"""Seconds after which the clock of a transport stream begins anew."""


def starting(seconds, name, make, folder):
    """A movie whose clock does not begin at zero."""
    whole = movie(make, folder, "whole.mkv", audio="flac", setup=without_reordering)
    return copied(whole, folder / name, KEPT, seconds)


def starting_mute(seconds, name, make, folder):
    whole = mute(make, folder, "whole.mkv", setup=without_reordering)
    return copied(whole, folder / name, KEPT, seconds)


def undated(make, folder):
    """A transport stream in which only the first picture and no sound has a time stamp."""
    path = movie(make, folder, "a.ts", setup=without_reordering)
    content = bytearray(path.read_bytes())
    first = True
    for at in range(0, len(content), 188):
        begin = content[at + 1] & 0x40
        skip = 5 + content[at + 4] if content[at + 3] & 0x20 else 4
        packet = at + skip
        if not begin or content[packet : packet + 3] != b"\0\0\1" or content[packet + 3] < 0xC0:
            continue
        if not first:
            content[packet + 7] &= 0x3F
            length = content[packet + 8]
            content[packet + 9 : packet + 9 + length] = b"\xff" * length
        first = False
    path.write_bytes(content)
    return path


def without_reordering(stream):
    stream.max_b_frames = 0
    stream.options = {
        "preset": "veryfast",
        "qp": "4",
        "x264-params": "keyint=10:scenecut=0:bframes=0",
    }


def reshaped(make, folder):
    """A broadcast that goes from one size of picture to another."""
    first = mute(make, folder, "first.ts", setup=without_reordering)
    second = mute(make, folder, "second.mkv", setup=without_reordering, size=(80, 48))
    later = copied(second, folder / "later.ts", KEPT, SECONDS)
    return plain(first.read_bytes() + later.read_bytes(), make, folder, "a.ts")


def late_sound(make, folder):
    """A broadcast whose sound track appears after two seconds."""
    first = mute(make, folder, "first.ts", setup=without_reordering)
    later = copied(
        movie(make, folder, "second.mkv", audio="mp2"), folder / "later.ts", KEPT, SECONDS
    )
    return plain(first.read_bytes() + later.read_bytes(), make, folder, "a.ts")


# Odd tracks


def of_streams(count, make, folder):
    """One picture track and so many others that there are `count`."""
    picture = partial(still_track, codec="mjpeg", kind="yuvj420p")
    tracks = [picture] + [pcm_track] * (count - 1)
    sound = (make.noise(0.1)[0] * 32767).astype("<i2").tobytes()
    packets = [(n, sound, 0) for n in range(1, count)]
    pictures = [(0, picture_bytes(make, n, "JPEG"), 10 * n) for n in range(20)]
    return written(folder / "a.mkv", tracks, sorted(packets + pictures, key=lambda p: p[2]))


def covered(make, folder):
    """A song whose only picture is its cover."""
    path = make.sound(folder / "song.m4a", make.noise(SECONDS), codec="aac")
    other = folder / "a.m4a"
    with av.open(str(path)) as source, av.open(str(other), "w", format="mp4") as target:
        sound = target.add_stream_from_template(source.streams.audio[0])
        cover = still_track(target)
        cover.disposition = Disposition.attached_pic
        packet = av.Packet(picture_bytes(make, 1))
        packet.stream, packet.pts, packet.dts = cover, 0, 0
        target.mux(packet)
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = sound
                target.mux(packet)
    return other


# What is no file


def fifo(make, folder):
    os.mkfifo(folder / "a.mp4")
    return folder / "a.mp4"


def directory(make, folder):
    (folder / "a.mp4").mkdir()
    return folder / "a.mp4"


def loop(make, folder):
    (folder / "a.mp4").symlink_to(folder / "a.mp4")
    return folder / "a.mp4"


def dangling(make, folder):
    (folder / "a.mp4").symlink_to(folder / "nowhere.mp4")
    return folder / "a.mp4"


NAMES = {
    "emoji": "🎬.mp4".encode(),
    "newline": b"a\nb.mp4",
    "leading dash": b"-i.mp4",
    "255 bytes": b"x" * 251 + b".mp4",
    "not UTF-8": b"caf\xe9.mp4",
    "protocol": b"http:a.mp4",
    "pattern": b"%03d*?[a].mp4",
}


def named(name, make, folder):
    path = Path(os.fsdecode(os.path.join(os.fsencode(folder), name)))  # noqa: PTH118 - bytes
    return movie(make, folder).rename(path)
