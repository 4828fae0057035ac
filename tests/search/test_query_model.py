from dataclasses import replace

import numpy as np
import pytest

from trichord.encoders.text_graph import TextGraph
from trichord.search.query_model import QueryModel, full_model
from trichord.types.comparable import ALL_PAIRS


class Long(TextGraph):
    """A text tower that says how long texts are, times a number."""

    def __init__(self, times):
        self.times = times

    def embed(self, texts):
        return np.array([[float(self.times * len(text))] for text in texts], np.float32)


def test_texts_are_read_without_the_model():
    model = QueryModel(
        "mark", Long(1), None, lambda: pytest.fail("loaded"), reranks=False, one_space=True
    )
    assert (model.fingerprint, model.texts_differ, model.fusion) == ("mark", False, None)
    assert model.comparable == ALL_PAIRS
    assert model.embed_text(["ab", "abc"], "audio").tolist() == [[2.0], [3.0]]


def test_a_text_tower_of_its_own_reads_what_sound_is_compared_with():
    model = QueryModel(
        "mark", Long(1), Long(10), lambda: pytest.fail("loaded"), reranks=False, one_space=False
    )
    assert model.texts_differ
    assert model.compares("vision", "text")
    assert not model.compares("vision", "audio")
    assert model.embed_text(["ab"]).tolist() == [[2.0]]
    assert model.embed_text(["ab"], "vision").tolist() == [[2.0]]
    assert model.embed_text(["ab"], "audio").tolist() == [[20.0]]
    assert replace(model, one_space=True).compares("vision", "audio")


def test_the_model_is_loaded_once_for_all_else(tiny_model):
    loaded = []
    tiny_model.fusion = None
    load = lambda: (loaded.append(1), tiny_model)[1]  # noqa: E731
    model = QueryModel("mark", Long(1), None, load, reranks=True, one_space=True)
    assert full_model(model) is tiny_model
    assert full_model(model) is tiny_model
    assert model.fusion is None  # asked of the model
    assert loaded == [1]


def test_a_model_is_the_whole_of_itself(tiny_model):
    assert full_model(tiny_model) is tiny_model
