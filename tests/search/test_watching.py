import threading
import time

import pytest

from trichord.search.collection import StoredCollection
from trichord.search.watching import PendingPaths, watch
from trichord.types import UserError

pytest.importorskip("watchfiles")

QUIET = 0.4


def test_a_file_rests_when_it_has_not_changed_for_a_while(tmp_path):
    file, unsettled = tmp_path / "a.mp4", PendingPaths(2.0)
    file.write_bytes(b"1")
    unsettled.add(file, 10.0)
    assert unsettled.pop_quiet(11.0) == []
    file.write_bytes(b"12")
    assert unsettled.pop_quiet(12.5) == []
    assert unsettled.pop_quiet(14.0) == []
    assert unsettled.pop_quiet(14.5) == [file]
    assert unsettled.pop_quiet(20.0) == []


def test_what_has_gone_rests_twice_as_long_as_it_may_be_on_its_way(tmp_path):
    unsettled = PendingPaths(2.0)
    unsettled.add(tmp_path / "gone.mp4", 10.0)
    assert unsettled.pop_quiet(13.9) == []
    assert unsettled.pop_quiet(14.0) == [tmp_path / "gone.mp4"]


@pytest.fixture
def following(start, tiny_model, decoder, archive):
    """Follows the archive in a thread; gives what was reported, and a wait for more of it."""
    stop, seen, arrived = threading.Event(), [], threading.Condition()
    collection = start(tiny_model)

    def follow():
        for one in watch(collection, tiny_model, decoder, [archive], quiet=QUIET, stop=stop):
            with arrived:
                seen.append((one.file.rsplit("/", 1)[-1], one.change))
                arrived.notify()

    def wait_for(*changes):
        with arrived:
            there = arrived.wait_for(lambda: set(changes) <= set(seen), timeout=60)
            assert there, seen
            found = seen[:]
            del seen[:]
        return found

    thread = threading.Thread(target=follow)
    thread.start()
    yield wait_for
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def test_a_collection_follows_its_folders(following, archive, tmp_path):
    following(("red.mp4", "new"), ("it's a tone.wav", "new"), ("broken.mp4", "new"))
    content = (archive / "red.mp4").read_bytes()
    with (archive / "growing.mp4").open("wb") as file:
        for start_at in range(0, len(content), 4000):
            file.write(content[start_at : start_at + 4000])
            file.flush()
            time.sleep(QUIET / 8)
        file.write(b"\0" * 8)
    (archive / "blue.mp4").rename(archive / "moved.mp4")
    (archive / "mute.mp4").unlink()
    following(("growing.mp4", "new"), ("moved.mp4", "moved"), ("mute.mp4", "missing"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "late.png").write_bytes((archive / "still.png").read_bytes() + b"\0")
    elsewhere.rename(archive / "moved in")
    (archive / "notes.txt").write_text("no media")
    following(("late.png", "new"))
    (archive / "red.mp4").chmod(0o600)
    (archive / "last.png").write_bytes((archive / "still.png").read_bytes() + b"\1")
    assert following(("last.png", "new")) == [("last.png", "new")]
    collection = StoredCollection.open(tmp_path / "collection")
    names = {file.rsplit("/", 1)[-1]: known for file, known in collection.table.files().items()}
    assert names["growing.mp4"].moments == 2
    assert "blue.mp4" not in names
    assert "mute.mp4" in names
    deadline = time.monotonic() + 30
    while not StoredCollection.open(tmp_path / "collection").calibrated:  # after the last report
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_empty_folder_can_be_followed_and_a_missing_one_cannot(
    start, tiny_model, decoder, tmp_path
):
    stop = threading.Event()
    (tmp_path / "empty").mkdir()
    stop.set()
    found = watch(start(tiny_model), tiny_model, decoder, [tmp_path / "empty"], stop=stop)
    assert list(found) == []
    with pytest.raises(UserError, match="no such file or folder"):
        next(watch(start(tiny_model), tiny_model, decoder, [tmp_path / "missing"]))


def test_a_folder_that_goes_ends_it_and_takes_nothing_out(start, tiny_model, decoder, archive):
    collection = start(tiny_model)
    watching = watch(collection, tiny_model, decoder, [archive], quiet=QUIET)
    next(watching)
    archive.rename(archive.with_name("away"))
    with pytest.raises(UserError, match="is missing: nothing was removed"):
        list(watching)
    assert collection.table.files()


def test_another_model_cannot_follow(collection, untrained_model, decoder, archive):
    with pytest.raises(UserError, match="other weights"):
        next(watch(collection, untrained_model, decoder, [archive]))
