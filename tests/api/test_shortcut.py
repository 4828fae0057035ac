"""The short cut from a text to its vector: taken only where it leads to the model's own."""

import json
import os
import shutil
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from model_hub import ModelHub
from text_vectors import TEXTS, same_vectors

from trichord.api import collection_model, shortcut
from trichord.api.collection_model import model_of
from trichord.api.shortcut import keep
from trichord.checkpoint import Run
from trichord.config import ClapText, Cross, Experiment
from trichord.encoders.plain_clap import PlainClap
from trichord.experiments import EXPERIMENTS
from trichord.media import Decoder
from trichord.models.embedder import Embedder
from trichord.search.collection import Collection
from trichord.search.engine import SearchEngine
from trichord.search.indexing import index
from trichord.search.query import Query
from trichord.search.query_model import QueryModel
from trichord.types import UserError


@pytest.fixture
def hub(tiny_towers, tmp_path, monkeypatch):
    """The tiny towers at names of a hub, in the cache on this machine."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("clip", "clap"):
        place = tmp_path / "hub" / f"models--made--{name}"
        shutil.copytree(tiny_towers / name, place / "snapshots" / "abc")
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("abc")
    return tmp_path / "hub"


def at_hub(model):
    clip, clap = "made/clip", "made/clap"
    return {
        "text": replace(model.text, name=clip),
        "vision": replace(model.vision, name=clip),
        "audio": replace(model.audio, name=clap),
        "sound_text": ClapText(name=clap),
    }


def test_texts_have_the_models_vectors_without_the_model(made, monkeypatch):
    model, collection = made()
    keep(collection, model)
    monkeypatch.setattr(collection_model, "embedder_of", lambda *_: pytest.fail("loaded"))
    short = model_of(collection)
    assert isinstance(short, QueryModel)
    assert short.fingerprint == model.fingerprint
    assert abs(short.embed_text(TEXTS) - model.embed_text(TEXTS)).max() < 1e-5


@pytest.mark.parametrize("what", [None, "apart", "graphs"])
def test_searches_by_text_and_by_file_are_those_of_the_model(made, folder, what, request):
    model, collection = made(**(request.getfixturevalue(what) if what else {}))
    with Decoder(workers=1) as decoder:
        list(index(collection, model, decoder, [folder]))
        keep(collection, model)
        collection = Collection.open(collection.path)
        engines = [SearchEngine(collection, one, decoder) for one in (model, model_of(collection))]
        for query in (Query.of("a dog"), Query.of("a dog", image=folder / "still.png")):
            one, other = (engine.search(query) for engine in engines)
            assert [hit.moment for hit in one] == [hit.moment for hit in other]
            assert [hit.score for hit in one] == pytest.approx(
                [hit.score for hit in other], abs=1e-4
            )


@pytest.mark.parametrize("name", ["weights.safetensors", "experiment.json"])
def test_a_changed_run_is_loaded_anew(made, name):
    model, collection = made()
    keep(collection, model)
    path = Run(collection.path.parent / "run").path / name
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert isinstance(model_of(collection), Embedder)
    assert isinstance(model_of(collection), QueryModel)  # kept again


@pytest.mark.parametrize("kind", ["json", "tokenizer"])
@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"versions": 3}'])
def test_what_is_damaged_is_made_again(made, kind, content):
    model, collection = made()
    keep(collection, model)
    [path] = collection.storage.cache.glob(f"model-*.{kind}")
    path.write_text(content)
    assert isinstance(model_of(collection), Embedder)
    assert isinstance(model_of(collection), QueryModel)


def test_another_version_of_the_packages_loads_the_model(made, monkeypatch):
    model, collection = made()
    keep(collection, model)
    monkeypatch.setattr(shortcut, "version", lambda name: "another")
    assert isinstance(model_of(collection), Embedder)


def test_a_tower_that_numpy_gets_wrong_has_no_short_cut(made, monkeypatch):
    model, collection = made()
    monkeypatch.setattr(shortcut, "NEAR", -1.0)
    keep(collection, model)
    assert not list(collection.storage.cache.glob("*.json"))
    assert isinstance(model_of(collection), Embedder)


def test_a_fusion_that_reads_pairs_is_loaded_for_a_text(made, tiny_trimodal):
    fusion = Cross(level="local_to_local", from_text=False, heads=2, layers=1)
    text = replace(tiny_trimodal.text, tokens=True, longest=32)
    model, collection = made(text=text, fusion=fusion)
    keep(collection, model)
    short = model_of(collection)
    assert isinstance(short, QueryModel)
    with Decoder(workers=1) as decoder:
        SearchEngine(collection, short, decoder).search(Query.of("a dog"), rerank=0)
    assert "whole" not in vars(short)
    assert short.fusion is not None
    assert "whole" in vars(short)


def test_a_collection_that_cannot_be_written_to_goes_without(made, monkeypatch):
    def refuse(*_):
        raise UserError("no room")

    model, collection = made()
    monkeypatch.setattr(shortcut, "write_atomically", refuse)
    keep(collection, model)
    assert isinstance(model_of(collection), Embedder)


@pytest.mark.parametrize("what", ["apart", "graphs"])
def test_two_text_towers_are_each_their_own(made, what, request, monkeypatch):
    model, collection = made(**request.getfixturevalue(what))
    keep(collection, model)
    monkeypatch.setattr(collection_model, "embedder_of", lambda *_: pytest.fail("loaded"))
    short = model_of(collection)
    assert not short.compares("audio", "vision")
    same_vectors(short, model)
    seen, heard = (short.embed_text(TEXTS, toward) for toward in ("vision", "audio"))
    assert np.abs(seen - heard).max() > 0.01


def test_a_wrong_tower_towards_sound_has_no_short_cut(made, apart, monkeypatch):
    model, collection = made(**apart)
    monkeypatch.setattr(PlainClap, "_vector", lambda self, ids: np.ones(24, np.float32))
    keep(collection, model)
    assert not list(collection.storage.cache.glob("*.json"))


def test_a_kind_of_tower_that_nothing_stands_for_has_no_short_cut(made, apart, monkeypatch):
    model, collection = made(**apart)
    monkeypatch.delitem(shortcut.TOWERS, "clap_text")
    keep(collection, model)
    assert not list(collection.storage.cache.glob("*.json"))


def test_a_changed_graph_is_loaded_anew(made, graphs):
    model, collection = made(**graphs)
    keep(collection, model)
    for name, tower in graphs.items():
        path = Path(f"{tower.name}.onnx")
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        assert isinstance(model_of(collection), Embedder), name
        assert isinstance(model_of(collection), QueryModel)


def test_a_runtime_that_has_gone_loads_the_model(made, graphs, monkeypatch):
    model, collection = made(**graphs)
    keep(collection, model)

    def gone(name):
        if name == "onnxruntime":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(shortcut, "version", gone)
    assert isinstance(model_of(collection), Embedder)


def test_towers_of_a_hub_are_those_that_its_name_means(made, hub, tiny_trimodal):
    model, collection = made(**at_hub(tiny_trimodal))
    keep(collection, model)
    short = model_of(collection)
    assert isinstance(short, QueryModel)
    same_vectors(short, model)
    shutil.copytree(
        hub / "models--made--clap" / "snapshots" / "abc",
        hub / "models--made--clap" / "snapshots" / "other",
    )
    (hub / "models--made--clap" / "refs" / "main").write_text("other")
    assert isinstance(model_of(collection), Embedder)
    assert isinstance(model_of(collection), QueryModel)


@pytest.mark.parametrize(("state", "short"), [("sharded", True), ("bin", False)])
def test_weights_of_a_hub_lie_in_shards_or_in_a_pickle(
    made, hub, tiny_towers, tiny_trimodal, state, short
):
    model, collection = made(**at_hub(tiny_trimodal))
    for name in ("clip", "clap"):
        place = hub / f"models--made--{name}" / "snapshots" / "abc"
        shutil.rmtree(place)
        there = ModelHub(hub.parent / state)
        there.publish(name, tiny_towers / name, state)
        shutil.copytree(there.folder(name, "main"), place)
    keep(collection, model)
    found = model_of(collection)
    assert isinstance(found, QueryModel if short else Embedder)
    same_vectors(found, model)


def test_an_experiment_that_starts_from_a_run_has_none(monkeypatch):
    experiment = Experiment(system="made", start=Path("somewhere"))
    monkeypatch.setitem(EXPERIMENTS, "started", ("", experiment))
    with pytest.raises(ValueError, match="No short cut"):
        shortcut._origin("started")


def test_it_names_every_file_that_the_vectors_are_of(made, tiny_towers):
    model, collection = made()
    keep(collection, model)
    [path] = collection.storage.cache.glob("model-*.json")
    named = set(json.loads(path.read_text())["files"])
    run = collection.path.parent / "run"
    towers = {str(tiny_towers / tower / "model.safetensors") for tower in ("clip", "clap")}
    assert {str(run / "weights.safetensors"), str(run / "experiment.json")} | towers <= named


def test_it_names_every_graph(made, graphs):
    model, collection = made(**graphs)
    keep(collection, model)
    [path] = collection.storage.cache.glob("model-*.json")
    named = set(json.loads(path.read_text())["files"])
    for tower in graphs.values():
        assert {f"{tower.name}.onnx", f"{tower.name}/tokenizer.json"} <= named
