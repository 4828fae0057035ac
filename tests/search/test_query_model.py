import numpy as np
import pytest

from trichord.encoders.plain_text import PlainText
from trichord.search.query_model import QueryModel, whole


@pytest.fixture
def text(monkeypatch):
    """A text tower that says how long texts are."""
    plain = object.__new__(PlainText)
    lengths = lambda texts: np.array([[float(len(text))] for text in texts], np.float32)  # noqa: E731
    monkeypatch.setattr(plain, "embed", lengths, raising=False)
    return plain


def test_texts_are_read_without_the_model(text):
    model = QueryModel("mark", text, lambda: pytest.fail("loaded"), reranks=False)
    assert (model.fingerprint, model.aligned, model.fusion) == ("mark", True, None)
    assert model.embed_text(["ab", "abc"], "audio").tolist() == [[2.0], [3.0]]


def test_the_model_is_loaded_once_for_all_else(text, tiny_model):
    loaded = []
    tiny_model.fusion = None
    model = QueryModel("mark", text, lambda: (loaded.append(1), tiny_model)[1], reranks=True)
    assert whole(model) is tiny_model
    assert whole(model) is tiny_model
    assert model.fusion is None  # asked of the model
    assert loaded == [1]


def test_a_model_is_the_whole_of_itself(tiny_model):
    assert whole(tiny_model) is tiny_model
