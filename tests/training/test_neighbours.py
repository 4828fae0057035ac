import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from trichord.training import neighbours as module
from trichord.training.neighbours import Neighbours
from trichord.training.stopping import TerminatedError, stoppable
from trichord.types import UserError


def note(item):
    """Write who did it; a name of which the folder says what is to happen."""
    folder, name = item
    if name.startswith("wrong"):
        raise UserError(f"{name} is wrong")
    if name.startswith("bug"):
        raise ZeroDivisionError(name)
    if name.startswith("dies"):
        os._exit(7)
    if name.startswith("lasts"):
        with stoppable() as request:
            (folder / f"{name}.begun").touch()
            while not request.signal:
                time.sleep(0.01)
        (folder / f"{name}.saved").touch()
        raise TerminatedError
    (folder / name).write_text(str(os.getpid()))


def row(folder, *names):
    return [(folder, name) for name in names]


def until(there, seconds=60):
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_end_of_a_row_is_done_elsewhere_and_told_here(tmp_path):
    told = []
    with Neighbours(note, row(tmp_path, "a", "b", "c"), told.append) as beside:
        beside.call(2)
        beside.call(2)  # once
        until(lambda: not beside.row)
        beside.finish()
    assert sorted(name for _, name in told) == ["a", "b", "c"]
    did = {int((tmp_path / name).read_text()) for name in "abc"}
    assert os.getpid() not in did
    assert 1 <= len(did) <= 2


def test_who_takes_everything_itself_waits_for_nobody(tmp_path, monkeypatch):
    held = threading.Event()
    monkeypatch.setattr(module.Neighbour, "ask", lambda one, work, item: held.wait(60))
    with Neighbours(note, row(tmp_path, "a", "b"), lambda item: None) as beside:
        beside.call(1)  # not yet ready
        assert [name for _, name in beside] == ["a", "b"]
        assert not beside.busy
        beside.finish()
    held.set()


def test_an_item_is_waited_for_until_it_is_told(tmp_path):
    told, allowed = [], threading.Event()

    def tell(item):
        assert allowed.wait(60)
        told.append(item)

    with Neighbours(note, row(tmp_path, "a"), tell) as beside:
        beside.call(1)
        until((tmp_path / "a").exists)
        time.sleep(0.2)
        assert beside.busy
        allowed.set()
        beside.finish()
        assert told == [(tmp_path, "a")]


def test_each_item_goes_to_one_taker_however_many_take(monkeypatch):
    process, (line, _) = multiprocessing.Process(), multiprocessing.Pipe()
    monkeypatch.setattr(module, "neighbour", lambda number: module.Neighbour(process, line))
    done = []
    monkeypatch.setattr(module.Neighbour, "ask", lambda one, work, item: work(item))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with Neighbours(lambda item: None, range(20_000), done.append) as beside:
            beside.call(3)
            ours = list(beside)
            beside.finish()
    finally:
        sys.setswitchinterval(before)
    assert sorted(ours + done) == list(range(20_000))


def test_who_leaves_with_an_error_leaves_nothing_to_a_neighbour_that_is_only_starting(
    tmp_path, monkeypatch
):
    ready, done = threading.Event(), threading.Event()
    ask = module.Neighbour.ask

    def late(one, work, item):
        assert ready.wait(60)
        ask(one, work, item)
        done.set()

    monkeypatch.setattr(module.Neighbour, "ask", late)
    with pytest.raises(LookupError), Neighbours(note, row(tmp_path, "a"), print) as beside:  # noqa: PT012
        beside.call(1)
        raise LookupError
    ready.set()
    assert done.wait(60)
    until(lambda: not beside.busy)
    assert not (tmp_path / "a").exists()


def test_a_neighbour_that_cannot_be_started_is_done_without(tmp_path, monkeypatch):
    def dead(one, work, item):
        raise UserError("died")

    monkeypatch.setattr(module.Neighbour, "ask", dead)
    with Neighbours(note, row(tmp_path, "a"), print) as beside:
        beside.call(1)
        assert [name for _, name in beside] == ["a"]
        beside.finish()


def test_paths_are_those_of_who_asks_now(tmp_path, monkeypatch):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        next_one(Path())
        assert (tmp_path / name / "next").exists()


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("wrong", UserError, "wrong is wrong"),
        ("dies", UserError, "died; what it saved is whole.*--at-once 1"),
        ("bug", RuntimeError, "ZeroDivisionError: bug"),
    ],
)
def test_what_goes_wrong_there_is_raised_at_the_end(name, error, said, tmp_path):
    with Neighbours(note, row(tmp_path, name), print) as beside:
        beside.call(1)
        until(lambda: not beside.row)
        with pytest.raises(error, match=said):
            beside.finish()
    assert next_one(tmp_path) == next_one(tmp_path) != os.getpid()


def next_one(folder):
    """The process that takes the next row: the same again, or another where that one died."""
    with Neighbours(note, row(folder, "next"), lambda item: None) as beside:
        beside.call(1)
        until(lambda: not beside.row)
        beside.finish()
    return int((folder / "next").read_text())


def test_leaving_in_the_middle_asks_neighbours_to_stop_and_waits_until_they_have_saved(tmp_path):
    with Neighbours(note, row(tmp_path, "a", "lasts"), print) as beside:
        beside.call(1)
        until((tmp_path / "lasts.begun").exists)
    assert (tmp_path / "lasts.saved").exists()
    assert not beside.row
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("asked", "error"), [(signal.SIGTERM, TerminatedError), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_to_who_waits_reaches_the_neighbours(asked, error, tmp_path):
    before = signal.getsignal(asked)

    def ask():
        until((tmp_path / "lasts.begun").exists)
        until(lambda: signal.getsignal(asked) is not before)  # else it would end the tests
        os.kill(os.getpid(), asked)

    asking = threading.Thread(target=ask)
    with Neighbours(note, row(tmp_path, "lasts"), print) as beside:
        beside.call(1)
        until(lambda: not beside.row)
        asking.start()
        with pytest.raises(error):
            beside.finish()
    asking.join()
    assert (tmp_path / "lasts.saved").exists()


KILLED = """
import sys
from pathlib import Path
from trichord.training.neighbours import Neighbours, neighbour

def rest(item):
    import time
    Path(item).touch()
    time.sleep(600)

if __name__ == "__main__":
    with Neighbours(rest, [sys.argv[1]], print) as beside:
        beside.call(1)
        print(neighbour(0).process.pid, flush=True)
        sys.stdin.read()
"""


def test_neighbours_end_with_a_process_that_is_killed(tmp_path):
    script, begun = tmp_path / "killed.py", tmp_path / "begun"
    script.write_text(KILLED)
    with subprocess.Popen(
        [sys.executable, str(script), str(begun)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as called:
        pid = int(called.stdout.readline())
        until(begun.exists)
        called.kill()
    until(lambda: _is_dead(Path(f"/proc/{pid}/stat")))


def _is_dead(stat):
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"
