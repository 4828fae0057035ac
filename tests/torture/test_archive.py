"""What a collection bears: kills, many processes at once, churn, damaged files, and full disks."""

import importlib.util
import json
import os
import random
import subprocess
import sys
import wave
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trichord.media import Decoder
from trichord.search.collection import StoredCollection
from trichord.search.indexing import begin, index
from trichord.search.nearest import AnnIndexes, Exact, FaissScan, Settings
from trichord.search.table import Entry, FileEntries, FileVersion, MomentTable
from trichord.storage import Storage
from trichord.types import Moment, UserError

pytestmark = pytest.mark.torture
SEARCH = Path(__file__).parents[1] / "search"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
KILLS = 50
DAMAGES = 600
CHURNS = 20


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sharing():
    return load(SEARCH / "shared_writing.py")


@pytest.fixture
def pictures_and_sounds(tmp_path):
    """Ninety pictures and ten sounds, no two alike."""
    folder = tmp_path / "archive"
    folder.mkdir()
    draw = np.random.default_rng(3)
    for i in range(90):
        picture = draw.integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{i:02}.png")
    for i in range(10):
        with wave.open(str(folder / f"{i}.wav"), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(16_000)
            sound.writeframes(draw.integers(-9000, 9000, 5 * 16_000, dtype=np.int16).tobytes())
    return folder


def rows_of(collection):
    """All that a table holds, by moment; the vectors apart."""
    rows = collection.table.rows(collection.table.schema.names).sort_by("id")
    apart = ["vision", "audio", "checksum"]
    vectors = [
        np.array([one or [] for one in rows[name].to_pylist()], object) for name in apart[:2]
    ]
    return rows.drop_columns(apart).to_pylist(), vectors


def test_an_indexer_killed_at_fifty_points_ends_as_a_clean_build(
    tiny_towers, tiny_model, pictures_and_sounds, tmp_path, tally
):
    script = [sys.executable, SEARCH / "killed_indexing.py", tiny_towers, pictures_and_sounds]
    killed = subprocess.run(
        [*script, tmp_path / "killed", str(KILLS)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=1500,
    )
    assert killed.returncode == 0, killed.stderr
    said = json.loads(killed.stdout)
    whole = begin(tmp_path / "whole", "run", tiny_model, 2.0, 2.0)
    with Decoder(workers=1) as decoder:
        list(index(whole, tiny_model, decoder, [pictures_and_sounds], speech=False))
    there = StoredCollection.open(tmp_path / "killed")
    (rows, vectors), (clean, clean_vectors) = rows_of(there), rows_of(whole)
    names = [row["file"] for row in rows if row["id"].startswith("0#")]
    died = said["outcomes"].count(9)
    tally(
        "kill -9 of an indexer, then a restart",
        tried=KILLS,
        died=died,
        acknowledged=len(said["new"]),
        lost_or_doubled=len(said["wrong"]) + len(names) - len(set(names)),
        read_again=len(said["new"]) - len(set(said["new"])),
        rows_unlike_a_clean_build=sum(one != other for one, other in zip(rows, clean, strict=True)),
    )
    assert died >= KILLS * 0.8  # of SIGKILL; others had ended by themselves
    assert said["outcomes"][-1] == 0
    assert said["wrong"] == []
    assert len(said["new"]) == len(set(said["new"]))
    assert rows == clean
    for one, other in zip(vectors, clean_vectors, strict=True):
        for row, clean_row in zip(one, other, strict=True):
            np.testing.assert_allclose(row, clean_row, atol=1e-5)
    assert there.calibrated


def test_a_writer_killed_at_fifty_points_within_commits_loses_nothing(tmp_path, sharing, tally):
    commits = sharing.kill(str(tmp_path), KILLS, seed=2)
    tally("kill -9 of a writer within commits", tried=KILLS, acknowledged=commits)  # none lost
    assert commits > KILLS


def test_two_writers_and_four_readers_for_a_minute(tmp_path, sharing, tally):
    commits, readings, wrong = sharing.share(str(tmp_path), 60.0)
    kinds = Counter(kind for kind, *_ in wrong)
    tally(
        "2 writers and 4 readers of a collection, 60 s",
        commits=commits,
        readings=readings,
        lost=kinds["lost"],
        torn=kinds["torn"],
        versions_back=kinds["back"],
    )
    assert wrong == []
    assert commits > 50
    assert readings > 50


DIM = 24
FILES, MOMENTS = 750, 8


@pytest.fixture
def file_of():
    draw = np.random.default_rng(8)

    def unit(rows):
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def file_of(name):
        """Moments that are alike, in a narrow cone, as those of a film are."""
        common = draw.normal(size=DIM)
        vision = unit(3 * np.eye(DIM)[0] + common + 0.5 * draw.normal(size=(MOMENTS, DIM)))
        audio = unit(common + 0.5 * draw.normal(size=(MOMENTS, DIM)))
        moments = (Moment(file=name, start=float(i), end=i + 1.0) for i in range(MOMENTS))
        entries = tuple(
            Entry(moment=moment, status="ok", vision=seen, audio=heard)
            for moment, seen, heard in zip(moments, vision, audio, strict=True)
        )
        version = FileVersion(file=name, signature="s", size=1, mtime_ns=1, duration=1.0 * MOMENTS)
        return FileEntries(version=version, entries=entries)

    return file_of


@pytest.fixture
def texts():
    rows = 3 * np.eye(DIM)[1] + np.random.default_rng(5).normal(size=(200, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def found_of(gallery, structures, texts, sides=("vision", "audio")):
    """The share of the ten truly nearest, by float64, that a search finds; of each side."""
    shares = []
    for side in sides:
        nearest = structures.nearest(side)
        assert not isinstance(nearest, Exact), structures.report(side).line
        true = np.argsort(-(texts.astype(np.float64) @ getattr(gallery, side).T), axis=1)[:, :10]
        rows = nearest.search(texts, 10)[0]
        shares.append(np.mean([len({*a} & {*b}) / 10 for a, b in zip(rows, true, strict=True)]))
    return shares


def test_recall_after_churn_is_that_of_a_fresh_build(tmp_path, file_of, texts, tally):
    pytest.importorskip("faiss")
    held_out = {"text→sight": texts[:100], "text→sound": texts[:100]}
    asked, settings = texts[100:], Settings(backend=FaissScan(), exact_up_to=1000)

    def searched(table):
        gallery = table.gallery()
        made = AnnIndexes(tmp_path / "cache", gallery, table.version, held_out, settings)
        assert made.wait(120.0)
        return gallery, found_of(gallery, made, asked)

    table = MomentTable(Storage(tmp_path / "churned"), "moments.lance", DIM, DIM)
    content = {f"{i:03}": file_of(f"{i:03}") for i in range(FILES)}
    table.put([*content.values()])
    recalls, draw = [], random.Random(4)
    for _ in range(CHURNS):
        gone = draw.sample(sorted(content), round(0.3 * FILES))
        table.remove(gone)
        content |= {name: file_of(name) for name in gone}
        table.put([content[name] for name in gone])
        table.compact(timedelta(0))
        gallery, shares = searched(table)
        recalls.append(min(shares))
    fresh_table = MomentTable(Storage(tmp_path / "fresh"), "moments.lance", DIM, DIM)
    fresh_table.put([content[name] for name in sorted(content)])
    fresh, shares = searched(fresh_table)
    structures = len(list((tmp_path / "cache").glob("*.index")))
    tally(
        "churn: 30 % of files deleted and added anew",
        rounds=CHURNS,
        least_recall_at_10=round(float(min(recalls)), 4),
        last_recall_at_10=round(float(recalls[-1]), 4),
        fresh_recall_at_10=round(float(min(shares)), 4),
        structures_left=structures,
    )
    assert gallery.moments == fresh.moments
    np.testing.assert_array_equal(gallery.vision, fresh.vision)
    np.testing.assert_array_equal(gallery.audio, fresh.audio)
    assert min(recalls) >= 0.95 * min(shares)
    assert recalls[-1] >= 0.95 * min(shares)
    assert structures <= 4  # of the last version, and of the fresh table


def test_damage_to_a_table_never_changes_a_vector_unnoticed(tmp_path, tally):
    """Nor which moment it is of. Thumbnails, words and what is known of files may; nothing crashes."""
    script = Path(__file__).with_name("flipped_table.py")
    load(script).fill(tmp_path)
    said, number, died = Counter(), 0, 0
    while number < DAMAGES:
        command = [sys.executable, script, str(tmp_path), str(number), str(DAMAGES)]
        ran = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT, timeout=900
        )
        lines = [json.loads(line) for line in ran.stdout.splitlines()]
        said.update((kind, what) for mark, kind, whats in lines if mark == "done" for what in whats)
        number = DAMAGES
        if ran.returncode:  # in the middle of one
            died, number = died + 1, lines[-1][1] + 1
    found = Counter()
    for (kind, what), count in sorted(said.items()):
        found[f"{kind}: {what}"] += count
    tally("bits and sectors damaged in a table", tried=DAMAGES, died=died, **found)
    assert died == 0
    unnoticed = {"thumbnails", "words", "columns", "files"}
    assert {what for _, what in said} <= {"refused", "nothing", *unnoticed}
    assert said["data", "refused"] > DAMAGES / 10


@dataclass(frozen=True)
class Noting(FaissScan):
    """Notes what the library is given to read."""

    read: list = field(default_factory=list, repr=False, compare=False)

    def open(self, path):
        self.read.append(path.read_bytes())
        return super().open(path)


def test_no_damaged_structure_reaches_the_library_that_reads_it(tmp_path, file_of, texts, tally):
    pytest.importorskip("faiss")
    table = MomentTable(Storage(tmp_path / "t"), "moments.lance", DIM, DIM)
    table.put([file_of(f"{i:03}") for i in range(300)])
    gallery, backend = table.gallery(), Noting()
    settings = Settings(backend=backend, exact_up_to=1000)

    def opened():
        backend.read.clear()
        cache = tmp_path / "cache"
        made = AnnIndexes(cache, gallery, table.version, {"text→sight": texts}, settings)
        assert made.wait(120.0)
        assert made.report("vision").used
        [file] = cache.glob("*.index")
        return file, list(backend.read)

    file, _ = opened()
    _, [content] = opened()
    draw, tried, reached = random.Random(7), 100, 0
    for _ in range(tried):
        at = draw.randrange(len(content))
        damaged = content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
        file.write_bytes(damaged if draw.random() < 0.9 else content[:at])
        spoiled = file.read_bytes()
        reached += spoiled in opened()[1]
    tally("structures damaged", tried=tried, read_by_the_library=reached)
    assert reached == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only the superuser of Linux may mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill_up(disk, free):
    """Leave so many bytes free."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    space = os.statvfs(disk)
    ballast.write_bytes(b"\0" * max(0, space.f_bavail * space.f_bsize - free))
    return ballast


def test_a_disk_that_fills_at_any_point_of_a_commit_leaves_what_was_there(
    small_disk, sharing, tally
):
    place = str(small_disk / "place")
    table = sharing.table_at(place)
    table.put([sharing.file_of(name, 1, 2) for name in "abc"])
    held, outcomes, draw = {"a": 1, "b": 1, "c": 1}, Counter(), random.Random(6)
    for value in range(2, 62):
        name = draw.choice("abc")
        ballast = fill_up(small_disk, draw.randrange(0, 320_000, 4096))
        try:
            table.put([sharing.file_of(name, value, 2)])
            outcomes["stored"] += 1
            held[name] = value
        except UserError as error:
            outcomes["refused in many lines" if "\n" in str(error) else "refused"] += 1
        with suppress(UserError):
            table.compact(timedelta(0))
        gallery = sharing.table_at(place).gallery()
        assert gallery.vision[:, 0].tolist() == [held[n] for n in "abc" for _ in range(2)], value
        ballast.unlink()
        table.compact(timedelta(0))
    tally("disks that fill up within a commit", tried=60, lost=0, **outcomes)
    assert set(outcomes) == {"stored", "refused"}
    assert min(outcomes.values()) > 5
