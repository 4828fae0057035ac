"""Makes pictures that are odd, huge or hostile."""

import io
import struct
import zlib
from fractions import Fraction
from functools import partial

import av
import numpy as np
from forgeries import mute, picture_bytes, plain, still_track, written
from PIL import Image


def corner(number, width, height):
    """A picture that is bright at the upper left as stored."""
    picture = np.full((height, width, 3), 30, np.uint8)
    picture[: height // 2, : width // 2] = 220
    return picture


def rotated(degrees, make, folder):
    turn = lambda stream: stream.set_display_rotation(degrees)  # noqa: E731
    return mute(make, folder, picture=corner, setup=turn)


def anamorphic(make, folder):
    def wide(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)

    return mute(make, folder, setup=wide)


def deep(make, folder):
    def ten_bits(stream):
        stream.pix_fmt = "yuv420p10le"

    return mute(make, folder, setup=ten_bits)


def interlaced(make, folder):
    def fields(stream):
        stream.options = {"preset": "veryfast", "qp": "4", "x264-params": "tff=1:scenecut=0"}

    path = mute(make, folder, setup=fields)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    return path


def of_size(width, height, make, folder):
    """Pictures of a size that colour at half resolution does not divide."""
    track = partial(still_track, size=(width, height))
    packets = [(0, picture_bytes(make, n, size=(width, height)), 10 * n) for n in range(20)]
    return written(folder / "a.mov", [track], packets)


def of_frames(count, fps, make, folder):
    return mute(make, folder, seconds=count / fps, fps=fps)


def uneven(make, folder):
    stamps = [0, 40, 80, 700, 720, 740, 1230, 1250, 1900, 1960]
    return mute(make, folder, "a.mkv", stamps=stamps)


def widest(make, folder):
    """One grey picture of the largest size that is allowed."""
    content = io.BytesIO()
    Image.new("L", (8192, 4320), 100).save(content, "JPEG")
    track = partial(still_track, codec="mjpeg", size=(8192, 4320), kind="yuvj420p")
    return written(folder / "a.mkv", [track], [(0, content.getvalue(), 0)])


def hidden_huge(make, folder):
    """Pictures of 16384 x 16384 in a track that declares 64 x 48."""
    bomb = png_of(16_384, 16_384, filled=False)
    return written(folder / "a.mov", [still_track], [(0, bomb, 0), (0, bomb, 10)])


def declared_huge(make, folder):
    """A track that declares 12000 x 12000 pixels without any compression, and holds a few bytes."""
    track = partial(still_track, codec="rawvideo", size=(12_000, 12_000))
    return written(folder / "a.avi", [track], [(0, bytes(100), 0), (0, bytes(100), 10)])


def png_of(width, height, filled):
    """A black picture of three bytes a pixel; unless it is `filled`, only its header."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes((3 * width + 1) * height) if filled else b"", 1)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def png_bomb(make, folder):
    return plain(png_of(19_000, 19_000, filled=False), make, folder, "a.png")


def text_bomb(make, folder):
    """A picture of one pixel with a text of 16 MiB, packed into 16 KiB."""
    packed = b"Comment\0\0" + zlib.compress(bytes(16 * 1024**2), 1)
    chunk = (
        struct.pack(">I", len(packed))
        + b"zTXt"
        + packed
        + struct.pack(">I", zlib.crc32(b"zTXt" + packed))
    )
    small = png_of(1, 1, filled=True)
    return plain(small[:33] + chunk + small[33:], make, folder, "a.png")


def gif_bomb(make, folder):
    Image.new("P", (8, 8), 3).save(folder / "a.gif")
    content = bytearray((folder / "a.gif").read_bytes())
    content[6:10] = struct.pack("<HH", 16_384, 16_384)
    return plain(content, make, folder, "a.gif")


def webp_bomb(make, folder):
    """The lossless kind, whose header alone says how large it is."""
    size = (16_383 - 1) | (16_383 - 1) << 14
    image = b"\x2f" + size.to_bytes(4, "little") + bytes(7)
    chunk = b"VP8L" + struct.pack("<I", len(image)) + image
    return plain(
        b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk, make, folder, "a.webp"
    )
