import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from trichord.storage import Storage, buckets
from trichord.storage import storage as module
from trichord.types import UserError


def test_what_was_written_is_read_and_removed(place):
    storage = Storage(place)
    assert storage.vacant()
    assert storage.read("one.json") is None
    storage.write("one.json", "wörter")
    storage.write("two", b"\0")
    assert storage.read("one.json") == "wörter".encode()
    assert storage.names() == ["one.json", "two"]
    assert not storage.vacant()
    storage.remove("one.json")
    storage.remove("one.json")
    assert storage.names() == ["two"]


def test_a_removed_folder_goes_with_all_in_it_and_its_namesake_stays(place):
    storage = Storage(place)
    Storage(f"{place}/table").write("file", b"x")
    Storage(f"{place}/table/below").write("file", b"x")
    Storage(f"{place}/table-two").write("file", b"x")
    assert storage.names() == ["table", "table-two"]
    storage.remove("table")
    assert storage.names() == ["table-two"]


def test_a_folder_has_its_cache_inside_and_a_bucket_below_the_users(tmp_path, bucket):
    folder, elsewhere = Storage(tmp_path / "c"), Storage(bucket)
    assert (folder.local, folder.options) == (tmp_path / "c", None)
    assert folder.cache == tmp_path / "c" / "cache"
    assert elsewhere.local is None
    assert elsewhere.cache.parent == tmp_path / "caches" / "trichord"
    assert elsewhere.cache != Storage(f"{bucket}2").cache


def test_a_bucket_is_known_by_any_number_of_slashes(bucket):
    through_a_path = Storage(Path(bucket))
    assert through_a_path.name == bucket
    assert Storage(f"{bucket}/").uri("t.lance") == f"{bucket}/t.lance"
    assert Storage("s3://alone").uri("t.lance") == "s3://alone/t.lance"


def test_lance_is_told_of_an_endpoint_without_encryption(bucket, s3_server):
    assert Storage(bucket).options == {
        "aws_endpoint": s3_server, "allow_http": "true", "aws_region": "us-east-1"
    }  # fmt: skip


def test_a_bucket_that_is_not_there_is_said_in_one_line(bucket):
    with pytest.raises(UserError, match="s3://missing-bucket/x cannot be reached") as caught:
        Storage("s3://missing-bucket/x").write("a", b"b")
    assert "\n" not in str(caught.value)


def test_only_one_holds_a_place_at_a_time(place, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.3)
    first, second = Storage(place), Storage(place)
    refused = pytest.raises(UserError, match="locked by another process for")
    with first.writing(), refused, second.writing():
        pass
    with second.writing():
        pass


def test_who_holds_a_place_may_take_it_again(place, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.3)
    storage = Storage(place)
    with storage.writing(), storage.writing():
        pass
    with Storage(place).writing():
        pass


def test_an_error_gives_a_place_back(place, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.3)
    with pytest.raises(KeyError), Storage(place).writing():
        raise KeyError
    with Storage(place).writing():
        pass


def test_who_waits_has_the_next_turn(place):
    """A writer that always wants the place back at once lets a waiting one in between."""
    order = []
    first, waits = Storage(place), threading.Event()

    def second():
        waits.set()
        with Storage(place).writing():
            order.append("second")

    other = threading.Thread(target=second)
    for _ in range(2):
        with first.writing():
            order.append("first")
            if not waits.is_set():
                other.start()
                waits.wait()
                until = time.monotonic() + 30
                while (turn := first._backend.take(module.LOCKS[0], 0.0)) is not None:
                    turn.give_back()  # the second does not wait yet
                    assert time.monotonic() < until
    other.join()
    assert order == ["first", "second", "first"]


HOLDER = """
import sys, time
from trichord.storage import Storage
with Storage(sys.argv[1]).writing():
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_holder_holds_nothing(place, monkeypatch):
    monkeypatch.setattr(buckets, "LEASE", 0.5)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, place], stdout=subprocess.PIPE, env=os.environ
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    with Storage(place).writing():
        assert ".lock" in Storage(place).names()


def test_a_living_holder_keeps_its_lease(bucket, monkeypatch):
    monkeypatch.setattr(buckets, "LEASE", 0.3)
    monkeypatch.setattr(buckets, "POLL", 0.05)
    monkeypatch.setattr(module, "WAIT", 1.5)
    refused = pytest.raises(UserError, match="locked by another")
    with Storage(bucket).writing(), refused, Storage(bucket).writing():
        pass


@pytest.fixture
def frozen(bucket, monkeypatch):
    """Holds a place in a bucket by a process that stands still, until its lease has run out."""
    monkeypatch.setattr(buckets, "LEASE", 0.5)
    monkeypatch.setattr(buckets, "POLL", 0.05)
    stopped = Storage(bucket)
    with contextlib.ExitStack() as held:
        with monkeypatch.context() as patch:
            patch.setattr(buckets.Lease, "_live", lambda _: None)
            held.enter_context(stopped.writing())
        yield stopped


def test_who_stood_still_and_was_taken_over_changes_nothing_more(frozen, bucket):
    frozen.write("one", b"mine")
    with Storage(bucket).writing():
        Storage(bucket).write("one", b"another's")
        for change in (
            lambda: frozen.write("one", b"late"),
            lambda: frozen.remove("one"),
            lambda: frozen.writing().__enter__(),
        ):
            with pytest.raises(UserError, match="was taken over by another process") as caught:
                change()
            assert "\n" not in str(caught.value)
        assert Storage(bucket).read("one") == b"another's"
        assert ".lock" in Storage(bucket).names()


def test_who_stood_still_and_was_not_missed_goes_on(frozen, bucket):
    time.sleep(2 * buckets.LEASE)
    with frozen.writing():
        frozen.write("one", b"late")
    assert Storage(bucket).read("one") == b"late"


def test_a_lease_that_was_lost_is_not_given_back(frozen, bucket):
    held = frozen._lock
    with Storage(bucket).writing():
        held.give_back()
        assert ".lock" in Storage(bucket).names()


def test_a_place_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / ".turn").mkdir()
    with pytest.raises(UserError, match="cannot be written"), Storage(tmp_path).writing():
        pass


def test_what_a_killed_beginning_left_counts_as_nothing(tmp_path):
    for name in (".0123456789abcdef.part", ".lock", ".turn"):
        (tmp_path / name).write_bytes(b"")
    assert Storage(tmp_path).vacant()
    (tmp_path / "mine.part").write_bytes(b"")
    assert not Storage(tmp_path).vacant()
