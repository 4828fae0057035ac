import asyncio
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from trichord.service.allowance import Allowance
from trichord.service.errors import RefusedError
from trichord.service.uploads import FIELDS, Uploads, receive_file

FORM = "multipart/form-data; boundary=edge"


def form(content, name="file", filename="x.mp4", end=b"\r\n--edge--\r\n"):
    """The body of a form with a file."""
    head = f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return head.encode() + content + end


def asked(body, content_type=FORM, size=4096):
    """A request whose body comes in portions."""
    left = [body[start : start + size] for start in range(0, len(body), size)]

    async def receive():
        portion = left.pop(0) if left else b""
        return {"type": "http.request", "body": portion, "more_body": bool(left)}

    return request_of(receive, content_type)


def request_of(receive, content_type=FORM):
    headers = [(b"content-type", content_type.encode())]
    # "app": a form's faults are HTTP errors, as in the application.
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/uploads",
        "headers": headers,
        "app": None,
    }
    return Request(scope, receive)


def received(body, path, content_type=FORM, size=7):
    return asyncio.run(receive_file(asked(body, content_type, size), path))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_forms_file_is_written_byte_by_byte(tmp_path, size):
    content = bytes(range(256)) + b"\r\n--edg\r\n-- --edge"
    assert received(form(content), tmp_path / "file", size=size) == len(content)
    assert (tmp_path / "file").read_bytes() == content
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_other_small_fields_are_read_over(tmp_path):
    note = b'--edge\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    received(note + form(b"content"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ("", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/mixed; boundary=edge", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=" + "x" * 201, 400),
    ],
)
def test_anything_but_a_form_is_refused(tmp_path, content_type, status):
    with pytest.raises(HTTPException) as refused:
        received(form(b""), tmp_path / "file", content_type)
    assert refused.value.status_code == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        form(b"content", end=b""),
        form(b"content", end=b"\r\n--edge"),
        form(b"content", name="other"),
        form(b"content")[:40],
        b"--edge--\r\n",
        b'--edge\r\nContent-Disposition: form-data; name="file"\r\n\r\nno filename\r\n--edge--\r\n',
        form(b"one", end=b"\r\n") + form(b"two"),
    ],
)
# Starlette leaves the file of a form without an end to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broken_or_empty_form_is_refused(tmp_path, body):
    with pytest.raises(HTTPException) as refused:
        received(body, tmp_path / "file")
    assert refused.value.status_code == 400


def test_ten_thousand_fields_are_refused_at_the_first_too_many(tmp_path):
    field = b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
    given = 0

    async def receive():
        nonlocal given
        given += 1
        return {"type": "http.request", "body": field, "more_body": given < 10_000}

    with pytest.raises(HTTPException) as refused:
        asyncio.run(receive_file(request_of(receive), tmp_path / "file"))
    assert refused.value.status_code == 400
    assert given == FIELDS + 1


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"y" * 5000,
        b"".join(b"X%d: y\r\n" % i for i in range(50)),
        b'Content-Disposition: form-data; name="note"\r\n\r\n' + b"z" * 5000,
    ],
)
def test_too_much_besides_the_file_is_refused(tmp_path, head):
    with pytest.raises(HTTPException) as refused:
        received(b"--edge\r\n" + head + b"\r\n", tmp_path / "file")
    assert refused.value.status_code == 400


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keeping(reader, clock):
    """Makes keepers of uploads."""
    made = []

    def keeping(**limits):
        made.append(Uploads(reader, Allowance(**limits), clock))
        return made[-1]

    yield keeping
    for one in made:
        one.close()


def take(uploads, content):
    return asyncio.run(uploads.take(asked(form(content))))


def test_the_kind_is_told_by_the_content_and_never_by_the_name(keeping, rendered):
    uploads = keeping()
    found = {
        name: take(uploads, (rendered / name).read_bytes())
        for name in ("red.mp4", "tone.wav", "still.png")
    }
    assert {name: one.kind for name, one in found.items()} == {
        "red.mp4": "video", "tone.wav": "audio", "still.png": "image",
    }  # fmt: skip
    assert found["red.mp4"].seconds == pytest.approx(4.0)
    assert len({one.name for one in found.values()}) == 3
    assert all(len(one.name) == 32 for one in found.values())


def test_the_folder_is_only_for_this_user(keeping):
    uploads = keeping()
    assert stat.S_IMODE(uploads.folder.stat().st_mode) == 0o700
    uploads.close()
    assert not uploads.folder.exists()


KILLED = """
import sys, tempfile, time
from trichord.media import Decoder
from trichord.service.allowance import Allowance
from trichord.service.uploads import Uploads
tempfile.tempdir = sys.argv[1]
uploads = Uploads(Decoder(workers=1), Allowance())
(uploads.folder / "file").write_bytes(b"a client's")
print(uploads.folder, flush=True)
time.sleep(60)
"""


def test_what_a_killed_service_left_is_deleted_by_the_next_and_nothing_else(
    keeping, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    line = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as serving:
        left = Path(serving.stdout.readline().strip())
        file, other = tmp_path / "trichord-uploads-file", tmp_path / "other"
        file.write_text("a file")
        other.mkdir()
        for one in (left, file, other):
            os.utime(one, (1, 1))
        link = tmp_path / "trichord-uploads-link"
        link.symlink_to(other)
        young = Path(tempfile.mkdtemp(prefix="trichord-uploads-"))
        keeping()
        assert (left / "file").exists()  # it still serves
        serving.kill()
    keeping()
    assert not left.exists()
    assert all(one.exists() for one in (file, other, link, young))


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"#!/bin/sh\nrm -rf /", b"<svg/>", b"ffconcat version 1.0\nfile /etc/passwd"],
)
def test_what_is_no_media_is_refused_and_not_kept(keeping, content):
    uploads = keeping()
    with pytest.raises(RefusedError) as refused:
        take(uploads, content)
    assert refused.value.status_code == 415
    assert list(uploads.folder.iterdir()) == []


def test_a_truncated_video_is_refused_and_not_kept(keeping, rendered):
    uploads = keeping()
    with pytest.raises(RefusedError) as refused:
        take(uploads, (rendered / "red.mp4").read_bytes()[:700])
    assert refused.value.status_code == 415
    assert str(uploads.folder) not in refused.value.detail
    assert list(uploads.folder.iterdir()) == []


def test_an_upload_that_breaks_off_leaves_nothing(keeping):
    uploads = keeping()

    given = iter([{"type": "http.request", "body": form(b"x" * 100)[:90], "more_body": True}])

    async def receive():
        return next(given, {"type": "http.disconnect"})

    with pytest.raises(RefusedError):
        asyncio.run(uploads.take(request_of(receive)))
    assert list(uploads.folder.iterdir()) == []
    assert len(uploads) == 0


def test_uploads_are_kept_for_a_while_after_their_last_use(keeping, rendered, clock):
    uploads = keeping(upload_lifetime=100.0)
    upload = take(uploads, (rendered / "still.png").read_bytes())
    clock.now = 90.0
    assert uploads.find(upload.name) is upload
    clock.now = 180.0
    assert uploads.find(upload.name) is upload
    clock.now = 281.0
    with pytest.raises(RefusedError) as refused:
        uploads.find(upload.name)
    assert refused.value.status_code == 404
    assert not upload.path.exists()


@pytest.mark.parametrize("name", ["", "..", "0" * 32, "../" * 5 + "etc/passwd"])
def test_only_a_given_name_is_found(keeping, name):
    with pytest.raises(RefusedError) as refused:
        keeping().find(name)
    assert refused.value.status_code == 404


def test_only_so_many_are_kept(keeping, rendered, clock):
    uploads = keeping(uploads=2, upload_lifetime=100.0)
    picture = (rendered / "still.png").read_bytes()
    take(uploads, picture)
    clock.now = 30.0
    take(uploads, picture)
    with pytest.raises(RefusedError) as refused:
        take(uploads, picture)
    assert refused.value.status_code == 429
    assert refused.value.headers["Retry-After"] == "70"
    clock.now = 101.0
    take(uploads, picture)


def test_only_so_many_bytes_are_kept(keeping, rendered):
    picture = (rendered / "still.png").read_bytes()
    room = len(picture) + 1000
    uploads = keeping(uploads_bytes=room, upload_bytes=1000)
    take(uploads, picture)
    with pytest.raises(RefusedError) as refused:
        take(keeping(uploads_bytes=999, upload_bytes=1000), picture)
    assert refused.value.status_code == 429
    take(uploads, picture)
    with pytest.raises(RefusedError):
        take(uploads, picture)
