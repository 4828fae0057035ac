"""Text encoders as graphs beside a collection: used only where they are the model's."""

import json
import logging
import os
import shutil
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_families import embedding_gemma
from text_vectors import TEXTS, same_vectors

from trichord.api import text_encoders
from trichord.api.collection_model import model_of
from trichord.api.text_encoders import (
    bundle_text_encoders,
    cache_text_encoders,
    text_query_model,
)
from trichord.config import (
    Cross,
    EmbeddingGemmaAudio,
    EmbeddingGemmaText,
    EmbeddingGemmaVision,
)
from trichord.media import Decoder
from trichord.models.embedder import Embedder
from trichord.search.collection import StoredCollection
from trichord.search.engine import SearchEngine
from trichord.search.indexing import begin, index
from trichord.search.query import Query
from trichord.search.query_model import QueryModel, full_model
from trichord.storage import Storage
from trichord.types import UserError
from trichord.types.extras import NotInstalledError


def no_load():
    pytest.fail("The model was loaded.")


@pytest.fixture(scope="module")
def made_once(maker, tmp_path_factory):
    """A model, and its collection with the text encoders in its cache."""
    model, collection = maker(tmp_path_factory.mktemp("once"))()
    assert cache_text_encoders(collection, model) is None
    return model, collection


@pytest.fixture
def cached(made_once, tmp_path):
    """The same, to be damaged: the model, and the collection."""
    model, collection = made_once
    shutil.copytree(collection.path, tmp_path / "copy")
    return model, StoredCollection.open(tmp_path / "copy")


def folder_of(collection):
    return collection.storage.cache / "text-encoders"


def test_texts_have_the_models_vectors_without_the_model(made_once):
    model, collection = made_once
    found = text_query_model(collection, no_load)
    assert isinstance(found, QueryModel)
    assert (found.fingerprint, found.comparable, found.reranks) == (
        model.fingerprint,
        model.comparable,
        False,
    )
    assert abs(found.embed_text(TEXTS) - model.embed_text(TEXTS)).max() < 1e-5


@pytest.mark.parametrize("what", ["apart", pytest.param("graphs", marks=pytest.mark.slow)])
def test_two_text_encoders_and_exported_ones_search_as_the_model(made, folder, what, request):
    model, collection = made(**request.getfixturevalue(what))
    with Decoder(workers=1) as decoder:
        list(index(collection, model, decoder, [folder]))
        assert cache_text_encoders(collection, model) is None
        collection = StoredCollection.open(collection.path)
        found = text_query_model(collection, lambda: model)
        assert not found.compares("audio", "vision")
        same_vectors(found, model)
        seen, heard = (found.embed_text(TEXTS, toward) for toward in ("vision", "audio"))
        assert np.abs(seen - heard).max() > 0.01
        engines = [SearchEngine(collection, one, decoder) for one in (model, found)]
        for query in (Query.of("a dog"), Query.of("a dog", image=folder / "still.png")):
            one, other = (engine.search(query) for engine in engines)
            assert [hit.moment for hit in one] == [hit.moment for hit in other]
            scores = [hit.score for hit in other]
            assert [hit.score for hit in one] == pytest.approx(scores, abs=1e-4)


@pytest.mark.slow
def test_a_joint_model_has_its_prompt_and_its_width_in_the_index(made, folder, tmp_path):
    name = str(embedding_gemma(tmp_path / "gemma"))
    model, collection = made(
        text=EmbeddingGemmaText(name=name),
        vision=EmbeddingGemmaVision(name=name, soft_tokens=70),
        audio=EmbeddingGemmaAudio(name=name),
        width=10,
    )
    with Decoder(workers=1) as decoder:
        list(index(collection, model, decoder, [folder]))
        assert cache_text_encoders(collection, model) is None
        collection = StoredCollection.open(collection.path)
        found = text_query_model(collection, no_load)
        same_vectors(found, model)
        assert found.embed_text(["a dog"]).shape == (1, 10)
        engines = [SearchEngine(collection, one, decoder) for one in (model, found)]
        one, other = (engine.search(Query.of("a dog")) for engine in engines)
        assert [hit.moment for hit in one] == [hit.moment for hit in other]
        assert engines[0].search(Query.of(audio=folder / "beep.wav"))
    again = model_of(collection)
    assert full_model(again).fingerprint == model.fingerprint == found.fingerprint
    assert full_model(again).dim == 10


def test_two_text_encoders_of_one_space_stay_comparable(made, apart):
    model, collection = made(**apart, one_space=True)
    assert cache_text_encoders(collection, model) is None
    found = text_query_model(collection, lambda: model)
    assert found.compares("audio", "vision")
    same_vectors(found, model)
    manifest = folder_of(collection) / "manifest.json"
    older = json.loads(manifest.read_text())
    del older["one_space"]  # as before there was such an option
    manifest.write_text(json.dumps(older))
    assert not text_query_model(collection, lambda: model).compares("audio", "vision")


def test_a_fusion_that_reads_pairs_is_loaded_when_it_is_needed(made, tiny_trimodal):
    fusion = Cross(level="local_to_local", from_text=False, heads=2, layers=1)
    text = replace(tiny_trimodal.text, tokens=True, longest=32)
    model, collection = made(text=text, fusion=fusion)
    assert cache_text_encoders(collection, model) is None
    found = model_of(collection)
    assert isinstance(found, QueryModel)
    same_vectors(found, model)
    with Decoder(workers=1) as decoder:
        SearchEngine(collection, found, decoder).search(Query.of("a dog"), rerank=0)
    assert "embedder" not in vars(found)
    assert found.fusion is not None
    assert "embedder" in vars(found)


def overwritten(path, content):
    """Other content of the same length, with the times of the old."""
    stat = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def flipped(name):
    """Changes the last byte of a file that nothing else would show to be changed."""

    def damage(folder):
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        overwritten(folder / name, bytes(content))

    return damage


def told(change):
    """Changes the manifest."""

    def damage(folder):
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return damage


DAMAGES = {
    "other weights": flipped("text.onnx.data"),
    "another graph": flipped("text.onnx"),
    "another tokenizer": flipped("text.tokenizer.json"),
    "no weights": lambda folder: (folder / "text.onnx.data").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "a manifest that is cut off": lambda folder: (folder / "manifest.json").write_text('{"form'),
    "a manifest that is a list": lambda folder: (folder / "manifest.json").write_text("[1]"),
    "another model": told(lambda manifest: manifest.update(fingerprint="0" * 24)),
    "another format": told(lambda manifest: manifest.update(format=0)),
    "no encoders": told(lambda manifest: manifest.update(encoders={}, files={})),
    "an unknown encoder": told(lambda manifest: manifest["encoders"].update({"../x": {}})),
    "weights without a digest": told(lambda manifest: manifest["files"].pop("text.onnx.data")),
    "a file from elsewhere": told(lambda manifest: manifest["files"].update({"../x.onnx": ""})),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("verified", [False, True])
def test_damaged_and_foreign_files_are_not_used_and_written_again(
    cached, damage, verified, monkeypatch
):
    model, collection = cached
    if verified:  # by a search before the damage
        monkeypatch.setattr(text_encoders, "SETTLED", -1)
        assert text_query_model(collection, no_load) is not None
        [marks] = collection.storage.cache.glob("*.verified.json")
        assert set(json.loads(marks.read_text())) == {
            "text.onnx", "text.onnx.data", "text.tokenizer.json",
        }  # fmt: skip
    DAMAGES[damage](folder_of(collection))
    assert text_query_model(collection, no_load) is None
    assert cache_text_encoders(collection, model) is None
    same_vectors(text_query_model(collection, no_load), model)


def test_files_that_have_not_changed_are_not_read_again(cached, monkeypatch):
    _, collection = cached
    monkeypatch.setattr(text_encoders, "SETTLED", -1)
    assert text_query_model(collection, no_load) is not None
    monkeypatch.setattr(text_encoders, "_digest", lambda path: pytest.fail(f"{path} was read"))
    assert text_query_model(collection, no_load) is not None


def test_files_that_changed_a_moment_ago_are_read_again(cached):
    """Within a tick of the clock two writes leave the same times."""
    _, collection = cached
    assert text_query_model(collection, no_load) is not None
    marks = collection.storage.cache.glob("*.verified.json")
    assert all(json.loads(one.read_text()) == {} for one in marks)


def test_what_was_written_is_not_written_again(cached, monkeypatch):
    model, collection = cached
    monkeypatch.setattr(text_encoders, "_write", lambda *_: pytest.fail("written again"))
    assert cache_text_encoders(collection, model) is None


def test_a_graph_with_other_vectors_is_not_used_nor_tried_again(cached, monkeypatch, capsys):
    model, collection = cached
    shutil.rmtree(folder_of(collection))
    monkeypatch.setattr(text_encoders, "TOLERANCE", -1.0)
    announced = []
    for _ in range(2):
        reason = cache_text_encoders(collection, model, lambda: announced.append(1))
        assert reason == "its text encoders have other vectors as ONNX graphs"
        assert text_query_model(collection, no_load) is None
        assert isinstance(model_of(collection), Embedder)
    assert announced == [1]
    monkeypatch.setattr("importlib.metadata.version", lambda name: "another")
    monkeypatch.setattr(text_encoders, "TOLERANCE", 1e-5)
    assert cache_text_encoders(collection, model) is None


def test_half_precision_is_a_reason(made, tiny_trimodal):
    text = replace(tiny_trimodal.text, arithmetic="bfloat16")
    model, collection = made(text=text)
    assert "half precision" in cache_text_encoders(collection, model)
    assert isinstance(model_of(collection), Embedder)


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime", "tokenizers"])
def test_a_package_that_is_missing_is_a_reason(cached, name, monkeypatch):
    model, collection = cached
    shutil.rmtree(folder_of(collection))
    monkeypatch.setattr(text_encoders, "find_spec", lambda one: None if one == name else one)
    reason = cache_text_encoders(collection, model)
    assert reason == f"{name} is not installed: pip install 'trichord[search]'"
    with pytest.raises(UserError, match=f"--portable needs {name}, which is not installed"):
        bundle_text_encoders(collection, model)
    assert not folder_of(collection).exists()


def test_a_cache_that_cannot_be_written_to_is_a_reason(cached):
    model, collection = cached
    shutil.rmtree(collection.storage.cache)
    collection.storage.cache.write_text("a file where the folder would be")
    for _ in range(2):
        assert "cannot be written" in cache_text_encoders(collection, model)
        assert isinstance(model_of(collection), Embedder)
    collection.storage.cache.unlink()
    assert cache_text_encoders(collection, model) is None  # the reason is gone


def test_where_nothing_can_be_noted_digests_are_computed_each_time(cached, monkeypatch):
    def refuse(*_):
        raise UserError("read-only")

    model, collection = cached
    monkeypatch.setattr(text_encoders, "write_atomically", refuse)
    for _ in range(2):
        same_vectors(text_query_model(collection, no_load), model)


def test_writers_at_once_leave_one_whole_folder(cached):
    model, collection = cached
    wrong = []
    level, filters = logging.root.level, list(warnings.filters)

    def write():
        try:
            text_encoders._make(collection, model, folder_of(collection))
        except BaseException as error:
            wrong.append(error)

    writers = [threading.Thread(target=write) for _ in range(8)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert not wrong
    assert (logging.root.level, warnings.filters) == (level, filters)  # it stayed at ERROR
    same_vectors(text_query_model(collection, no_load), model)
    assert not list(collection.storage.cache.glob(".text-encoders-*"))


def test_a_portable_collection_is_searched_anywhere(made, elsewhere, apart, tmp_path):
    model, collection = made(**apart)
    bundle_text_encoders(collection, model)
    there = elsewhere(collection)
    shutil.rmtree(tmp_path / "collection")
    shutil.rmtree(tmp_path / "run")
    found = model_of(there)
    assert isinstance(found, QueryModel)
    assert (found.fingerprint, found.comparable) == (model.fingerprint, model.comparable)
    same_vectors(found, model)
    with pytest.raises(NotInstalledError, match="This needs torch"):
        _ = found.embedder


@pytest.fixture
def portable(made_once, tmp_path):
    """A portable collection to be damaged, where its model cannot be loaded."""
    model, collection = made_once
    shutil.copytree(collection.path, tmp_path / "copy", ignore=shutil.ignore_patterns("cache"))
    shutil.copytree(folder_of(collection), tmp_path / "copy" / "text-encoders")
    return model, StoredCollection.open(tmp_path / "copy")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_not_used(portable, damage):
    _, there = portable
    assert text_query_model(there, no_load) is not None
    DAMAGES[damage](there.path / "text-encoders")
    assert text_query_model(there, no_load) is None


def test_a_bundle_is_written_once(portable, monkeypatch):
    model, there = portable
    monkeypatch.setattr(text_encoders, "_write", lambda *_: pytest.fail("written again"))
    bundle_text_encoders(there, model)
    assert cache_text_encoders(there, model) is None
    assert not folder_of(there).exists()


def test_what_cannot_be_a_graph_is_not_bundled(made, tiny_trimodal):
    model, collection = made(text=replace(tiny_trimodal.text, arithmetic="bfloat16"))
    with pytest.raises(UserError, match=r"--portable: .* half precision.*: leave the option out"):
        bundle_text_encoders(collection, model)
    assert not (collection.path / "text-encoders").exists()


def test_a_bundle_in_a_bucket_is_fetched_once(made_once, bucket, monkeypatch, tmp_path):
    model, collection = made_once
    there = begin(bucket, collection.description.run, model, 4.0, None)
    bundle_text_encoders(there, model)
    read, fetch = [], Storage.read
    monkeypatch.setattr(Storage, "read", lambda self, name: read.append(name) or fetch(self, name))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    for fetched in ({".onnx", ".data", ".json"}, set()):
        read.clear()
        same_vectors(text_query_model(StoredCollection.open(bucket), no_load), model)
        assert {Path(name).suffix for name in read if "text-encoders/" in name} == fetched
    bundle_text_encoders(there, model)
    assert "text-encoders/text.onnx.data" not in read


def test_a_damaged_bundle_in_a_bucket_is_not_used(made_once, bucket, monkeypatch, tmp_path):
    model, collection = made_once
    there = begin(bucket, collection.description.run, model, 4.0, None)
    bundle_text_encoders(there, model)
    there.storage.write("text-encoders/text.onnx.data", b"other weights")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    assert text_query_model(StoredCollection.open(bucket), no_load) is None
