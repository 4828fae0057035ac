"""Container formats by the first bytes of a file, from an allow-list, and how many bytes are missing.

The file name never counts: a playlist, a concat script or a text named `.mp4` is refused before
FFmpeg reads it.
"""

import os
import re
from io import BufferedReader, FileIO

HEAD = 4096
"""Bytes of a file that `container_of` needs."""
UNKNOWN_FORMAT = "its content is of no known media format"
"""Why a file is refused whose first bytes are of none."""

PICTURES = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "bmp": "BMP",
    "avif": "AVIF",
    "tiff": "TIFF",
    "jp2": "JPEG2000",
    "heif": "HEIF",
    "jxl": "JXL",
    "ppm": "PPM",
    "qoi": "QOI",
    "tga": "TGA",
}
"""Images, with Pillow's name of the format; FFmpeg opens all other formats by their own name."""
PLUGINS = {"heif": "pillow_heif", "jxl": "pillow_jxl"}
"""Packages of the extra `images` that add a format to Pillow."""

MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (8, b"AVI ", "avi"),
    (8, b"WAVE", "wav"),
    (8, b"WEBP", "webp"),
    (8, b"AIFF", "aiff"),
    (8, b"AIFC", "aiff"),
    (0, b"FLV\x01", "flv"),
    (0, b"OggS", "ogg"),
    (0, b"fLaC", "flac"),
    (0, b"caff", "caf"),
    (0, b"#!AMR", "amr"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"GIF8", "gif"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    # BigTIFF.
    (0, b"II+\0\x08\0\0\0", "tiff"),
    (0, b"MM\0+\0\x08\0\0", "tiff"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "jp2"),
    (0, b"\xff\x4f\xff\x51", "jp2"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    (0, b"\xff\x0a", "jxl"),
    (0, b"qoif", "qoi"),
    (0, b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0", "w64"),
    (0, b".snd", "au"),
    (0, b"wvpk", "wv"),
    (0, b"TTA1", "tta"),
    (0, b"MAC ", "ape"),
    (0, b"\x7f\xfe\x80\x01", "dts"),
    (0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", "mxf"),
    (0, b"\x1f\x07\0\x3f", "dv"),
    (0, b"\x1f\x07\0\xbf", "dv"),
    (0, b"\0\0\x01\xb3", "mpegvideo"),
    (0, b".RMF\0\0\0", "rm"),
)
# MP4 starts with `ftyp`; old QuickTime files and segments of a stream start with the others.
BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"styp", b"sidx")
# Images in MP4 boxes, no movies.
HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"mif2", b"msf1")


def container_of(head: bytes) -> str | None:
    """Name of the container that starts with these bytes; None if it is not allowed."""
    if head[4:8] in BOXES:
        return _iso_media(head)
    for offset, magic, name in MAGIC:
        # A name at byte 8 counts only inside a RIFF, RF64 or IFF file.
        if head.startswith(magic, offset) and (offset == 0 or head[:4] in RIFFS):
            return name
    # Two letters are a weak signature: the reserved bytes must be 0 too.
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return "bmp"
    # Portable bit, gray and pixel maps.
    if re.match(rb"P[1-6][ \t\r\n#]", head):
        return "ppm"
    if _transport_stream(head):
        return "mpegts"
    return _bare_audio(head) or ("tga" if _targa(head) else None)


RIFFS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM")


def canvas_of(head: bytes, container: str) -> tuple[int, int]:
    """Width and height that a GIF or a WebP declares; (0, 0) for other formats.

    For these two the libraries allocate the whole canvas when they open the file.
    """
    if container == "gif":
        return _little(head, 6, 2), _little(head, 8, 2)
    kind = head[12:16] if container == "webp" else b""
    # Source: the WebP container specification. The first two kinds
    # store size - 1; the upper two bits of the third are a scale.
    if kind == b"VP8X":
        return _little(head, 24, 3) + 1, _little(head, 27, 3) + 1
    if kind == b"VP8L":
        sides = _little(head, 21, 4)
        return (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return _little(head, 26, 2) & 0x3FFF, _little(head, 28, 2) & 0x3FFF
    return 0, 0


def _big(head: bytes, at: int, count: int) -> int:
    return int.from_bytes(head[at : at + count], "big")


def _little(head: bytes, at: int, count: int) -> int:
    return int.from_bytes(head[at : at + count], "little")


def _iso_media(head: bytes) -> str | None:
    if head[4:8] != b"ftyp":
        return "mov"
    brands = [head[at : at + 4] for at in range(8, min(len(head), _big(head, 0, 4), 256), 4)]
    if brands[:1] in ([b"avif"], [b"avis"]):
        return "avif"
    if brands[:1] and brands[0] in HEIF:
        # `mif1` is any image in boxes: the compatible brands say which.
        return "avif" if b"avif" in brands else "heif"
    return "mov"


def _transport_stream(head: bytes) -> bool:
    # 188 bytes a packet, or 192 with a leading time code (cameras).
    # 0x47 alone is the letter G: three packets in a row must start with it.
    return any(
        len(head) > first + 2 * step and all(head[first + i * step] == 0x47 for i in range(3))
        for first, step in ((0, 188), (4, 192))
    )


def _targa(head: bytes) -> bool:
    """Whether a TGA without a palette may start here: it has no signature, so all fields must fit."""
    return (
        len(head) >= 18
        and head[1:8] in (bytes([0, kind]) + bytes(5) for kind in (2, 3, 10, 11))
        and min(_little(head, 12, 2), _little(head, 14, 2)) > 0
        and head[16] in (8, 16, 24, 32)
        and head[17] & 0xC0 == 0
    )


def _bare_audio(head: bytes) -> str | None:
    """MP3, ADTS, AC-3 or FLAC, possibly after an ID3 tag."""
    tagged = head.startswith(b"ID3") and len(head) >= 10
    if tagged:
        size = 0
        for byte in head[6:10]:  # seven bits a byte
            size = size << 7 | byte & 0x7F
        head = head[10 + size :]
        # The tag is longer than the head, as with a cover: assume MP3, which ID3 was made for.
        if len(head) < 4:
            return "mp3"
    return _first_frame(head) or ("mp3" if tagged or _late_frames(head) else None)


def _first_frame(head: bytes) -> str | None:
    if head.startswith(b"fLaC"):
        return "flac"
    if head.startswith(b"\x0b\x77") and len(head) > 5:
        # The version of the syntax: AC-3 up to 10, E-AC-3 above.
        return "ac3" if head[5] >> 3 <= 10 else "eac3"
    if len(head) < 2 or head[0] != 0xFF:
        return None
    # ADTS has twelve set bits and layer 0; MP3 has eleven and another layer.
    if head[1] & 0xF6 == 0xF0:
        return "aac"
    return "mp3" if head[1] & 0xE0 == 0xE0 and head[1] & 0x06 else None


def _late_frames(head: bytes) -> bool:
    """Whether MPEG audio starts after other bytes, such as zeros or the end of a cut frame."""
    at = head.find(b"\xff")
    while at >= 0:
        # Eleven set bits occur by chance; three frames at each other's ends do not.
        if _frames_at(head, at, 3):
            return True
        at = head.find(b"\xff", at + 1)
    return False


# Source: ISO 11172-3 and 13818-3. kbit/s and Hz by their codes in layer III,
# and in layer II of version 1; the first is for version 1, the second for 2 and 2.5.
BIT_RATES = {
    (True, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (False, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8000)}


def _frames_at(head: bytes, at: int, count: int) -> bool:
    """Whether `count` frames of MPEG audio (layer II or III) follow each other from here."""
    first = head[at + 1 : at + 2]
    for _ in range(count):
        mark, sync, codes = head[at : at + 1], head[at + 1 : at + 2], _big(head, at + 2, 1)
        # The second byte has version and layer, which never change.
        # Empty: the head ends here.
        if mark != b"\xff" or not sync or sync != first or sync[0] & 0xE0 != 0xE0:
            return False
        version, layer = sync[0] >> 3 & 3, sync[0] >> 1 & 3
        rate, kilobits = codes >> 2 & 3, codes >> 4
        if version == 1 or layer not in (1, 2) or rate == 3 or kilobits in (0, 15):
            return False
        # A frame has 1152 samples, in layer III of version 2 and 2.5 half of that.
        samples = 576 if layer == 1 and version != 3 else 1152
        bits = 1000 * BIT_RATES[version == 3, layer][kilobits - 1]
        at += samples // 8 * bits // SAMPLE_RATES[version][rate] + (codes >> 1 & 1)
    return True


def missing_bytes(file: FileIO | BufferedReader, container: str) -> int:
    """Bytes that a file lacks of its declared size; 0 if it declares none."""
    size = os.fstat(file.fileno()).st_size
    if container == "mov":
        return max(0, _end_of_boxes(file, size) - size)
    if container == "matroska":
        file.seek(0)
        return max(0, _end_of_segment(file.read(64)) - size)
    if has_no_length(file, container):
        return 0
    if container in SOUND_CHUNKS:
        start, length = _sound_chunk(file, container)
        return max(0, start + length - size)
    if container == "avi":
        file.seek(0)
        lacking = 8 + _little(file.read(8), 4, 4) - size
        # Some writers count the first eight bytes too.
        return lacking if lacking > 8 else 0
    return 0


SOUND_CHUNKS = {"wav": b"data", "aiff": b"SSND"}
"""The chunk that has the samples. The size of the whole file, at its start, is often wrong."""
NO_LENGTH = 0x7F00_0000
"""Writers into a pipe, which cannot come back to write a length, write 0 or the most that fits: from
0x7F000000 (SoX, AIFF) over 0x7FFFFFFF (SoX, WAV) to 0xFFFFFFFF (FFmpeg)."""


def has_no_length(file: FileIO | BufferedReader, container: str) -> bool:
    """Whether the header of a file says that its length was not known, and the file ends before."""
    size = os.fstat(file.fileno()).st_size
    if container in SOUND_CHUNKS:
        start, length = _sound_chunk(file, container)
        return 0 < start < size and (length == 0 or (length >= NO_LENGTH and start + length > size))
    if container == "avi":
        file.seek(0)
        length = _little(file.read(8), 4, 4)
        return length == 0 or (length >= NO_LENGTH and 8 + length > size)
    return False


def _sound_chunk(file: FileIO | BufferedReader, container: str) -> tuple[int, int]:
    """Where the samples of a WAV or AIFF start, and their declared bytes; (0, 0) if there are none."""
    file.seek(0)
    order = "big" if file.read(4) in (b"FORM", b"RIFX") else "little"
    at, long = 12, 0
    for _ in range(1000):
        file.seek(at)
        head = file.read(16)
        name, length = head[:4], int.from_bytes(head[4:8], order)
        if len(head) < 8:
            break
        if name == SOUND_CHUNKS[container]:
            # RF64 has the length elsewhere, in 64 bits.
            return at + 8, long if long and length == 0xFFFF_FFFF else length
        if name == b"ds64":
            long = int.from_bytes(file.read(8), order)
        # Chunks start at even bytes.
        at += 8 + length + length % 2
    return 0, 0


TOP_BOXES = {*BOXES, b"mfra", b"uuid", b"meta", b"pdin", b"emsg", b"prft", b"ssix", b"udta"}


def _end_of_boxes(file: FileIO | BufferedReader, size: int) -> int:
    """Where the last top-level box of an ISO media file ends."""
    at = 0
    for _ in range(100_000):  # fragmented files have two boxes a fragment
        if at + 8 > size:
            break
        file.seek(at)
        head = file.read(16)
        length = _big(head, 0, 4)
        # 1: the size does not fit and follows in eight bytes.
        if length == 1:
            length = _big(head, 8, 8)
        # 0: to the end of the file. What is no box follows the last one.
        if length < 8 or (at + length > size and head[4:8] not in TOP_BOXES):
            return size
        at += length
    return at


def _end_of_segment(head: bytes) -> int:
    """Where the segment of a Matroska file ends; 0 if its size is not declared."""
    at, length = _vint(head, 4)
    at += length
    if head[at : at + 4] != b"\x18\x53\x80\x67":
        return 0
    at, length = _vint(head, at + 4)
    # All bits set: a live recording, whose size was unknown.
    unknown = length >= 2**56 - 1
    return 0 if unknown else at + length


def _vint(head: bytes, at: int) -> tuple[int, int]:
    """Position after a Matroska number, and its value."""
    if at >= len(head) or head[at] == 0:
        return at, 0
    # The number of zeros before the first set bit gives the number of bytes that follow.
    width = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + width], "big") & ((1 << 7 * width) - 1)
    return at + width, value
