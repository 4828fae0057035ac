"""An archive whose library or model has moved: the same hits once each, and nothing embedded again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trichord.models.embedder import Embedder
from trichord.search.collection import StoredCollection
from trichord.search.engine import SearchEngine
from trichord.search.filters import Filter
from trichord.search.hit_lists import to_fields
from trichord.search.indexing import index
from trichord.search.query import Query
from trichord.search.survey import has_moved, missing_lines
from trichord.search.table import MomentTable
from trichord.types import Hit, Moment, UserError

WORDS = "a red square and a bell"
RELOCATE = """
import os, signal, sys
from trichord.search.collection import StoredCollection
from trichord.types import files

collection = StoredCollection.open(sys.argv[1])
if sys.argv[4] == "before":
    write = collection.storage.write
    collection.storage.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
elif sys.argv[4] == "within":
    files.os.replace = os.rename = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    from pathlib import Path
    Path.replace = Path.rename = os.rename
collection.relocate(sys.argv[2], sys.argv[3])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def hits(tiny_model, decoder):
    """What a search finds in a collection, opened again: path below a folder, start and score."""

    def hits(collection, top, **options):
        opened = StoredCollection.open(collection.path)
        engine = SearchEngine(opened, tiny_model, decoder)
        found = engine.search(Query.of(WORDS, where=Filter(**options)), k=100)
        spots = [(str(Path(h.moment.file).relative_to(top)), h.moment.start) for h in found]
        assert len(spots) == len(set(spots))
        return dict(zip(spots, [round(hit.score, 4) for hit in found], strict=True))

    return hits


@pytest.fixture
def update(tiny_model, decoder, monkeypatch):
    """Indexes places, and refuses to embed any media; gives changes by name."""

    def refuse(*_):
        raise AssertionError("media were embedded again")

    def update(collection, *places, **options):
        with monkeypatch.context() as patch:
            patch.setattr(Embedder, "embed_media", refuse)
            patch.setattr(Embedder, "read_media", refuse)
            opened = StoredCollection.open(collection.path)
            done = list(index(opened, tiny_model, decoder, places, **options))
        return {Path(one.file).name: one.change for one in done}

    return update


def stored(collection):
    """The names of files in rows."""
    return collection.table.latest.to_table(["file"])["file"].to_pylist()


def test_rows_name_files_relative_to_their_root(collection, archive):
    names = stored(collection)
    assert {name.split("/")[0] for name in names} == {"root:0"}
    [root] = json.loads((collection.path / "collection.json").read_text())["roots"]
    assert root == {"name": "root:0", "path": str(archive), "relative": "../archive"}
    assert str(archive / "red.mp4") in collection.table.files()


def test_a_library_that_moved_is_known_by_its_content(collection, archive, hits, update, tmp_path):
    collection.annotate(archive / "red.mp4", [(0.0, 2.0, "a bell", ("loud",))])
    before = hits(collection, archive)
    moved = archive.rename(tmp_path / "elsewhere")
    assert set(update(collection, moved).values()) == {"moved"}
    assert hits(collection, moved) == before
    files = collection.table.files()
    assert {Path(file).parts[: len(moved.parts)] for file in files} == {moved.parts}
    assert collection.table.notes()[str(moved / "red.mp4")] == [(0.0, 2.0, "a bell", ["loud"])]
    assert set(update(collection, moved).values()) == {"unchanged"}


def test_a_library_that_moved_is_relocated(collection, archive, hits, update, tmp_path):
    before, version = hits(collection, archive), collection.table.version
    moved = archive.rename(tmp_path / "elsewhere")
    assert collection.relocate(str(archive), str(moved)) == 7
    assert hits(collection, moved) == before
    assert set(update(collection, moved).values()) == {"unchanged"}
    assert StoredCollection.open(collection.path).table.version == version


def test_names_that_changed_their_case(collection, archive, hits, update):
    before = hits(collection, archive)
    moved = archive.rename(archive.with_name("Archive"))
    (moved / "red.mp4").rename(moved / "RED.mp4")
    (moved / "more").rename(moved / "More")
    update(collection, moved)
    renamed = {
        (file.replace("red", "RED").replace("more", "More"), start): score
        for (file, start), score in before.items()
    }
    assert hits(collection, moved) == renamed
    assert len(collection.table.files()) == 7


def test_case_alone_tells_a_renamed_file_from_a_link(tmp_path):
    """A file system that ignores case finds a file under its old name too, as a hard link is found."""
    (tmp_path / "a.mp4").write_bytes(b"x")
    for name in ("A.MP4", "b.mp4"):
        os.link(tmp_path / "a.mp4", tmp_path / name)
    assert has_moved(str(tmp_path / "a.mp4"), str(tmp_path / "A.MP4"))
    assert not has_moved(str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"))
    assert has_moved(str(tmp_path / "gone.mp4"), str(tmp_path / "b.mp4"))


def test_a_folder_that_is_not_mounted_is_kept_and_said(collection, archive, hits, update, tmp_path):
    before = hits(collection, archive)
    gone = archive / "more" / "it's a tone.wav"
    (archive / "more").rename(tmp_path / "away")
    (archive / "more").mkdir()  # the mount point
    done = update(collection, archive)
    assert done.pop(gone.name) == "missing"
    assert set(done.values()) == {"unchanged"}
    assert missing_lines([str(gone)])[0].startswith(f"{archive}/more is missing or empty")
    rest = {spot: score for spot, score in before.items() if "tone" not in spot[0]}
    assert hits(collection, archive) == rest
    assert hits(collection, archive, missing=True) == before
    (archive / "more").rmdir()
    (tmp_path / "away").rename(archive / "more")
    assert set(update(collection, archive).values()) == {"unchanged"}
    assert hits(collection, archive) == before


def test_one_of_two_roots_is_not_mounted(
    collection, archive, rendered, tiny_model, decoder, hits, update, tmp_path
):
    other = tmp_path / "other"
    other.mkdir()
    (other / "extra.mp4").write_bytes((rendered / "red.mp4").read_bytes() + b"\0" * 9)
    list(index(collection, tiny_model, decoder, [archive, other]))
    assert len(collection.description.roots) == 2
    before = hits(collection, tmp_path)
    archive.rename(tmp_path / "away")
    done = update(collection, archive, other, prune=True)
    # A place that is missing is never emptied.
    assert [*done.values()].count("missing") == 7
    assert done.pop("extra.mp4") == "unchanged"
    assert {*done.values()} == {"missing"}
    done = update(collection, archive, other)
    assert [*done.values()].count("missing") == 7
    assert {spot[0] for spot in hits(collection, tmp_path)} == {"other/extra.mp4"}
    with pytest.raises(UserError, match="no such file or folder"):
        update(collection, archive)
    (tmp_path / "away").rename(archive)
    assert hits(collection, tmp_path) == before


def test_a_library_that_is_nowhere_is_searched_all_the_same(collection, archive, hits, tmp_path):
    before = hits(collection, archive)
    archive.rename(tmp_path / "away")
    assert hits(collection, archive) == before


@pytest.mark.parametrize("original", ["kept", "gone"])
def test_an_archive_copied_with_its_library(original, collection, archive, hits, update, tmp_path):
    before = hits(collection, archive)
    (tmp_path / "disk").mkdir()
    for folder in (archive, collection.path):
        shutil.copytree(folder, tmp_path / "disk" / folder.name)
    if original == "gone":
        shutil.rmtree(archive)
        shutil.rmtree(collection.path)
    copy = StoredCollection.open(tmp_path / "disk" / collection.path.name)
    library = tmp_path / "disk" / archive.name
    assert hits(copy, archive if original == "kept" else library) == before
    assert set(update(copy, library).values()) <= {"unchanged", "copied"}
    assert hits(copy, library) == before
    assert len(StoredCollection.open(copy.path).table.files()) == 7


def test_a_copy_stays_a_second_file_and_a_moved_copy_is_one(collection, archive, hits, update):
    (archive / "copy.mp4").write_bytes((archive / "red.mp4").read_bytes())
    assert update(collection, archive)["copy.mp4"] == "copied"
    assert len(collection.table.files()) == 8
    (archive / "copy.mp4").rename(archive / "again.mp4")
    update(collection, archive)
    assert {"red.mp4", "again.mp4"} <= {Path(file).name for file in collection.table.files()}
    assert len(collection.table.files()) == 8


@pytest.mark.parametrize("at_once", [16, 1])
def test_a_moved_file_and_its_copy_share_the_old_rows(
    at_once, collection, archive, update, monkeypatch
):
    monkeypatch.setattr("trichord.search.updating.FILES_AT_ONCE", at_once)
    for name in ("a.mp4", "b.mp4"):
        (archive / name).write_bytes((archive / "red.mp4").read_bytes())
    (archive / "red.mp4").unlink()
    done = update(collection, archive)
    assert (done["a.mp4"], done["b.mp4"]) == ("moved", "copied")
    names = {Path(file).name for file in collection.table.files()}
    assert {"a.mp4", "b.mp4"} <= names
    assert "red.mp4" not in names


def test_a_move_is_one_transaction(collection, archive, update, monkeypatch):
    """A process that is killed leaves the old name or the new one, never both."""
    seen = []
    put = MomentTable.put

    def noted(table, files, instead_of=()):
        seen.append({Path(file).name for file in table.files()})
        put(table, files, instead_of)
        seen.append({Path(file).name for file in table.files()})

    monkeypatch.setattr(MomentTable, "put", noted)
    (archive / "red.mp4").rename(archive / "moved.mp4")
    update(collection, archive)
    before, after = seen
    assert after == before - {"red.mp4"} | {"moved.mp4"}


def test_missing_files_are_named(archive):
    files = [str(archive / f"{number}.mp4") for number in range(7)]
    assert missing_lines(files[:1]) == [f"missing from folders that are there: {files[0]}."]
    assert missing_lines(files)[0].endswith(f"{files[4]}, and 2 more.")


def test_prune_removes_what_is_missing(collection, archive, hits, update):
    (archive / "red.mp4").unlink()
    assert update(collection, archive)["red.mp4"] == "missing"
    assert str(archive / "red.mp4") in collection.table.files()
    assert update(collection, archive, prune=True)["red.mp4"] == "removed"
    assert str(archive / "red.mp4") not in collection.table.files()
    assert "red.mp4" not in {file for file, _ in hits(collection, archive, missing=True)}


def test_prune_keeps_the_files_of_a_folder_that_is_there_and_empty(collection, archive, update):
    """So looks a mount point whose drive is not connected."""
    for name in ("red.mp4", "blue.mp4"):
        (archive / "more" / "disk" / "day").mkdir(parents=True, exist_ok=True)
        (archive / name).rename(archive / "more" / "disk" / "day" / name)
    update(collection, archive)
    shutil.rmtree(archive / "more" / "disk" / "day")
    done = update(collection, archive, prune=True)
    assert (done["red.mp4"], done["blue.mp4"]) == ("missing", "missing")
    assert str(archive / "more" / "disk" / "day" / "red.mp4") in collection.table.files()
    (archive / "more" / "disk").rmdir()  # no mount point goes
    done = update(collection, archive, prune=True)
    assert (done["red.mp4"], done["blue.mp4"]) == ("removed", "removed")
    (archive / "more" / "it's a tone.wav").unlink()  # one file, that was deleted
    assert update(collection, archive, prune=True)["it's a tone.wav"] == "removed"


@pytest.fixture
def unreadable(tmp_path):
    """Puts what cannot be looked at in the place of a file or folder: also for root, unlike permissions."""

    def unreadable(place):
        place.rename(tmp_path / "away")
        place.symlink_to("x" * 300)  # no file system has such a name

    return unreadable


def test_prune_keeps_what_cannot_be_looked_at(collection, archive, update, unreadable):
    unreadable(archive / "more")
    (archive / "red.mp4").unlink()
    inside = archive / "more" / "it's a tone.wav"
    assert update(collection, archive)[inside.name] == "missing"
    done = update(collection, archive, prune=True)
    assert done["red.mp4"] == "removed"
    assert done[inside.name] == "missing"
    assert str(inside) in collection.table.files()


def test_a_hit_that_cannot_be_looked_at_is_missing(collection, archive, hits, unreadable):
    before = hits(collection, archive)
    unreadable(archive / "red.mp4")
    assert hits(collection, archive).keys() == {spot for spot in before if spot[0] != "red.mp4"}
    moment = Moment(file=str(archive / "red.mp4"), start=0.0, end=2.0)
    hit = Hit(moment=moment, score=1.0, visual=1.0, audio=None)
    assert to_fields(hit)["missing"]


def test_a_missing_file_leaves_its_place_to_the_next(collection, archive, tiny_model, decoder):
    engine = SearchEngine(collection, tiny_model, decoder)
    best = engine.search(Query.of(WORDS), k=1)[0].moment.file
    order = [hit.moment for hit in engine.search(Query.of(WORDS), k=100)]
    Path(best).unlink()
    expected = [moment for moment in order if moment.file != best]
    assert [hit.moment for hit in engine.search(Query.of(WORDS), k=3)] == expected[:3]
    groups = engine.grouped(Query.of(WORDS), k=2)
    assert [group.file for group in groups] == list(dict.fromkeys(m.file for m in expected))[:2]


def old_format(collection):
    """Make a collection what the version before this one wrote: absolute paths, no roots."""
    file = collection.path / "collection.json"
    content = json.loads(file.read_text())
    del content["roots"], content["relative_run"]
    file.write_text(json.dumps(content | {"format": 3}))
    return StoredCollection.open(collection.path)


@pytest.fixture
def old(start, tiny_model, decoder, archive, monkeypatch):
    """A collection from before roots."""
    with monkeypatch.context() as patch:
        patch.setattr(StoredCollection, "add_roots", lambda *_: False)
        made = start(tiny_model, "old")
        list(index(made, tiny_model, decoder, [archive]))
    assert all(name.startswith("/") for name in stored(made))
    return old_format(made)


def test_a_collection_from_before_roots_goes_on(
    old, archive, rendered, hits, update, tiny_model, decoder
):
    before = hits(old, archive)
    assert set(update(old, archive).values()) == {"unchanged"}
    (archive / "new.mp4").write_bytes((rendered / "red.mp4").read_bytes() + b"\0" * 9)
    list(index(StoredCollection.open(old.path), tiny_model, decoder, [archive]))
    both = hits(old, archive)
    assert both.keys() == before.keys() | {("new.mp4", 0.0), ("new.mp4", 2.0)}


def test_a_collection_from_before_roots_is_relocated(old, archive, hits, update, tmp_path):
    before = hits(old, archive)
    moved = archive.rename(tmp_path / "elsewhere")
    old.relocate(str(archive), str(moved))
    assert hits(old, moved) == before
    assert set(update(old, moved).values()) == {"unchanged"}
    # Another library in the old place is not taken for the one that has moved.
    archive.mkdir()
    shutil.copy(moved / "red.mp4", archive / "red.mp4")
    update(old, archive)
    files = StoredCollection.open(old.path).table.files()
    assert {str(archive / "red.mp4"), str(moved / "red.mp4")} <= files.keys()
    assert len(files) == 8


def test_a_folder_in_a_root_is_relocated_and_back(collection, archive, hits, update, tmp_path):
    before = hits(collection, archive)
    tone = "it's a tone.wav"
    (archive / "more").rename(tmp_path / "away")
    assert collection.relocate(str(archive / "more"), str(tmp_path / "away")) == 1
    assert str(tmp_path / "away" / tone) in StoredCollection.open(collection.path).table.files()
    assert set(update(collection, archive, tmp_path / "away").values()) == {"unchanged"}
    (archive / "more").mkdir()
    shutil.copy(archive / "half.wav", archive / "more" / tone)
    update(collection, archive)
    files = StoredCollection.open(collection.path).table.files()
    assert {str(archive / "more" / tone), str(tmp_path / "away" / tone)} <= files.keys()
    with pytest.raises(UserError, match="1 files there already"):
        collection.relocate(str(tmp_path / "away"), str(archive / "more"))
    collection.remove([archive / "more"])
    shutil.rmtree(archive / "more")
    (tmp_path / "away").rename(archive / "more")
    collection.relocate(str(tmp_path / "away"), str(archive / "more"))
    assert hits(collection, archive).keys() == before.keys()  # scales were measured in between
    assert set(update(collection, archive).values()) == {"unchanged"}


def test_several_roots_are_relocated_with_the_folder_above_them(
    start, tiny_model, decoder, archive, hits, update, tmp_path
):
    made = start(tiny_model)
    list(index(made, tiny_model, decoder, [archive / "more"]))
    list(index(made, tiny_model, decoder, [archive]))
    assert [root.path for root in made.description.roots] == [f"{archive}/more", str(archive)]
    before = hits(made, archive)
    moved = archive.rename(tmp_path / "elsewhere")
    assert made.relocate(str(archive), str(moved)) == 7
    assert hits(made, moved) == before
    assert set(update(made, moved).values()) == {"unchanged"}


def test_relocations_that_are_refused(collection, archive, tmp_path):
    description = (collection.path / "collection.json").read_bytes()
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=rf"has no files there: .*{archive}"):
        collection.relocate(str(tmp_path / "other"), str(empty))
    with pytest.raises(UserError, match="lacks 7 of the 7 files") as caught:
        collection.relocate(str(archive), str(empty))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="has 6 files there already"):
        collection.relocate(str(archive / "more"), str(archive))
    assert (collection.path / "collection.json").read_bytes() == description
    assert collection.relocate(str(archive), str(empty), force=True) == 7
    assert str(empty / "red.mp4") in collection.table.files()


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_a_relocation_that_is_killed_is_whole(moment, collection, archive, hits, tmp_path):
    before = hits(collection, archive)
    moved = archive.rename(tmp_path / "elsewhere")
    line = [sys.executable, "-c", RELOCATE, str(collection.path), str(archive), str(moved), moment]
    assert subprocess.run(line).returncode == -9
    files = StoredCollection.open(collection.path).table.files()
    top = moved if moment == "after" else archive
    assert {Path(file).is_relative_to(top) for file in files} == {True}
    if moment != "after":
        StoredCollection.open(collection.path).relocate(str(archive), str(moved))
    assert hits(collection, moved) == before


def test_an_open_collection_learns_of_roots_that_another_process_adds(
    collection, tiny_model, decoder, rendered, tmp_path
):
    other = tmp_path / "other"
    other.mkdir()
    (other / "extra.mp4").write_bytes((rendered / "red.mp4").read_bytes() + b"\0" * 9)
    list(index(StoredCollection.open(collection.path), tiny_model, decoder, [other]))
    assert str(other / "extra.mp4") in collection.table.files()


def test_an_equal_model_in_another_place_corrects_the_reference(start, tiny_model, tmp_path):
    made = start(tiny_model)
    run = tmp_path / "elsewhere" / "run"
    run.mkdir(parents=True)
    from trichord.search.indexing import begin

    begin(made.path, str(run), tiny_model, 2.0, 2.0)
    opened = StoredCollection.open(made.path)
    assert (opened.run, opened.description.relative_run) == (str(run), "../elsewhere/run")
    shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-copy"))
    shutil.rmtree(run)
    copy = tmp_path.with_name(f"{tmp_path.name}-copy")
    assert StoredCollection.open(copy / made.path.name).run == str(copy / "elsewhere" / "run")
    assert StoredCollection.open(made.path).run == str(run)
