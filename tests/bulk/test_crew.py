"""Worker processes: played ones that die when they are told to, and real ones that are killed."""

import os
import random
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trichord.bulk import crew as module
from trichord.bulk.crew import Crew
from trichord.bulk.runner import extracted, readers
from trichord.bulk.shards import (
    Extraction,
    Towers,
    extraction_of,
    indexing_of,
    shards_of_clips,
    shards_of_texts,
)
from trichord.features.store import FeatureFolder
from trichord.search.collection import Collection
from trichord.search.indexing import begin, index
from trichord.types import UserError

PLAYED = """
import json, os, sys, time
for line in sys.stdin:
    for word in json.loads(line)["texts"]:
        mark = os.environ["MARKS"] + "/" + word
        fresh = not os.path.exists(mark)
        open(mark, "a").write("x")
        if word.startswith("always") or (word.startswith("once") and fresh):
            print("out of memory", file=sys.stderr)
            os._exit(9)
        if word == "mistake":
            print(json.dumps({"error": "the disk is full"}), flush=True)
            break
        if word == "endless":
            time.sleep(600)
        part = {"what": "text", "statuses": ["ok"], "keys": [word]}
        print(json.dumps({"part": json.dumps(part)}), flush=True)
    else:
        print(json.dumps({"end": True}), flush=True)
"""


@pytest.fixture
def play(monkeypatch, tmp_path):
    """Carry out shards of words by workers that do with each word what it says."""
    monkeypatch.setattr(module, "BOOT", PLAYED)
    monkeypatch.setenv("MARKS", str(tmp_path))
    whole = Extraction(towers=Towers(), features="", made_by={})

    def run(crew, *words):
        shards = [replace(whole, texts=tuple(some.split())) for some in words]
        return [key for part in crew.run(shards) for key in part.keys]

    return run


def tries(folder, word):
    return len((folder / word).read_text())


def test_each_shard_is_done_by_one_worker(play, tmp_path):
    with Crew(2) as crew:
        assert sorted(play(crew, "a b", "c", "d e f")) == ["a", "b", "c", "d", "e", "f"]
        assert play(crew, "g") == ["g"]
    assert all(tries(tmp_path, word) == 1 for word in "abcdefg")


def test_a_worker_that_dies_costs_its_shard_another_try_and_no_more(play, tmp_path):
    with Crew(2) as crew:
        done = play(crew, "a once-1 b", "c", "d")
    assert set(done) == {"a", "once-1", "b", "c", "d"}
    assert [tries(tmp_path, word) for word in ("a", "once-1", "b", "c", "d")] == [2, 2, 1, 1, 1]


def test_a_shard_that_no_worker_survives_is_named_and_the_others_are_done(play, tmp_path):
    with Crew(2) as crew, pytest.raises(UserError) as caught:
        play(crew, "always", "a", "b")
    assert "1 of 3 shards are not done: their workers died 3 times (out of memory)" in str(
        caught.value
    )
    assert [tries(tmp_path, word) for word in ("always", "a", "b")] == [3, 1, 1]


def test_a_mistake_of_the_user_ends_all_at_once(play):
    begun = time.monotonic()
    with Crew(2) as crew, pytest.raises(UserError, match="the disk is full"):
        play(crew, "endless", "mistake", "a")
    assert time.monotonic() - begun < 60


def test_a_worker_that_is_only_starting_is_ended_too(play, monkeypatch):
    starting, allowed, start = threading.Event(), threading.Event(), subprocess.Popen

    def slowly(*given, **options):
        starting.set()
        assert allowed.wait(60)
        return start(*given, **options)

    def work():
        with pytest.raises(module.DiedError, match="it was closed"):
            list(worker.carry_out(shard))

    monkeypatch.setattr(module.subprocess, "Popen", slowly)
    shard = replace(Extraction(towers=Towers(), features="", made_by={}), texts=("endless",))
    worker = module.Worker(dict(os.environ))
    working, closing = threading.Thread(target=work), threading.Thread(target=worker.close)
    working.start()
    assert starting.wait(60)
    closing.start()
    time.sleep(0.2)
    allowed.set()
    for thread in (closing, working):
        thread.join(60)
        assert not thread.is_alive()


def test_whoever_stops_listening_leaves_no_worker_behind(play, monkeypatch):
    whole = Extraction(towers=Towers(), features="", made_by={})
    with Crew(1) as crew:
        parts = crew.run([replace(whole, texts=("a", "endless"))])
        assert next(parts).keys == ("a",)
        pid = crew.workers[0].process.pid
        parts.close()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def work_of(model, footage, texts, folder, towers):
    whole = extraction_of(model, folder, ("text", "audio", "vision"), towers)
    return [*shards_of_texts(whole, texts, 2), *shards_of_clips(whole, footage, 4)]


@pytest.mark.slow
def test_workers_killed_at_random_double_and_lose_nothing(
    model, footage, texts, towers, tmp_path, expected, rows_of, monkeypatch
):
    """A worker at work dies after each of the first parts; then the crew is left in peace."""
    monkeypatch.setattr(module, "TRIES", 100)
    folder, chance = FeatureFolder(tmp_path / "features"), random.Random(0)
    told, killed = [], 0
    with Crew(2) as crew:
        for part in extracted(crew, work_of(model, footage, texts, folder, towers)):
            told += part.keys
            if killed < 5 and (alive := [one for one in crew.workers if one.process is not None]):
                chance.choice(alive).process.send_signal(signal.SIGKILL)
                killed += 1
    assert killed == 5
    assert sorted(told) == sorted([*texts, *(clip.id for clip in footage)])
    assert rows_of(folder, model) == expected


def rows_in(collection):
    rows = collection.table.rows(collection.table.schema.names)
    return rows.sort_by([("file", "ascending"), ("start", "ascending")]).to_pylist()


def test_files_read_by_workers_make_the_collection_that_one_process_makes(
    model, footage, towers, decoder, tmp_path
):
    media = [Path(footage[0].path).parent]
    alone, shared = (begin(tmp_path / name, "tiny", model, 2.0, 1.0) for name in ("one", "two"))
    list(index(alone, model, decoder, media, told=footage, speech=False))
    with Crew(2) as crew:
        read = readers(crew, indexing_of(shared, towers, speech=False), footage, 3)
        done = list(index(shared, model, decoder, media, told=footage, speech=False, read=read))
    assert sorted((one.file, one.change) for one in done) == [
        (file, "new") for file in alone.table.files()
    ]
    one, other = (rows_in(Collection.open(tmp_path / name)) for name in ("one", "two"))
    for name in ("vision", "audio"):
        vectors = [[row.pop(name) or [0.0] for row in rows] for rows in (one, other)]
        for a, b in zip(*vectors, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6, rtol=0)
    for row in one + other:
        row.pop("checksum")  # of the vectors, which agree but for their last bits
    assert one == other
    assert Collection.open(tmp_path / "two").calibrated
