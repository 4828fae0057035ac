import os
import socket
from pathlib import Path

import pytest

from trichord.media import file_signature
from trichord.search.survey import media_at, scan_places, survey
from trichord.search.table import FileVersion, KnownFile
from trichord.types import UserError


def known(path, **changes):
    now = path.stat()
    fields = {
        "file": str(path),
        "signature": file_signature(path),
        "size": now.st_size,
        "mtime_ns": now.st_mtime_ns,
    }
    version = FileVersion(**{**fields, **changes})
    return KnownFile(version=version, statuses=("ok",), moments=1)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"first content")
    return path


def test_a_file_of_the_same_size_and_time_is_unchanged(file):
    there = known(file)
    assert survey({str(file): there}, [file]).unchanged == [there]


def test_a_touched_file_with_the_same_bytes_keeps_its_vectors(file):
    there = known(file, mtime_ns=1)
    [(version, holder)] = survey({str(file): there}, [file]).same
    assert (version.mtime_ns, holder) == (file.stat().st_mtime_ns, str(file))


def test_a_file_with_other_bytes_is_read(file):
    there = known(file)
    file.write_bytes(b"second content, longer")
    assert [v.file for v in survey({str(file): there}, [file]).read] == [str(file)]


def test_known_bytes_under_a_new_name_take_over_vectors(file):
    there = known(file)
    moved = file.rename(file.with_name("b.wav"))
    [(version, holder)] = survey({str(file): there}, [moved]).same
    assert (version.file, holder) == (str(moved), str(file))


def test_a_file_that_could_not_be_opened_before_is_tried_again(file):
    there = known(file, signature="")
    assert [v.file for v in survey({str(file): there}, [file]).read] == [str(file)]


def test_a_file_that_has_just_gone_is_passed_over(file):
    result = survey({str(file): known(file)}, [file, file.with_name("gone.wav")])
    assert [len(result.unchanged), len(result.read), len(result.same)] == [1, 0, 0]
    there = known(file)
    file.unlink()
    assert survey({str(file): there}, [file]).unchanged == []


def test_a_path_that_is_no_text_is_named_and_passed_over(tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9.wav")
    odd.write_bytes(b"x")
    result = survey({}, [odd])
    assert result.unnameable == [str(tmp_path / "caf?.wav")]
    assert result.read == []


def test_media_are_found_once_sorted_and_absolute(tmp_path, monkeypatch):
    for name in ("b.mp4", "notes.txt", ".hidden.mp4", "below/a.WAV"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    root = tmp_path.resolve()
    found = media_at([Path("below/.."), Path("b.mp4"), Path("below")])
    assert found == [root / "b.mp4", root / "below" / "a.WAV"]


def test_places_without_media_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(UserError, match="is not a media file"):
        media_at([tmp_path / "pipe.wav"])
    with pytest.raises(UserError, match="no media files"):
        media_at([tmp_path])
    with pytest.raises(UserError, match="is not a media file"):
        media_at([tmp_path / "notes.txt"])
    with pytest.raises(UserError, match="no such file or folder"):
        media_at([tmp_path / "missing"])


def test_what_is_no_file_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "broken.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "circle.wav").symlink_to(tmp_path / "circle.wav")
    (tmp_path / "folder.wav").mkdir()
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.wav")  # a socket's whole path must be short
    (tmp_path / "linked.wav").symlink_to(tmp_path / "a.wav")
    names = [file.name for file in media_at([tmp_path])]
    assert names == ["a.wav", "linked.wav"]


def test_a_file_that_has_become_a_pipe_is_not_waited_for(tmp_path):
    pipe = tmp_path / "a.wav"
    os.mkfifo(pipe)
    assert [version.signature for version in survey({}, [pipe]).read] == [""]


def test_a_scan_of_places_adds_up_what_it_passed_over(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.mp4").touch()
        (tmp_path / folder / "notes.txt").touch()
    found = scan_places([tmp_path / "a", tmp_path / "b", tmp_path / "a" / "x.mp4"])
    assert [path.parent.name for path in found.files] == ["a", "b"]
    assert found.lines() == ["passed over (no media): 2 .txt"]


def test_a_folder_without_media_says_what_it_has(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(
        UserError, match=r"has no media files: .*\(passed over \(no media\): 1 \.txt\)"
    ):
        scan_places([tmp_path])
