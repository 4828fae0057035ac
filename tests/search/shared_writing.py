"""Writers and readers of one table in processes of their own; run by tests of durability.

usage: shared_writing.py ROLE PLACE NAME FIRST SECONDS    ROLE is write or read
"""

import json
import os
import random
import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np

from trichord.search.table import Entry, FileEntries, FileVersion, MomentTable
from trichord.storage import Storage
from trichord.types import Moment


def table_at(place):
    return MomentTable(Storage(place), "moments.lance", 8, 4)


def file_of(file, value, count=None):
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
            for i in range(1 + value % 3 if count is None else count)
        ),
    )


def say(*told):
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def write(table, name, value):
    files = [f"{name}-{value % 5}", f"{name}-{5 + value % 7}"]
    # The intention first: a kill after the commit and before the next line is no loss.
    say("begun", files, value)
    table.put([file_of(file, value) for file in files])
    say("stored", files, value)
    if value % 10 == 9:
        table.compact()


def read(table, seen):
    """Read all; `seen` holds the value that each file had when it was read last: they only grow."""
    before = table.version
    gallery = table.gallery()
    if not before <= table.version:
        say("back", before)
    for file in gallery.files:
        rows = gallery.rows_of(file)
        values = set(gallery.vision[rows].ravel()) | set(gallery.audio[rows].ravel())
        if len(values) > 1 or rows.stop - rows.start != 1 + int(min(values)) % 3:
            say("torn", file, sorted(map(float, values)))
        if min(values) < seen.get(file, 0):
            say("back", file)
        seen[file] = min(values)
    if not seen.keys() <= set(gallery.files):
        say("lost", sorted(seen.keys() - set(gallery.files)))
    say("read", len(gallery))


def work(role, place, name, first, seconds):
    table, value, seen = table_at(place), int(first), {}
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        write(table, name, value) if role == "write" else read(table, seen)
        value += 1


def start(role, place, name="w", first=0, seconds=600.0):
    return subprocess.Popen(
        [sys.executable, __file__, role, place, name, str(first), str(seconds)],
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
    gallery = table_at(place).gallery()
    assert set(may) - set(lost) <= set(gallery.files) <= set(may)
    for file in gallery.files:
        rows = gallery.rows_of(file)
        [value] = {*gallery.vision[rows].ravel().tolist(), *gallery.audio[rows].ravel().tolist()}
        assert value in may[file]
        assert gallery.start[rows].tolist() == list(range(1 + int(value) % 3))


def share(place, seconds):
    """Two writers and four readers at the same time.

    Gives how many commits and readings there were, and what readers found wrong.
    """
    with ExitStack() as running:
        writers = {
            name: running.enter_context(start("write", place, name, 0, seconds))
            for name in ("one", "two")
        }
        readers = [running.enter_context(start("read", place, seconds=seconds)) for _ in range(4)]
        may, commits, readings, wrong = {}, 0, 0, []
        for name, writer in writers.items():
            lines = told(writer)
            assert writer.returncode == 0
            may |= kept_by(lines, name)
            stored = sum(line[0] == "stored" for line in lines)
            assert stored
            commits += stored
        for reader in readers:
            lines = told(reader)
            assert reader.returncode == 0
            readings += sum(line[0] == "read" for line in lines)
            wrong += [line for line in lines if line[0] != "read"]
    assert all(len(values) == 1 for values in may.values())
    require_whole(place, may)
    return commits, readings, wrong


def kill(place, points, seed):
    """Kill a writer at random points, most of them within a commit; each goes on after the last.

    Gives how many commits were acknowledged.
    """
    draw, history = random.Random(seed), []
    for _ in range(points):
        first = 1 + max((value for *_, value in history), default=-1)
        with start("write", place, first=first) as writer:
            seen = range(draw.randint(2, 8))
            history += [json.loads(writer.stdout.readline()) for _ in seen]
            time.sleep(draw.random() * 0.1)
            writer.kill()
            history += told(writer)
        may = kept_by(history, "w")
        sure = {file for said, files, _ in history if said == "stored" for file in files}
        require_whole(place, may, set(may) - sure)
    return sum(said == "stored" for said, *_ in history)


if __name__ == "__main__":
    work(*sys.argv[1:])
