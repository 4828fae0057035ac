"""Which structures are kept, for whom, and which are opened again."""

import json
import os
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from trichord.search.nearest import AnnIndexes, Approximate, FaissScan, Settings, ann_indexes


def flip(path):
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(bytes(content))


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


def edit(change):
    def edit(path):
        beside = path.with_suffix(".json")
        known = json.loads(beside.read_text())
        change(known)
        beside.write_text(json.dumps(known))

    return edit


def test_what_is_stored_is_opened_and_not_built_again(structured, built):
    before = structured().report("vision")
    built.clear()
    again = structured()
    assert not built
    assert isinstance(again.nearest("vision"), Approximate)
    assert again.report("vision") == before


@pytest.mark.parametrize(
    "spoil",
    [
        flip,
        shorten,
        Path.unlink,
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text("{"),
        lambda path: path.with_suffix(".json").write_text("[]"),
        edit(lambda known: known.update(hash="0" * 32)),
        edit(lambda known: known.update(library="fake 0")),
        edit(lambda known: known["identity"].update(version=6)),
        edit(lambda known: known["report"].pop("effort") and known["report"].update(what=1)),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_built_anew(structured, tmp_path, spoil, built):
    structured()
    built.clear()
    spoil(next((tmp_path / "cache").glob("*.index")))
    made = structured()
    assert built == ["2400 rows"]
    assert isinstance(made.nearest("vision"), Approximate)
    built.clear()
    structured()
    assert not built  # mended


def test_a_newer_version_is_built_anew_and_the_older_one_deleted(structured, tmp_path, built):
    structured(version=7)
    structured(version=8)
    assert len(built) == 2
    left = sorted(path.name.split("-")[1] for path in (tmp_path / "cache").iterdir())
    assert left == ["8", "8"]


def test_an_older_version_leaves_the_newer_one(structured, tmp_path):
    structured(version=8)
    structured(version=7)
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_other_vectors_of_the_same_version_have_a_structure_of_their_own(
    structured, columns, built
):
    structured()
    structured(columns=columns(3000, seed=1))  # as at another audio type token
    assert len(built) == 2
    structured()
    assert len(built) == 2


def test_another_order_of_the_files_has_a_structure_of_its_own(structured, columns, built):
    """A folder that is relocated changes paths, and with them the order, but no version."""
    own = columns(3000)
    for files in ([0, 0, 1], [0, 1, 1], [0, 0, 1]):
        structured(columns=replace(own, file=np.array(files, np.int32)))
    assert len(built) == 2


@pytest.fixture
def listened(structured, columns, texts, tmp_path):
    """Sound at different audio type tokens, and how many structures of it lie there."""

    def listened(token, **options):
        opened = structured(
            columns=columns(3000, seed=token),
            held_out={"text→sound": texts},
            **{"exact_up_to": 100, "target": 0.0, **options},
        )
        assert opened.report("audio").used
        return opened, sorted(path.suffix for path in (tmp_path / "cache").iterdir())

    return listened


def test_what_was_searched_with_lately_stays_longest(listened, tmp_path, built, monkeypatch):
    monkeypatch.setattr(ann_indexes, "KEPT", 2)
    for step, age in ((1, 300), (2, 200)):
        listened(step)
        for path in (tmp_path / "cache").iterdir():
            if path.stat().st_mtime > time.time() - 100:
                os.utime(path, (time.time() - age,) * 2)
    listened(1)  # opened
    listened(3)
    built.clear()
    listened(1)
    assert not built
    listened(2)
    assert built


def test_who_searches_with_a_structure_does_not_need_its_file(
    texts, tmp_path, columns, monkeypatch
):
    """Another process may delete it at any time."""
    monkeypatch.setattr(ann_indexes, "KEPT", 2)
    backend = FaissScan()

    def listened(seed):
        made = AnnIndexes(
            tmp_path / "cache",
            columns(3000, seed=seed),
            7,
            {"text→sound": texts},
            Settings(backend=backend, exact_up_to=100, target=0.0),
        )
        assert made.wait(60.0)
        return made

    first = listened(0)
    before = first.nearest("audio").search(texts[:3], 5)[1]
    for seed in range(1, 4):
        listened(seed)
    assert not first._columns["audio"].path.exists()
    np.testing.assert_array_equal(first.nearest("audio").search(texts[:3], 5)[1], before)


def test_a_file_that_others_hold_on_to_stays(listened, monkeypatch):
    """As on Windows."""

    def held(path, missing_ok=False):
        raise PermissionError(13, "in use", str(path))

    monkeypatch.setattr(Path, "unlink", held)
    for step in range(4):
        listened(step)


@pytest.mark.parametrize(
    "changed",
    [
        {"enough": 0},
        {"target": 0.9},
        {"held_out": {"sound→sight": np.eye(24, dtype=np.float32)}},
    ],
)
def test_other_settings_and_queries_have_a_structure_of_their_own(structured, changed, built, fake):
    structured()
    structured(fake(enough=changed.pop("enough", 1)), **changed)
    assert len(built) == 2


def test_what_a_killed_process_left_is_deleted_after_a_day(structured, tmp_path):
    (tmp_path / "cache").mkdir()
    for name, age in ((".old.part", ann_indexes.ABANDONED_AFTER + 60), (".new.part", 60)):
        left = tmp_path / "cache" / name
        left.write_text("half")
        os.utime(left, (time.time() - age,) * 2)
    structured()
    assert {path.name for path in (tmp_path / "cache").glob(".*")} == {".new.part"}


def test_a_file_is_known_by_its_sha_256(structured, tmp_path):
    structured()
    [file] = (tmp_path / "cache").glob("*.index")
    known = json.loads(file.with_suffix(".json").read_text())
    assert known["hash"] == sha256(file.read_bytes()).hexdigest()


def kept(folder, side, version, *names, hours=0.0):
    """Structures last opened so long ago, the first of them first."""
    for i, name in enumerate(names):
        for suffix in (".index", ".json"):
            path = folder / f"{side}-{version}-{name}{suffix}"
            path.write_text("x")
            at = time.time() - 3600 * hours + i - len(names)
            os.utime(path, (at, at))


def there(folder):
    return sorted({path.stem for path in folder.iterdir()})


def test_of_a_version_the_latest_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(ann_indexes, "KEPT", 2)
    kept(tmp_path, "audio", 7, "a", "b", "c")
    kept(tmp_path, "vision", 7, "a", "b", "c")
    ann_indexes.sweep(tmp_path, 7, "audio")
    assert there(tmp_path) == [
        "audio-7-b", "audio-7-c", "vision-7-a", "vision-7-b", "vision-7-c",
    ]  # fmt: skip


def test_of_a_table_that_was_replaced_all_is_gone_a_day_later(tmp_path):
    """The table that came in its place counts its versions from 1."""
    kept(tmp_path, "vision", 300, "old", hours=25)
    kept(tmp_path, "vision", 301, "newer than ours", hours=23)
    kept(tmp_path, "vision", 3, "ours", hours=100)
    ann_indexes.sweep(tmp_path, 3, "vision")
    assert there(tmp_path) == ["vision-3-ours", "vision-301-newer than ours"]


def test_what_is_opened_again_is_swept_around(structured, tmp_path, built):
    """A process that builds nothing tidies up too."""
    structured()
    kept(tmp_path / "cache", "vision", 6, "a process that was late")
    built.clear()
    structured()
    assert not built
    assert len(there(tmp_path / "cache")) == 1
