"""The model of a collection: its text towers where they are enough, or all of it."""

from dataclasses import replace

import pytest
import torch
from text_vectors import same_vectors

from trichord.api import collection_model
from trichord.api.carried import carry
from trichord.api.collection_model import lasting_model_of, model_of
from trichord.api.shortcut import keep
from trichord.checkpoint import Progress, Run
from trichord.models.embedder import Embedder
from trichord.search.collection import Collection
from trichord.search.description import written
from trichord.search.indexing import begin
from trichord.search.query_model import QueryModel
from trichord.types import UserError
from trichord.types.extras import NotInstalledError


def test_the_first_load_keeps_it(made):
    _, collection = made()
    assert isinstance(model_of(collection), Embedder)
    assert isinstance(model_of(collection), QueryModel)
    assert isinstance(model_of(collection).whole, Embedder)


def test_a_run_of_other_weights_is_refused_as_before(made):
    model, collection = made()
    keep(collection, model)
    run = Run(collection.path.parent / "run")
    with torch.no_grad():
        model.text.head.weight.mul_(2)
    run.finish(model, run.experiment().objective.build(), Progress())
    with pytest.raises(UserError, match="holds vectors of other weights"):
        model_of(collection)


def test_one_that_holds_none_says_how_it_would(made, elsewhere):
    model, collection = made()
    keep(collection, model)
    with pytest.raises(NotInstalledError, match=r"--portable.* This needs torch") as told:
        model_of(elsewhere(collection))
    assert "\n" not in str(told.value)


def test_with_torch_a_model_that_lasts_is_whole(made):
    model, collection = made()
    carry(collection, model)
    assert isinstance(lasting_model_of(collection), Embedder)


def test_without_it_stands_what_the_collection_holds(made, elsewhere, monkeypatch):
    model, collection = made()
    carry(collection, model)
    monkeypatch.setattr(collection_model, "find_spec", lambda name: None)
    same_vectors(lasting_model_of(elsewhere(collection)), model)


@pytest.mark.parametrize("fingerprint", ["../../x", "", "a" * 23 + "\n", "A" * 24])
def test_what_is_no_fingerprint_is_no_part_of_a_path(made, place, tmp_path, fingerprint):
    model, collection = made()
    held = begin(place, collection.description.run, model, 4.0, None)
    carry(held, model)
    before = {*tmp_path.rglob("*")}
    forged = replace(held.description, fingerprint=fingerprint)
    held.storage.write("collection.json", written(forged))
    told = held.storage.read("texts/made.json").decode()
    held.storage.write("texts/made.json", told.replace(model.fingerprint, fingerprint))
    with pytest.raises(UserError, match=r"is damaged \(impossible fingerprint.*index anew") as said:
        model_of(Collection.open(place))
    assert place in str(said.value)
    assert "\n" not in str(said.value)
    assert {*tmp_path.rglob("*")} == before
