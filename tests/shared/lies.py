"""What must come of files that are odd, broken or hostile."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from forged_pictures import (
    anamorphic,
    declared_huge,
    deep,
    gif_bomb,
    hidden_huge,
    interlaced,
    of_frames,
    of_size,
    png_bomb,
    rotated,
    text_bomb,
    uneven,
    webp_bomb,
    widest,
)
from forgeries import (
    NAMES,
    NUMBERS,
    SECONDS,
    WRAP,
    covered,
    dangling,
    directory,
    eight_channels,
    empty_track,
    encrypted,
    encrypted_sound,
    endless,
    endless_movie,
    endless_sound,
    fifo,
    late_sound,
    loop,
    movie,
    mute,
    named,
    no_samples,
    of_streams,
    picture_bytes,
    plain,
    renamed,
    reshaped,
    sampled,
    starting,
    starting_mute,
    truncated,
    undated,
)

NO_MEDIA = "unsupported: its content is of no known media format"
NO_FILE = "unsupported: not a regular file"
UNSEEN = "corrupt: its video cannot be decoded"
CUT = "cut_off: cut off: "


@dataclass(frozen=True)
class Kind:
    """How a file is made, and what a probe and decoding must say of it.

    `label`: with its reason, or how it begins if it ends in a space. `numbers`: of the counted
    pictures that four looks find. `shape`: height and width. `heard`: whether there is sound.
    `video`: fields of the probe's picture track. `sound`: channels and rate of the chosen track.
    """

    make: Callable[[SimpleNamespace, Path], Path]
    label: str
    decoded: str = ""
    seconds: float | None = None
    numbers: tuple[int, ...] | None = None
    shape: tuple[int, int] | None = None
    heard: bool | None = None
    video: dict[str, object] = field(default_factory=dict)
    sound: tuple[int, int] | None = None


SEEN = {"numbers": NUMBERS, "shape": (48, 64), "seconds": SECONDS}
KINDS: dict[str, Kind] = {
    "zero length": Kind(partial(plain, b""), "corrupt: empty file"),
    "one byte": Kind(partial(plain, b"\0"), NO_MEDIA),
    **{
        f"cut off at {share:.0%}, index {place}": Kind(
            partial(truncated, share, front),
            CUT if front and share > 0.01 else "corrupt: cut off: ",
        )
        for share in (0.01, 0.25, 0.5, 0.75, 0.99)
        for front, place in ((True, "first"), (False, "last"))
    },
    "MP3 as .mp4": Kind(
        partial(renamed, "a.mp3", "libmp3lame"), "no_video", seconds=SECONDS, heard=True
    ),
    "WAV as .mp4": Kind(
        partial(renamed, "a.wav", "pcm_s16le"), "no_video", seconds=SECONDS, heard=True
    ),
    "JPEG as .mp4": Kind(
        lambda make, folder: plain(picture_bytes(make, 5, "JPEG"), make, folder),
        "no_audio",
        numbers=(5,),
        shape=(48, 64),
        seconds=0.0,
        heard=False,
    ),
    "text as .mp4": Kind(partial(plain, b"just a text\n" * 400), NO_MEDIA),
    "HTML as .mp4": Kind(
        partial(plain, b"<!DOCTYPE html><video src='http://127.0.0.1/'>" * 99), NO_MEDIA
    ),
    "encrypted": Kind(encrypted, "unsupported: its content is encrypted"),
    "encrypted sound": Kind(encrypted_sound, "unsupported: its content is encrypted"),
    "declares 30,000 years": Kind(endless, "too_big: "),
    "declares 49 days": Kind(endless_sound, "too_big: 4294967 s long, the limit is 604800 s"),
    "frames of a year": Kind(endless_movie, "no_audio", numbers=(0, 0, 0, 0), seconds=SECONDS),
    "sound only": Kind(
        lambda make, folder: make.sound(folder / "a.mp4", make.noise(SECONDS), codec="aac"),
        "no_video",
        seconds=SECONDS,
        heard=True,
    ),
    "picture only": Kind(mute, "no_audio", heard=False, **SEEN),
    "silent": Kind(
        lambda make, folder: movie(make, folder, sound=0 * make.noise(SECONDS)),
        "silent",
        heard=False,
        **SEEN,
    ),
    "sound of no samples": Kind(no_samples, "silent", seconds=0.0, heard=False),
    "track of no samples": Kind(empty_track, "silent", heard=False, **SEEN),
    "sound shorter": Kind(
        lambda make, folder: movie(make, folder, sound=make.noise(0.5)), "ok", heard=True, **SEEN
    ),
    "sound longer": Kind(
        lambda make, folder: movie(make, folder, sound=make.noise(4.0)),
        "ok",
        numbers=(5, 15, 19, 19),
        seconds=4.0,
        heard=True,
    ),
    "8 channels": Kind(eight_channels, "no_video", seconds=SECONDS, heard=True, sound=(8, 48_000)),
    "8 kHz": Kind(partial(sampled, 8000), "no_video", seconds=SECONDS, heard=True, sound=(1, 8000)),
    "96 kHz": Kind(
        partial(sampled, 96_000), "no_video", seconds=SECONDS, heard=True, sound=(1, 96_000)
    ),
    "uneven frames": Kind(uneven, "no_audio", numbers=(2, 5, 7, 7), video={"variable": True}),
    "one frame": Kind(partial(of_frames, 1, 10), "no_audio", numbers=(0, 0, 0, 0), seconds=0.1),
    "1 frame a second": Kind(
        partial(of_frames, 4, 1), "no_audio", numbers=(0, 1, 2, 3), seconds=4.0
    ),
    "240 frames a second": Kind(
        partial(of_frames, 240, 240),
        "no_audio",
        numbers=(30, 90, 150, 210),
        seconds=1.0,
    ),
    **{
        f"rotated {degrees}": Kind(
            partial(rotated, degrees),
            "no_audio",
            video={"rotation": degrees},
            shape=(48, 64) if degrees == 180 else (64, 48),
        )
        for degrees in (90, 180, 270)
    },
    "anamorphic": Kind(
        anamorphic, "no_audio", numbers=NUMBERS, shape=(48, 128), video={"pixel_aspect": 2.0}
    ),
    "10 bits": Kind(deep, "no_audio", **SEEN),
    "interlaced": Kind(interlaced, "no_audio", **SEEN),
    "1 x 1": Kind(partial(of_size, 1, 1), "no_audio", shape=(1, 1)),
    "17 x 31": Kind(partial(of_size, 17, 31), "no_audio", numbers=NUMBERS, shape=(31, 17)),
    "8192 x 4320": Kind(widest, "no_audio"),
    "12000 x 12000": Kind(declared_huge, UNSEEN),
    "16384 x 16384": Kind(hidden_huge, UNSEEN),
    "PNG of 1 GB": Kind(png_bomb, "too_big: 19000 x 19000 pixels"),
    "PNG with a text of 16 MiB": Kind(text_bomb, "corrupt: "),
    "GIF of 16384 x 16384": Kind(gif_bomb, "too_big: 16384 x 16384 pixels"),
    "WebP of 16383 x 16383": Kind(webp_bomb, "too_big: 16383 x 16383 pixels"),
    "starts at 5 s": Kind(partial(starting, 5.0, "b.mkv"), "ok", heard=True, **SEEN),
    "starts at -1 s": Kind(
        partial(starting, -1.0, "b.mp4"),
        "ok",
        numbers=(11, 13, 16, 18),
        seconds=1.0,
        heard=True,
    ),
    "starts at -1 s, transport stream": Kind(
        partial(starting_mute, -1.0, "b.ts"), "no_audio", **SEEN
    ),
    "clock runs over": Kind(partial(starting_mute, WRAP - 3.0, "b.ts"), "no_audio", **SEEN),
    "no decoding times": Kind(partial(movie, name="a.mkv", audio="flac"), "ok", heard=True, **SEEN),
    "no presentation times": Kind(
        partial(movie, name="a.avi", video="mpeg4", audio="pcm_s16le"),
        "ok",
        heard=True,
        **SEEN,
    ),
    "program stream": Kind(
        partial(movie, name="a.mpg", fps=25, video="mpeg2video", audio="mp2"),
        "ok",
        heard=True,
    ),
    "sound appears under way": Kind(late_sound, "ok", heard=True),
    "changes its shape": Kind(
        reshaped, "no_audio", numbers=(5, 15, 5, 15), seconds=4.0, shape=(48, 64)
    ),
    "missing time stamps": Kind(undated, "corrupt: most of its packets have no time stamp"),
    "64 streams": Kind(partial(of_streams, 64), "ok", heard=True, numbers=NUMBERS),
    "65 streams": Kind(partial(of_streams, 65), "too_big: 65 streams"),
    "cover art": Kind(covered, "no_video", seconds=SECONDS, heard=True),
    "FIFO": Kind(fifo, NO_FILE),
    "folder": Kind(directory, NO_FILE),
    "symlink loop": Kind(loop, "corrupt: cannot be opened: "),
    "symlink to nothing": Kind(dangling, "corrupt: cannot be opened: "),
    **{
        f"name: {name}": Kind(partial(named, raw), "ok", heard=True, **SEEN)
        for name, raw in NAMES.items()
    },
}
