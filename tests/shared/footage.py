"""Films with counted pictures, and sounds, as PyAV writes them."""

from fractions import Fraction

import av
import numpy as np

RATE = 16_000


def counted_picture(number, width=64, height=48):
    """A gray picture that holds `number` modulo 256: its sixteens at the left, its units at the right."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:, : width // 2] = 16 + 14 * (number % 256 // 16)
    picture[:, width // 2 :] = 16 + 14 * (number % 16)
    return picture


def number_in(frame):
    """The number that a decoded counted picture holds."""
    height, width = frame.shape[:2]
    rows = slice(height // 4, 3 * height // 4)
    left = frame[rows, width // 8 : width // 4 + width // 8].mean()
    right = frame[rows, width // 2 + width // 8 : width - width // 8].mean()
    return round((left - 16) / 14) * 16 + round((right - 16) / 14)


def noise(seconds, rate=RATE, channels=1, seed=0):
    """Smooth noise (channels, samples), 0.5 at its loudest: any shift of it shows."""
    values = np.random.default_rng(seed).standard_normal((channels, int(seconds * rate)))
    smooth = np.stack([np.convolve(row, np.hanning(9), "same") for row in values])
    return (0.5 * smooth / np.abs(smooth).max()).astype(np.float32)


def as_samples(piece, kind):
    """Floats as samples of an FFmpeg format."""
    if kind.startswith("s16"):
        return (piece * 32767).round().astype(np.int16)
    if kind.startswith("s32"):
        return (piece * 2.0**31).astype(np.int32)
    if kind.startswith("u8"):
        return (piece * 127 + 128).round().astype(np.uint8)
    return piece.astype(np.float64) if kind.startswith("dbl") else piece


def add_sound(container, sound, rate, codec, layout):
    """A sound track of the container and a function that writes it up to a number of seconds."""
    stream = container.add_stream(codec, rate=rate, layout=layout)
    if codec == "vorbis":  # FFmpeg's own encoder, which calls itself an experiment
        stream.options = {"strict": "experimental"}
    if codec.startswith("wma"):
        stream.bit_rate = 64_000
    position = 0

    def write(until):
        nonlocal position
        step = stream.codec_context.frame_size or 1024
        while position < sound.shape[1] and position < until * rate:
            piece = np.ascontiguousarray(sound[:, position : position + step])
            kind = stream.codec_context.format.name
            piece = as_samples(piece, kind)
            if not kind.endswith("p"):
                piece = np.ascontiguousarray(piece.T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(piece, format=kind, layout=layout)
            frame.sample_rate = rate
            frame.time_base = Fraction(1, rate)
            frame.pts = position
            container.mux(stream.encode(frame))
            position += step

    return stream, write


def make_movie(
    path,
    seconds=4.0,
    fps=10,
    group=10,
    sound=None,
    rate=RATE,
    audio="aac",
    layout="mono",
    video="libx264",
    size=(64, 48),
    stamps=None,
    picture=counted_picture,
    setup=None,
    second_sound=None,
    pixels="yuv420p",
    container_format=None,
    options=None,
    languages=(),
):
    """A movie of counted pictures, one each 1/fps seconds (or at `stamps` in ms), perhaps with sound."""
    stamps = stamps or [round(1000 * n / fps) for n in range(round(seconds * fps))]
    with av.open(str(path), "w", format=container_format, options=options or {}) as container:
        stream = add_picture(container, video, fps, group, size, pixels)
        if setup is not None:
            setup(stream)
        sounds = [samples for samples in (sound, second_sound) if samples is not None]
        tracks = [add_sound(container, samples, rate, audio, layout) for samples in sounds]
        for (track, _), language in zip(tracks, languages, strict=False):
            track.metadata["language"] = language
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            frame.time_base, frame.pts = Fraction(1, 1000), stamp
            container.mux(stream.encode(frame))
            for _, write in tracks:
                write(stamp / 1000 + 0.2)
        for _, write in tracks:
            write(float("inf"))
        for track in (stream, *(track for track, _ in tracks)):
            container.mux(track.encode(None))
    return path


def add_picture(container, codec, fps, group, size, pixels="yuv420p"):
    """A picture track whose time stamps are milliseconds where the codec can have them."""
    stream = container.add_stream(codec, rate=fps)
    stream.width, stream.height = size
    stream.pix_fmt = pixels
    stream.gop_size = group
    if codec == "libx264":
        x264 = f"keyint={group}:scenecut=0"
        stream.options = {"preset": "veryfast", "qp": "4", "x264-params": x264}
        stream.codec_context.time_base = Fraction(1, 1000)
    return stream


def make_sound(path, sound, rate=RATE, codec="pcm_s16le", layout="mono", **how):
    """A plain sound file; `how`: `format` and `options` of `av.open`."""
    with av.open(str(path), "w", **how) as container:
        stream, write = add_sound(container, sound, rate, codec, layout)
        write(float("inf"))
        container.mux(stream.encode(None))
    return path
