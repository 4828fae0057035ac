"""Text towers that a collection holds itself: asked anywhere, where they give the model's vectors."""

import json
import shutil
from pathlib import Path

import pytest
from text_vectors import same_vectors

from trichord.api import collection_model, shortcut
from trichord.api.carried import carry
from trichord.api.collection_model import model_of
from trichord.search.collection import Collection
from trichord.search.indexing import begin
from trichord.search.query_model import QueryModel
from trichord.storage import Storage
from trichord.types import UserError
from trichord.types.extras import NotInstalledError


@pytest.mark.parametrize("what", [None, "apart"])
def test_a_collection_that_holds_its_text_towers_is_asked_anywhere(
    made, elsewhere, what, request, tmp_path
):
    model, collection = made(**(request.getfixturevalue(what) if what else {}))
    carry(collection, model)
    there = elsewhere(collection)
    shutil.rmtree(tmp_path / "collection")
    shutil.rmtree(tmp_path / "run")
    first = model_of(there)
    assert isinstance(first, QueryModel)
    assert first.fingerprint == model.fingerprint
    assert first.comparable == model.comparable
    same_vectors(first, model)
    kept = json.loads(next(there.storage.cache.glob("model-*.json")).read_text())
    assert all(Path(file).is_relative_to(there.path.absolute()) for file in kept["files"])
    same_vectors(model_of(there), model)  # by what was kept
    with pytest.raises(NotInstalledError, match="This needs torch"):
        _ = first.whole


def damaged(name, old, new):
    def damage(folder):
        file = folder / "texts" / name
        content = file.read_bytes()
        assert old in content
        file.write_bytes(content.replace(old, new, 1))

    return damage


DAMAGES = {
    "gone": lambda folder: (folder / "texts" / "text" / "model.safetensors").unlink(),
    "cut": lambda folder: (folder / "texts" / "made.json").write_text('{"fingerprint"'),
    "of another model": damaged("made.json", b'"fingerprint": "', b'"fingerprint": "0'),
    "other weights": damaged(
        "text/model.safetensors", b"final_layer_norm.bias", b"final_layer_norm.biaz"
    ),
    "other vectors": damaged("made.json", b'"vision": [[', b'"vision": [[1'),
    "another tokenizer": damaged("text/tokenizer.json", b'"BPE"', b'"Unigram"'),
    "a graph": damaged("made.json", b'"kind": "clip_text"', b'"kind": "graph"'),
    "no list of towers": damaged("made.json", b'"towers": {', b'"towers": 3, "other": {'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_gives_no_longer_the_models_vectors_is_not_asked(made, elsewhere, damage, monkeypatch):
    model, collection = made()
    carry(collection, model)
    there = elsewhere(collection)
    monkeypatch.setitem(shortcut.TOWERS, "graph", lambda *_: pytest.fail("a stranger's graph"))
    DAMAGES[damage](there.path)
    with pytest.raises(NotInstalledError):
        model_of(there)


def test_where_nothing_can_be_kept_it_is_tried_each_time(made, elsewhere, monkeypatch):
    def refuse(*_):
        raise UserError("no room")

    model, collection = made()
    carry(collection, model)
    there = elsewhere(collection)
    monkeypatch.setattr(shortcut, "write_atomically", refuse)
    for _ in range(2):
        same_vectors(model_of(there), model)
    assert not there.storage.cache.exists()


def test_graphs_are_not_carried(made, graphs):
    model, collection = made(**graphs)
    with pytest.raises(UserError, match=r"--portable: .* leave the option out"):
        carry(collection, model)
    assert not (collection.path / "texts" / "made.json").exists()


def test_a_bucket_holds_them_too(made, bucket, monkeypatch, tmp_path):
    model, collection = made()
    held = begin(bucket, collection.description.run, model, 4.0, None)
    carry(held, model)
    monkeypatch.setattr(collection_model, "embedder_of", lambda *_: pytest.fail("loaded"))
    for cache in ("one", "other"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
        same_vectors(model_of(Collection.open(bucket)), model)


def test_files_of_a_bucket_are_fetched_once(made, bucket, monkeypatch):
    model, collection = made()
    held = begin(bucket, collection.description.run, model, 4.0, None)
    carry(held, model)
    read, fetch = [], Storage.read
    monkeypatch.setattr(Storage, "read", lambda self, name: read.append(name) or fetch(self, name))
    for fetched in ({"config.json", "tokenizer.json", "model.safetensors"}, {"config.json"}, set()):
        read.clear()
        assert isinstance(model_of(Collection.open(bucket)), QueryModel)
        assert {Path(name).name for name in read if "texts/text/" in name} == fetched
        [kept] = held.storage.cache.glob("model-*.json")
        kept.unlink()
        if len(fetched) == 3:
            [config] = held.storage.cache.glob("carried-*/texts/text/config.json")
            config.unlink()
