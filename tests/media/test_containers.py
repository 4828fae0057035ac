import io

import pytest
from PIL import Image

from trichord.media.containers import canvas_of, container_of, has_no_length, missing_bytes


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x20ftypisom", "mov"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "mov"),
        (b"\0\0\0\x20ftypavif", "avif"),
        (b"\0\0\0\x20ftypheic", "heif"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1heic", "heif"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1avif", "avif"),
        (b"II*\0\x08\0\0\0", "tiff"),
        (b"MM\0*\0\0\0\x08", "tiff"),
        (b"\xff\x0a\xfa\x1f", "jxl"),
        (b"BW64\0\0\0\0WAVEds64", "wav"),
        (b"\x0b\x77\0\0\0\x40", "ac3"),
        (b"\x0b\x77\0\0\0\x80", "eac3"),
        (b"\0" * 300 + (b"\xff\xfb\x90\x64" + bytes(413)) * 3, "mp3"),
        (b"end of a frame" + (b"\xff\xf3\x44\xc4" + bytes(92)) * 3, "mp3"),
        (b"\0" * 300 + (b"\xff\xfb\x90\x64" + bytes(412)) * 3, None),
        (b"\0" * 300 + (b"\xff\xfb\x90\x64" + bytes(413)) * 2, None),
        (b"\x1a\x45\xdf\xa3\x9f", "matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"RIFF\0\0\0\0WAVEfmt ", "wav"),
        (b"XXXX\0\0\0\0WAVEfmt ", None),
        (b"FORM\0\0\0\0AIFF", "aiff"),
        (b"ID3\x03\0\0\0\0\0\x02xx\xff\xf1\x50\x80", "aac"),
        (b"ID3\x03\0\0\0\0\0\x02xxfLaC", "flac"),
        (b"ID3\x03\0\0\0\0\x7f\x7f", "mp3"),
        (b"ID3\x03\0\0\0\0\0\x02xxrest of it", "mp3"),
        (b"\xff\xfb\x90\x64", "mp3"),
        (b"\xff\xe0\0\0", None),
        (b"BM\x01\0\0\0\0\0\0\0", "bmp"),
        (b"BMW drives past", None),
        ((b"\x47" + bytes(187)) * 3, "mpegts"),
        (bytes(4) + (b"\x47" + bytes(191)) * 3, "mpegts"),
        (b"G" * 10, None),
        (b"", None),
    ],
)
def test_the_first_bytes_name_the_container(head, name):
    assert container_of(head) == name


@pytest.mark.parametrize("content", [b"\xff", b"words\xff", b"words" * 20 + b"\xff"])
def test_a_file_that_ends_like_a_frame_begins_is_no_audio(content):
    assert container_of(content) is None


@pytest.mark.parametrize("kind", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}])
def test_a_webp_declares_its_canvas_in_each_of_its_three_ways(kind):
    content = io.BytesIO()
    Image.new("RGB", (300, 17), (9, 8, 7)).save(content, "WEBP", **kind)
    assert canvas_of(content.getvalue(), "webp") == (300, 17)
    assert canvas_of(content.getvalue()[:12], "webp") == (0, 0)


def test_a_gif_declares_its_canvas():
    assert canvas_of(b"GIF89a" + b"\x2c\x01" + b"\x11\0", "gif") == (300, 17)
    assert canvas_of(b"\xff\xd8\xff", "jpeg") == (0, 0)


def on_disk(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    return path.open("rb")


@pytest.mark.parametrize(
    ("container", "content", "missing"),
    [
        ("mov", b"\0\0\0\x08ftyp" + b"\0\0\0\x10mdat12345678", 0),
        ("mov", b"\0\0\0\x08ftyp" + b"\0\0\0\x10mdat123", 5),
        ("mov", b"\0\0\0\x01mdat" + (20).to_bytes(8, "big") + b"12", 2),
        ("mov", b"\0\0\0\0mdat12345678", 0),
        ("mov", b"\0\0\0\x08ftyp" + b"\0\0\0\x10mdat12345678" + b"\x7f\x3a\x91\x02noise", 0),
        # A box of an unknown kind that would end behind the file is no box.
        ("mov", b"\0\0\0\x08ftyp" + b"\0\0\0\x10mdat12345678" + b"\0\0\1\0wxyz1234", 0),
        # The samples count, not the size of the whole file.
        ("wav", b"RIFF\x24\0\0\0WAVEdata\4\0\0\0" + b"1234", 0),
        ("wav", b"RIFF\x24\0\0\0WAVEdata\6\0\0\0" + b"1234", 2),
        ("wav", b"RIFF\x24\0\0\0WAVEodd \3\0\0\0abc\0data\5\0\0\0" + b"1234", 1),
        ("wav", b"RIFF\0\0\0\0WAVEdata\0\xf0\xff\x7f" + b"1234", 0),
        (
            "wav",
            b"RF64\xff\xff\xff\xffWAVEds64\x10\0\0\0"
            + bytes(8)
            + b"\6"
            + bytes(7)
            + b"data\xff\xff\xff\xff1234",
            2,
        ),
        ("aiff", b"FORM\0\0\0\0AIFFSSND\0\0\0\6" + b"1234", 2),
        ("avi", b"RIFF" + (20).to_bytes(4, "little") + b"AVI ", 16),
        ("avi", b"RIFF" + (12).to_bytes(4, "little") + b"AVI ", 0),
        ("wav", b"RIFF\xff\xff\xff\xffWAVE", 0),
        ("avi", b"RIFF\0\0\0\0AVI ", 0),
        ("matroska", b"\x1a\x45\xdf\xa3\x81\0" + b"\x18\x53\x80\x67\x84ab", 2),
        ("matroska", b"\x1a\x45\xdf\xa3\x81\0" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7, 0),
        ("matroska", b"\x1a\x45\xdf\xa3\x81\0" + b"none", 0),
        ("matroska", b"\x1a\x45\xdf\xa3", 0),
        ("ogg", b"OggS", 0),
    ],
)
def test_headers_tell_how_much_is_missing(tmp_path, container, content, missing):
    with on_disk(tmp_path, content) as file:
        assert missing_bytes(file, container) == missing


@pytest.mark.parametrize(
    ("container", "content", "endless"),
    [
        ("wav", b"RIFF\0\0\0\0WAVEdata\0\0\0\0" + b"1234", True),
        ("wav", b"RIFF\0\0\0\0WAVEdata\0\0\0\0", False),  # no sample at all
        ("wav", b"RIFF\0\0\0\0WAVEdata\xff\xff\xff\xff" + b"1234", True),
        ("wav", b"RIFF\0\0\0\0WAVEdata\0\xf0\xff\x7f" + b"1234", True),
        ("wav", b"RIFF\0\0\0\0WAVEdata\0\0\0\x10" + b"1234", False),
        ("aiff", b"FORM\x7f\0\0\0AIFFSSND\x7f\0\0\0" + b"1234", True),
        ("avi", b"RIFF\0\0\0\0AVI ", True),
        ("avi", b"RIFF\4\0\0\0AVI ", False),
        ("mov", b"\0\0\0\0mdat", False),
    ],
)
def test_headers_that_were_written_into_a_pipe_are_known(tmp_path, container, content, endless):
    with on_disk(tmp_path, content) as file:
        assert has_no_length(file, container) is endless


def test_a_file_of_endless_boxes_is_given_up(tmp_path):
    with on_disk(tmp_path, b"\0\0\0\x08free" * 100_001) as file:
        assert missing_bytes(file, "mov") == 0
        assert isinstance(file, io.BufferedReader)
