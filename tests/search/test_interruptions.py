"""What an indexer leaves behind that is killed, finds the disk full, or is not alone."""

import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trichord.media import Decoder
from trichord.search import updating
from trichord.search.collection import StoredCollection
from trichord.search.indexing import index
from trichord.types import UserError

KILLED = Path(__file__).with_name("killed_indexing.py")


@pytest.mark.slow
def test_killed_at_random_points_and_started_again_it_ends_as_if_nothing_had_happened(
    tiny_towers, archive, tmp_path, start, tiny_model, decoder, assert_equal
):
    script = [sys.executable, KILLED, tiny_towers, archive, tmp_path / "killed", "5"]
    killed = subprocess.run(
        script,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert killed.returncode == 0, killed.stderr
    outcomes = json.loads(killed.stdout)["outcomes"]
    assert outcomes.count(9) >= 2  # died of SIGKILL
    assert outcomes[-1] == 0
    whole = start(tiny_model, "whole")
    list(index(whole, tiny_model, decoder, [archive], speech=False))
    assert_equal(StoredCollection.open(tmp_path / "killed"), whole)


def test_a_reader_that_stops_has_stored_whole_files_and_the_next_goes_on(
    start, tiny_model, decoder, archive, assert_equal, monkeypatch
):
    monkeypatch.setattr(updating, "MOMENTS_A_COMMIT", 1)
    monkeypatch.setattr(updating, "ENTRIES_AHEAD", 1)
    whole = start(tiny_model, "whole")
    list(index(whole, tiny_model, decoder, [archive]))
    expected = {file: known.moments for file, known in whole.table.files().items()}
    stopped = start(tiny_model, "stopped")
    for _ in range(4):
        begun = index(stopped, tiny_model, decoder, [archive])
        new = (one for one in begun if one.change == "new")
        next(new, None)
        begun.close()
        there = {file: known.moments for file, known in stopped.table.files().items()}
        assert there.items() <= expected.items()
    list(index(stopped, tiny_model, decoder, [archive]))
    assert_equal(stopped, whole)


def test_a_full_disk_costs_nothing_that_was_stored(
    collection, tiny_model, decoder, archive, start, assert_equal
):
    before = {file: known.version for file, known in collection.table.files().items()}
    (archive / "more.mp4").write_bytes((archive / "red.mp4").read_bytes() + b"\0" * 8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        with pytest.raises(UserError) as caught:
            list(index(collection, tiny_model, decoder, [archive]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    there = StoredCollection.open(collection.path)
    assert {file: known.version for file, known in there.table.files().items()} == before
    assert len(there.table.gallery()) == len(collection.table.gallery())
    list(index(collection, tiny_model, decoder, [archive]))
    fresh = start(tiny_model, "fresh")
    list(index(fresh, tiny_model, decoder, [archive]))
    assert_equal(collection, fresh)


def test_two_indexers_bring_one_collection_up_to_date(
    start, tiny_model, archive, assert_equal, monkeypatch
):
    monkeypatch.setattr(updating, "MOMENTS_A_COMMIT", 1)
    places = [[archive], [archive / "more", archive / "red.mp4", archive / "still.png"]]
    failed = []

    def work(chosen):
        try:
            there = start(tiny_model, "shared")
            with Decoder(workers=1) as own:
                list(index(there, tiny_model, own, chosen))
        except BaseException as error:
            failed.append(error)

    start(tiny_model, "shared")
    threads = [threading.Thread(target=work, args=(chosen,)) for chosen in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    alone = start(tiny_model, "alone")
    with Decoder(workers=1) as decoder:
        list(index(alone, tiny_model, decoder, [archive]))
        list(index(start(tiny_model, "shared"), tiny_model, decoder, [archive]))
    assert_equal(start(tiny_model, "shared"), alone)
