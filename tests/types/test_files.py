import os

import pytest

from trichord.types import UserError
from trichord.types.files import leftovers, remove_leftovers, replacing, write_atomically


def test_text_and_bytes_are_written_and_folders_made(tmp_path):
    write_atomically(tmp_path / "new" / "a.txt", "größer\n")
    write_atomically(tmp_path / "new" / "b.bin", b"\x00\xff")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"gr\xc3\xb6\xc3\x9fer\n"
    assert (tmp_path / "new" / "b.bin").read_bytes() == b"\x00\xff"


def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def interrupted():
        with replacing(path) as file:
            file.write(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_the_old_content_stands_until_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_has_the_rights_that_the_user_gives_new_files(tmp_path):
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_a_place_that_cannot_be_written_is_one_line_naming_it(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"file/b\.txt: cannot be written: .*") as caught:
        write_atomically(tmp_path / "file" / "b.txt", "y")
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_way_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="taken: cannot be written"):
        write_atomically(tmp_path / "taken", "y")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_what_killed_writes_left_is_known_by_its_name_and_removed(tmp_path):
    with replacing(tmp_path / "a.txt"):
        (part,) = leftovers(tmp_path)
    other = [tmp_path / ".notes.part", tmp_path / "0123456789abcdef.part", tmp_path / "a.txt"]
    for path in (part, *other):
        path.write_text("x")
    assert leftovers(tmp_path) == [part]
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(other)
    assert leftovers(tmp_path / "nowhere") == []
