"""Vectors of a collection made anew by another model."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from trichord.search import updating
from trichord.search.collection import StoredCollection
from trichord.search.engine import SearchEngine
from trichord.search.indexing import index, reembed
from trichord.search.query import Query
from trichord.search.text_table import FileTexts
from trichord.speech.transcript import SpokenSegment
from trichord.types import UserError


def test_a_collection_is_embedded_anew_by_another_model(
    collection, archive, untrained_model, decoder, start, tiny_model
):
    collection.annotate(archive / "red.mp4", [(0.0, 2.0, "by hand", ("mine",))])
    (archive / "still.png").unlink()
    done = {
        one.file.rsplit("/", 1)[-1]: one.change
        for one in reembed(collection, "other", untrained_model, decoder)
    }
    assert done == {
        "blue.mp4": "new", "broken.mp4": "new", "half.wav": "new", "it's a tone.wav": "new",
        "mute.mp4": "new", "red.mp4": "new", "still.png": "removed",
    }  # fmt: skip
    anew = StoredCollection.open(collection.path)
    assert (anew.description.run, anew.description.fingerprint) == (
        "other", untrained_model.fingerprint,
    )  # fmt: skip
    assert anew.calibrated
    assert anew.table.notes() == {str(archive / "red.mp4"): [(0.0, 2.0, "by hand", ["mine"])]}
    fresh = start(untrained_model, "fresh")
    list(index(fresh, untrained_model, decoder, [archive]))
    np.testing.assert_allclose(anew.table.gallery().audio, fresh.table.gallery().audio, atol=1e-5)
    with pytest.raises(UserError, match="embedded again"):
        list(index(collection, tiny_model, decoder, [archive]))


def test_what_is_said_stays_where_vectors_are_made_anew(
    collection, untrained_model, decoder, monkeypatch
):
    monkeypatch.setattr(updating, "MOMENTS_A_COMMIT", 1)
    known = collection.table.files().values()
    lines = (SpokenSegment(start=0.0, end=1.0, text="rare words"),)
    signatures = sorted({one.version.signature for one in known})
    collection.texts.put(
        [FileTexts(signature=one, kind="speech", lines=lines, status="made") for one in signatures]
    )
    begun = reembed(collection, "other", untrained_model, decoder)
    next(begun)
    successor = collection.reembedding(
        replace(collection.description, fingerprint=untrained_model.fingerprint)
    )
    successor.keep_texts()  # it has one file so far
    assert sorted(one["signature"] for one in collection.texts.markers()) == signatures
    list(begun)
    anew = StoredCollection.open(collection.path)
    assert sorted(one["signature"] for one in anew.texts.markers()) == signatures
    hits = SearchEngine(anew, untrained_model, decoder).search(Query.of('"rare words"'), k=3)
    assert len(hits) == 3


def test_an_interrupted_reembedding_leaves_the_old_vectors_and_goes_on(
    collection, archive, untrained_model, decoder, monkeypatch
):
    monkeypatch.setattr(updating, "MOMENTS_A_COMMIT", 1)
    before = collection.table.gallery().audio
    begun = reembed(collection, "other", untrained_model, decoder)
    first = next(begun)
    begun.close()
    old = StoredCollection.open(collection.path)
    assert old.description.fingerprint == collection.description.fingerprint
    np.testing.assert_array_equal(old.table.gallery().audio, before)
    changes = {one.file: one.change for one in reembed(old, "other", untrained_model, decoder)}
    assert (first.change, changes[first.file]) == ("new", "unchanged")
    assert "new" in changes.values()
    assert StoredCollection.open(collection.path).description.run == "other"


def test_what_others_index_during_a_reembedding_is_not_lost(
    start, tiny_model, untrained_model, decoder, archive, tmp_path
):
    collection = start(tiny_model)
    list(index(collection, tiny_model, decoder, [archive]))
    (late := tmp_path / "late").mkdir()
    Image.new("RGB", (40, 40), (9, 9, 9)).save(late / "late.png")
    begun = reembed(collection, "other", untrained_model, decoder)
    next(begun)
    list(index(StoredCollection.open(collection.name), tiny_model, decoder, [late]))
    changes = [(one.file, one.change) for one in begun]
    assert (str(late / "late.png"), "new") in changes
    assert len(changes) == len(dict(changes))
    assert str(late / "late.png") in StoredCollection.open(collection.name).table.files()


def test_a_missing_drive_stops_a_reembedding_before_it_begins(
    collection, archive, untrained_model, decoder
):
    (archive / "more" / "it's a tone.wav").unlink()
    (archive / "more").rmdir()
    with pytest.raises(UserError, match=r"the folder .*/more of its files is missing") as caught:
        next(reembed(collection, "other", untrained_model, decoder))
    assert "\n" not in str(caught.value)
    assert collection.storage.read("reembedding.json") is None
