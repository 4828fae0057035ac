"""Writers that are killed, writers and readers at the same time, and a disk that is full."""

import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from trichord.search.table import Entry, FileEntries, FileVersion, MomentTable
from trichord.storage import Storage, buckets
from trichord.types import Moment, UserError

SCRIPT = '''
import json, sys, time
import numpy as np
from trichord.storage import Storage
from trichord.search.table import Entry, FileEntries, FileVersion, MomentTable
from trichord.types import Moment

role, place, name, first, seconds = sys.argv[1:]
table = MomentTable(Storage(place), "moments.lance", 8, 4)
until = time.monotonic() + float(seconds)


def file_of(file, value):
    """A file whose number of moments follows from the value that its vectors hold."""
    return FileEntries(
        version=FileVersion(file=file, signature=str(value), size=value, mtime_ns=value),
        entries=tuple(
            Entry(
                moment=Moment(file=file, start=float(i), end=i + 1.0),
                status="ok",
                vision=np.full(8, value, np.float32),
                audio=np.full(4, value, np.float32),
            )
            for i in range(1 + value % 3)
        ),
    )


def write(value):
    files = [f"{name}-{value % 5}", f"{name}-{5 + value % 7}"]
    # The intention first: a kill after the commit and before the next line is no loss.
    print(json.dumps(["begun", files, value]), flush=True)
    table.put([file_of(file, value) for file in files])
    print(json.dumps(["stored", files, value]), flush=True)
    if value % 10 == 9:
        table.compact()


def read():
    gallery = table.gallery()
    for file in gallery.files:
        rows = gallery.rows_of(file)
        values = set(gallery.vision[rows].ravel()) | set(gallery.audio[rows].ravel())
        whole = len(values) == 1 and rows.stop - rows.start == 1 + int(min(values)) % 3
        if not whole:
            print(json.dumps(["torn", file, sorted(map(float, values))]), flush=True)
    print(json.dumps(["read", len(gallery)]), flush=True)


value = int(first)
while time.monotonic() < until:
    write(value) if role == "write" else read()
    value += 1
'''


def start(role, place, name="w", first=0, seconds=600.0):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, role, place, name, str(first), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def told(process):
    """Whole lines that a process wrote before it ended; a kill may cut the last one."""
    output, _ = process.communicate()
    return [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith("\n")]


def kept_by(lines, name):
    """For each file of a writer the values that it may have: the last stored and those begun since."""
    may: dict[str, list[int]] = {}
    for said, files, value in lines:
        for file in files:
            before = may.get(file, [])
            may[file] = [value] if said == "stored" else [*before, value]
    return {file: set(values) for file, values in may.items() if file.startswith(name)}


def require_whole(place, may, lost=frozenset()):
    """Every file has all moments of one of the values that it may have, once."""
    gallery = MomentTable(Storage(place), "moments.lance", 8, 4).gallery()
    assert set(may) - set(lost) <= set(gallery.files) <= set(may)
    for file in gallery.files:
        rows = gallery.rows_of(file)
        [value] = {*gallery.vision[rows].ravel().tolist(), *gallery.audio[rows].ravel().tolist()}
        assert value in may[file]
        assert gallery.start[rows].tolist() == list(range(1 + int(value) % 3))


def share(place, seconds):
    """Two writers and four readers at the same time."""
    writers = {name: start("write", place, name, 0, seconds) for name in ("one", "two")}
    readers = [start("read", place, seconds=seconds) for _ in range(4)]
    may = {}
    for name, writer in writers.items():
        lines = told(writer)
        assert writer.returncode == 0
        assert any(line[0] == "stored" for line in lines)
        may |= kept_by(lines, name)
    for reader in readers:
        lines = told(reader)
        assert reader.returncode == 0
        assert {line[0] for line in lines} == {"read"}, lines
    assert all(len(values) == 1 for values in may.values())
    require_whole(place, may)


def kill(place, points, seed):
    """Kill a writer at random points, most of them within a commit; each goes on after the last."""
    draw, history = random.Random(seed), []
    for _ in range(points):
        first = 1 + max((value for *_, value in history), default=-1)
        writer = start("write", place, first=first)
        seen = range(draw.randint(2, 8))
        history += [json.loads(writer.stdout.readline()) for _ in seen]
        time.sleep(draw.random() * 0.1)
        writer.kill()
        history += told(writer)
        may = kept_by(history, "w")
        sure = {file for said, files, _ in history if said == "stored" for file in files}
        require_whole(place, may, set(may) - sure)


def test_two_writers_and_four_readers_lose_double_and_tear_nothing(tmp_path):
    share(str(tmp_path), 4.0)


@pytest.mark.slow
def test_two_writers_and_four_readers_do_so_for_a_minute(tmp_path):
    share(str(tmp_path), 60.0)


def test_two_writers_of_a_bucket_take_turns(bucket):
    writers = {name: start("write", bucket, name, 0, 4.0) for name in ("one", "two")}
    may = {}
    for name, writer in writers.items():
        lines = told(writer)
        assert writer.returncode == 0
        may |= kept_by(lines, name)
    require_whole(bucket, may)


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path):
    kill(str(tmp_path), 5, seed=1)


@pytest.mark.slow
def test_a_writer_killed_at_twenty_points_loses_nothing(tmp_path):
    kill(str(tmp_path), 20, seed=2)


def test_a_killed_writer_of_a_bucket_holds_up_no_other(bucket, monkeypatch):
    monkeypatch.setattr(buckets, "LEASE", 1.0)
    kill_one = start("write", bucket)
    lines = [json.loads(kill_one.stdout.readline()) for _ in range(3)]
    kill_one.kill()
    lines += told(kill_one)
    MomentTable(Storage(bucket), "moments.lance", 8, 4).put([one_file("z", 5, 1)])
    may = kept_by(lines, "w") | {"z": {5}}
    gallery = MomentTable(Storage(bucket), "moments.lance", 8, 4).gallery()
    assert set(gallery.files) <= set(may)
    assert "z" in gallery.files


def one_file(file, value, count):
    return FileEntries(
        version=FileVersion(file=file, signature="s", size=1, mtime_ns=1),
        entries=tuple(
            Entry(
                moment=Moment(file=file, start=float(i), end=i + 1.0),
                status="ok",
                vision=np.full(8, value, np.float32),
                audio=np.full(4, value, np.float32),
            )
            for i in range(count)
        ),
    )


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


def test_a_full_disk_leaves_the_old_version_and_says_so_in_a_line(small_disk):
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
        with pytest.raises(UserError, match="there is no room left") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        table.storage.write("collection.json", "x" * 5000)
    assert table.gallery().vision[:, 0].tolist() == [1, 1, 1]
    ballast.unlink()
    table.put([one_file("a", 2, 3)])
    table.compact()
    assert table.gallery().vision[:, 0].tolist() == [2, 2, 2, 1]


def test_a_disk_that_fills_within_a_commit_is_told_from_a_damaged_one(tmp_path, monkeypatch):
    import lance

    table = MomentTable(Storage(tmp_path), "moments.lance", 8, 4)
    table.put([one_file("a", 1, 2)])

    def full(*_, **__):
        raise OSError(
            "LanceError(IO): Generic error: No space left on device (os error 28)\nat a.rs"
        )

    with monkeypatch.context() as patch:
        patch.setattr(lance.LanceDataset, "insert", full)
        with pytest.raises(UserError, match="there is no room left") as caught:
            table.put([one_file("b", 1, 2)])
    assert "\n" not in str(caught.value)
    assert list(table.files()) == ["a"]
    assert Path(table.uri).is_dir()
