import asyncio
import io
import os
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trichord.service.catalogue import file_id
from trichord.service.errors import RefusedError
from trichord.service.media import ByteRange, media_type, open_regular_file, range_of, within

SIZE = 1000


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-", ByteRange(0, 999)),
        ("bytes=0-0", ByteRange(0, 0)),
        ("bytes=10-19", ByteRange(10, 19)),
        ("bytes=990-5000", ByteRange(990, 999)),
        ("bytes=-10", ByteRange(990, 999)),
        ("bytes=-5000", ByteRange(0, 999)),
        ("Bytes = 5-6", ByteRange(5, 6)),
        # Of another form, or several: the whole file may be sent (RFC 9110, 14.2).
        ("bytes=0-1,5-6", None),
        ("bytes=20-10", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=1_0-20", None),
        ("bytes=+1-2", None),
        ("bytes=\u0661-\u0662", None),
        ("bytes=" + "9" * 400 + "-", None),
        ("bytes=0-" + "9" * 400, None),
        ("bytes=--5", None),
        ("bytes=5--1", None),
        ("bytes=-5-", None),
        ("bytes=0-999,0-999,0-999", None),
        ("bytes=" + ",".join(["0-"] * 4000), None),
        ("bytes=" + ",".join(f"{i}-{i}" for i in range(2000)), None),
        ("items=0-5", None),
        ("", None),
    ],
)
def test_a_range_is_read_as_the_standard_has_it(header, expected):
    assert range_of(header, SIZE) == expected


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_had(header):
    with pytest.raises(RefusedError) as refused:
        range_of(header, SIZE)
    assert refused.value.status_code == 416
    assert refused.value.headers == {"Content-Range": "bytes */1000"}


def test_an_empty_file_has_no_ranges():
    with pytest.raises(RefusedError):
        range_of("bytes=0-", 0)


def test_the_type_is_told_by_the_content(rendered):
    expected = {"red.mp4": "video/mp4", "tone.wav": "audio/wav", "still.png": "image/png"}
    for name, kind in expected.items():
        assert media_type((rendered / name).read_bytes()[:4096]) == kind
    assert media_type(b"\x1a\x45\xdf\xa3" + b"\x01\x42\x82\x84webm" + b"\0" * 99) == "video/webm"
    assert media_type(b"<!doctype html><script>alert(1)</script>") is None
    assert media_type(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>") is None
    assert media_type(b"") is None


def test_a_file_is_opened_where_no_link_is_on_the_way(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"content")
    (tmp_path / "folder-link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "link").symlink_to(tmp_path / "real" / "file")
    os.mkfifo(tmp_path / "pipe")
    with open_regular_file(tmp_path / "real" / "file") as file:
        assert file.read() == b"content"
    for bad in ("folder-link/file", "real/link", "pipe", "real", "nothing"):
        with pytest.raises(OSError):
            open_regular_file(tmp_path / bad)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_opening_leaves_nothing_open(tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    before = open_files()
    for bad in ("link", "a/b/c"):
        with pytest.raises(OSError):
            open_regular_file(tmp_path / bad)
    assert open_files() == before


def test_a_link_may_end_inside_a_root_and_nowhere_else(tmp_path):
    root = (tmp_path / "root").resolve()
    root.mkdir()
    (root / "file").write_bytes(b"")
    (root / "inside").symlink_to(root / "file")
    (root / "outside").symlink_to("/etc/passwd")
    (root / "loop").symlink_to(root / "loop")
    assert within(str(root / "inside"), [root]) == root / "file"
    assert within(str(root / "file"), []) == root / "file"
    for bad, roots in (("outside", [root]), ("inside", []), ("loop", [root]), ("gone", [root])):
        with pytest.raises(RefusedError) as refused:
            within(str(root / bad), roots)
        assert refused.value.status_code == 404


@pytest.fixture
def media(ask, root):
    """Asks for a file of the archive: `media("red.mp4", Range="bytes=0-1")`."""

    def media(name, method="GET", **headers):
        return ask(method, f"/api/media/{file_id(str(root / name))}", headers=headers)

    return media


def test_a_whole_file_is_sent(media, root):
    response = media("red.mp4")
    assert response.status_code == 200
    assert response.content == (root / "red.mp4").read_bytes()
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-length"] == str((root / "red.mp4").stat().st_size)
    assert response.headers["content-security-policy"] == (
        "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
    )


@pytest.mark.parametrize(
    ("asked", "cut"), [("10-19", (10, 20)), ("-7", (-7, None)), ("5-", (5, None))]
)
def test_a_part_is_sent(media, root, asked, cut):
    response = media("red.mp4", Range=f"bytes={asked}")
    content = (root / "red.mp4").read_bytes()
    part = content[slice(*cut)]
    assert (response.status_code, response.content) == (206, part)
    first = content.index(part) if asked != "-7" else len(content) - 7
    assert response.headers["content-range"] == (
        f"bytes {first}-{first + len(part) - 1}/{len(content)}"
    )


def test_a_part_behind_the_end_is_not(media, root):
    response = media("red.mp4", Range="bytes=99999999-")
    assert response.status_code == 416
    size = (root / "red.mp4").stat().st_size
    assert response.headers["content-range"] == f"bytes */{size}"
    assert response.json()["error"] == f"The file has {size} bytes: ask for a range inside."


def test_head_says_what_would_be_sent(media):
    whole, told = media("red.mp4"), media("red.mp4", "HEAD")
    assert (told.status_code, told.content) == (200, b"")
    for name in ("content-length", "etag", "content-type", "last-modified"):
        assert told.headers[name] == whole.headers[name]
    part = media("red.mp4", "HEAD", Range="bytes=0-9")
    assert (part.status_code, part.headers["content-length"]) == (206, "10")


def test_a_part_continues_only_the_same_version(media, root):
    first = media("red.mp4", Range="bytes=0-9")
    tag, time = first.headers["etag"], first.headers["last-modified"]
    for same in (tag, time):
        again = media("red.mp4", **{"Range": "bytes=10-19", "If-Range": same})
        assert again.status_code == 206
    for other in ('"other"', f"W/{tag}", formatdate(0, usegmt=True), "no date", ""):
        response = media("red.mp4", **{"Range": "bytes=10-19", "If-Range": other})
        assert response.status_code == 200
    os.utime(root / "red.mp4", (1, 1))
    changed = media("red.mp4", **{"Range": "bytes=10-19", "If-Range": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_a_file_that_is_known_is_not_sent_again(media):
    tag = media("red.mp4").headers["etag"]
    for known in (tag, f'"a", W/{tag}', "*"):
        response = media("red.mp4", **{"If-None-Match": known})
        assert (response.status_code, response.content) == (304, b"")
    assert media("red.mp4", **{"If-None-Match": '"a"'}).status_code == 200


def test_a_listed_file_that_became_something_else_is_not_sent(media, root, tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes((root / "red.mp4").read_bytes())
    (root / "red.mp4").write_text("<script>alert(1)</script>")
    assert media("red.mp4").status_code == 415
    (root / "red.mp4").unlink()
    assert media("red.mp4").status_code == 404
    (root / "red.mp4").symlink_to(secret)
    assert media("red.mp4").status_code == 404
    (root / "red.mp4").unlink()
    (root / "red.mp4").mkdir()
    assert media("red.mp4").status_code == 404
    (root / "more" / "tone.wav").unlink()
    (root / "more").rmdir()
    (root / "more").symlink_to(tmp_path)
    (tmp_path / "tone.wav").write_bytes(b"RIFF0000WAVE")
    assert media("more/tone.wav").status_code == 404


def test_files_are_closed_however_the_sending_ends(serving, root):
    app = serving()
    path = f"/api/media/{file_id(str(root / 'red.mp4'))}"

    async def broken(after):
        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "path": path, "scheme": "http",
            "query_string": b"", "client": ("127.0.0.1", 1), "root_path": "",
            "raw_path": path.encode(), "headers": [(b"host", b"localhost")],
        }  # fmt: skip
        sent = 0

        async def receive():
            await asyncio.sleep(30)

        async def send(message):
            nonlocal sent
            sent += 1
            if sent > after:
                raise ConnectionResetError

        with pytest.raises(BaseException):  # noqa: B017 - Starlette wraps it in a group
            await app(scope, receive, send)

    open_before = open_files()
    for after in (0, 1):
        asyncio.run(broken(after))
    assert open_files() == open_before


def test_thumbnails_are_made_where_none_is_stored(ask, found):
    hit = found("yellow")[0]
    response = ask("GET", hit["thumbnail"])
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/webp"
    assert response.content[8:12] == b"WEBP"
    assert ask("GET", found("a redder field")[0]["thumbnail"]).status_code == 200


def test_the_picture_of_a_sound_is_its_waveform(ask, found):
    hit = next(hit for hit in found("a tone") if hit["kind"] == "audio")
    response = ask("GET", hit["thumbnail"])
    assert response.headers["content-type"] == "image/webp"
    picture = Image.open(io.BytesIO(response.content))
    assert picture.size == (400, 225)
    strokes = np.asarray(picture.convert("RGBA"))[..., 3] > 0
    assert 0.3 < strokes.mean() < 0.7  # a steady tone: half of the width, nearly all of the height


def test_a_stored_thumbnail_is_sent_as_it_is(ask, found, collection, root):
    from dataclasses import replace

    [file] = collection.table.read_files([str(root / "still.png")])
    [entry] = file.entries
    collection.table.put([replace(file, entries=(replace(entry, thumbnail=b"\xff\xd8 stored"),))])
    response = ask("GET", found("yellow")[0]["thumbnail"])
    assert response.content == b"\xff\xd8 stored"
    assert response.headers["content-type"] == "image/jpeg"  # as earlier versions stored them


def test_a_moment_that_cannot_be_read_has_no_thumbnail(ask, found, root):
    hit = next(hit for hit in found("a tone") if hit["kind"] == "audio")
    (root / "more" / "tone.wav").write_bytes(b"RIFF")
    response = ask("GET", hit["thumbnail"])
    assert (response.status_code, response.json()) == (
        404,
        {"error": "This moment has neither a picture nor sound."},
    )
