"""The model of a collection: its text encoders where they are enough, or all of it."""

import pytest
import torch
from text_vectors import same_vectors

from trichord.api import collection_model, text_encoders
from trichord.api.collection import Collection as ApiCollection
from trichord.api.collection_model import model_of, persistent_model_of
from trichord.api.text_encoders import bundle_text_encoders, cache_text_encoders
from trichord.checkpoint import Progress, Run
from trichord.models.embedder import Embedder
from trichord.search.query_model import QueryModel
from trichord.types import UserError
from trichord.types.extras import NotInstalledError


def test_opening_a_collection_writes_its_text_encoders_once(made):
    model, collection = made()
    assert isinstance(model_of(collection), Embedder)
    with ApiCollection.open(collection.path) as first:
        assert isinstance(first.model.queries, Embedder)
    with ApiCollection.open(collection.path) as second:
        assert isinstance(second.model.queries, QueryModel)
        same_vectors(second.model.queries, model)
    assert isinstance(model_of(collection).embedder, Embedder)


def test_texts_find_what_was_indexed_when_the_run_has_changed_and_files_are_refused(made):
    model, collection = made()
    cache_text_encoders(collection, model)
    run = Run(collection.path.parent / "run")
    before = model.embed_text(["a dog"])
    with torch.no_grad():
        model.text.head.weight.mul_(torch.rand(24, 1))
    run.finish(model, run.experiment().objective.build(), Progress())
    found = model_of(collection)
    assert isinstance(found, QueryModel)
    assert abs(found.embed_text(["a dog"]) - before).max() < 1e-5
    with pytest.raises(UserError, match="holds vectors of other weights"):
        _ = found.embedder


def test_one_without_text_encoders_says_how_to_get_them(made, elsewhere):
    model, collection = made()
    cache_text_encoders(collection, model)
    with pytest.raises(NotInstalledError, match=r"--portable.* This needs torch") as error:
        model_of(elsewhere(collection))
    assert "\n" not in str(error.value)


def test_with_torch_a_model_for_a_long_time_is_whole(made):
    _, collection = made()
    assert isinstance(persistent_model_of(collection), Embedder)


def test_without_torch_it_is_the_bundled_text_encoders(made, elsewhere, monkeypatch):
    model, collection = made()
    bundle_text_encoders(collection, model)
    there = elsewhere(collection)
    monkeypatch.setattr(collection_model, "find_spec", lambda name: None)
    same_vectors(persistent_model_of(there), model)
    monkeypatch.setattr(text_encoders, "TextGraph", _not_installed)
    with pytest.raises(NotInstalledError, match=r"needs onnxruntime .*trichord\[search\]"):
        model_of(there)


def _not_installed(*_):
    raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
