"""Writers that are killed, writers and readers at the same time, and a disk that is full.

More of it, for longer: tests/torture/test_archive.py.
"""

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from trichord.search.table import MomentTable
from trichord.storage import Storage, buckets
from trichord.types import UserError


@pytest.fixture(scope="module")
def sharing(load):
    """The script of writers and readers, as a module."""
    return load(Path(__file__).with_name("shared_writing.py"))


@pytest.fixture
def one_file(sharing):
    return sharing.file_of


def test_two_writers_and_four_readers_lose_double_and_tear_nothing(tmp_path, sharing):
    _, readings, wrong = sharing.share(str(tmp_path), 2.0)
    assert readings
    assert wrong == []


def test_two_writers_of_a_bucket_take_turns(bucket, sharing):
    writers = {name: sharing.start("write", bucket, name, 0, 2.0) for name in ("one", "two")}
    may = {}
    for name, writer in writers.items():
        lines = sharing.told(writer)
        assert writer.returncode == 0
        may |= sharing.kept_by(lines, name)
    sharing.require_whole(bucket, may)


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path, sharing):
    sharing.kill(str(tmp_path), 3, seed=1)


def test_a_killed_writer_of_a_bucket_holds_up_no_other(bucket, monkeypatch, sharing):
    monkeypatch.setattr(buckets, "LEASE", 1.0)
    kill_one = sharing.start("write", bucket)
    lines = [json.loads(kill_one.stdout.readline()) for _ in range(3)]
    kill_one.kill()
    lines += sharing.told(kill_one)
    table = sharing.table_at(bucket)
    table.put([sharing.file_of("z", 5, 1)])
    may = sharing.kept_by(lines, "w") | {"z": {5}}
    files = set(table.gallery().files)
    assert files <= set(may)
    assert "z" in files


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only the superuser of Linux may mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_the_old_version_and_says_so_in_a_line(small_disk, one_file):
    table = MomentTable(Storage(small_disk / "place"), "moments.lance", 8, 4)
    table.put([one_file("a", 1, 2), one_file("b", 1, 1)])
    ballast = small_disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    for attempt in (
        lambda: table.put([one_file("a", 2, 3)]),
        lambda: table.put([one_file("c", 2, 3)]),
        lambda: table.annotate("a", [(0.0, 1.0, "a dog", ())]),
    ):
        with pytest.raises(UserError, match="the disk is full") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        table.storage.write("collection.json", "x" * 5000)
    assert table.gallery().vision[:, 0].tolist() == [1, 1, 1]
    ballast.unlink()
    table.put([one_file("a", 2, 3)])
    table.compact()
    assert table.gallery().vision[:, 0].tolist() == [2, 2, 2, 1]


def test_a_disk_that_fills_within_a_commit_is_told_from_a_damaged_one(
    tmp_path, monkeypatch, one_file
):
    import lance

    table = MomentTable(Storage(tmp_path), "moments.lance", 8, 4)
    table.put([one_file("a", 1, 2)])

    def full(*_, **__):
        raise OSError(
            "LanceError(IO): Generic error: No space left on device (os error 28)\nat a.rs"
        )

    with monkeypatch.context() as patch:
        patch.setattr(lance.LanceDataset, "insert", full)
        with pytest.raises(UserError, match="the disk is full") as caught:
            table.put([one_file("b", 1, 2)])
    assert "\n" not in str(caught.value)
    assert list(table.files()) == ["a"]
    assert Path(table.uri).is_dir()
