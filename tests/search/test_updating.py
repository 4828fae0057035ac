import os
from pathlib import Path

import pytest

from trichord.search import updating
from trichord.search.background import calibrate_by
from trichord.search.collection import StoredCollection
from trichord.search.indexing import index
from trichord.search.query_vectors import TextVectors
from trichord.search.table import MomentTable
from trichord.search.updating import finish
from trichord.types import Caption, Clip


def test_scales_are_measured_on_some_moments_and_never_on_all(collection, tiny_model, monkeypatch):
    """After each burst of watched files: a large collection must not be loaded for it."""
    most, measured = 4, []

    def noted(texts, gallery):
        measured.append(gallery)
        return calibrate_by(texts, gallery)

    def refused(*given):
        raise AssertionError("the whole gallery was loaded")

    collection.table.put(collection.table.read_files(list(collection.table.files())))
    assert not collection.calibrated
    monkeypatch.setattr(updating, "MOMENTS", most)
    monkeypatch.setattr(updating, "calibrate_by", noted)
    monkeypatch.setattr(MomentTable, "gallery", refused)
    finish(collection, lambda: tiny_model)
    assert [len(gallery) for gallery in measured] == [most]
    assert collection.calibrated
    finish(collection, lambda: tiny_model)
    assert len(measured) == 1


def test_few_moments_are_all_measured(collection, tiny_model):
    there = StoredCollection.open(collection.path)
    assert there.description.calibration == calibrate_by(
        TextVectors(tiny_model), there.table.gallery()
    )


def test_what_comes_while_scales_are_measured_is_measured_next(collection, tiny_model, monkeypatch):
    other = StoredCollection.open(collection.path)
    [file, *_] = other.table.read_files(list(other.table.files()))

    def meanwhile(texts, gallery):
        measured.append(other.table.version)
        if len(measured) == 1:
            other.table.put([file])
        return calibrate_by(texts, gallery)

    measured = []
    collection.table.put([file])
    monkeypatch.setattr(updating, "calibrate_by", meanwhile)
    finish(collection, lambda: tiny_model)
    assert collection.description.calibrated == measured[0] < other.table.version
    assert not collection.calibrated
    finish(collection, lambda: tiny_model)
    assert len(measured) == 2
    assert collection.calibrated


@pytest.fixture
def copied(monkeypatch):
    """Names of the files all of whose columns are read."""
    read, names = MomentTable.read_files, []

    def noted(table, files):
        names.extend(Path(file).name for file in files)
        return read(table, files)

    monkeypatch.setattr(MomentTable, "read_files", noted)
    return names


def test_only_files_under_a_new_name_are_copied(collection, archive, tiny_model, decoder, copied):
    """A new time, and what a manifest says, are written without a look at vectors and thumbnails."""
    before = {Path(moment.file).name: moment for moment in collection.table.gallery().moments}
    picture = collection.table.thumbnail(str(archive / "red.mp4"), 0.0)
    os.utime(archive / "red.mp4", (1, 1))
    (archive / "blue.mp4").rename(archive / "moved.mp4")
    words = (Caption(text="a green square", about="visual"),)
    told = Clip(id="x", path=str(archive / "mute.mp4"), captions=words, labels=("square",))
    far = Clip(id="y", path=str(archive / "still.png"))
    list(index(collection, tiny_model, decoder, [archive], metadata=[told, far]))
    assert copied == ["blue.mp4"]
    known = collection.table.files()
    assert known[str(archive / "red.mp4")].version.mtime_ns == 10**9
    assert collection.table.thumbnail(str(archive / "red.mp4"), 0.0) == picture is not None
    assert {Path(file).name: len(said) for file, said in collection.table.notes().items()} == {
        "mute.mp4": 2
    }
    after = {Path(moment.file).name: moment for moment in collection.table.gallery().moments}
    assert after.keys() - before.keys() == {"moved.mp4"}
    version = collection.table.version
    list(index(collection, tiny_model, decoder, [archive], metadata=[told, far]))
    assert collection.table.version == version


def test_a_broken_file_that_was_moved_still_says_why(collection, archive, tiny_model, decoder):
    (archive / "broken.mp4").rename(archive / "moved.mp4")
    done = {Path(o.file).name: o for o in index(collection, tiny_model, decoder, [archive])}
    moved = done["moved.mp4"]
    assert (moved.change, moved.status, moved.moments) == ("moved", "corrupt", 0)
    assert moved.reason
