import sys

import pytest
import torch

from trichord.encoders.graph import Graph, Sizes
from trichord.types import UserError


class Doubled:
    """A session that doubles token ids into features, and notes what it is given at once."""

    def __init__(self, words):
        self.words, self.given = words, []

    def get_inputs(self):
        return [type("Input", (), {"name": "steps"})()]

    def run(self, names, inputs):
        assert names == ["features"]
        [ids] = inputs.values()
        self.given.append(ids.tolist())
        return [
            (2.0 * ids[:, :, None] if self.words else 2.0 * ids.sum(1, keepdims=True)).astype("f4")
        ]


@pytest.fixture
def graph(tmp_path):
    """A graph whose texts end at the first 9."""
    (tmp_path / "text.onnx").write_bytes(b"not one")
    return Graph(str(tmp_path / "text"), lambda ids: (ids == 9).int().argmax(1) + 1)


IDS = torch.tensor([[1, 9, 9], [2, 3, 9]])


@pytest.mark.parametrize("words", [False, True])
def test_texts_are_read_together_or_one_by_one_without_their_padding(graph, words):
    graph.session = session = Doubled(words)
    graph.alone = False
    together = graph(IDS)
    assert session.given == [IDS.tolist()]
    graph.alone, session.given = True, []
    alone = graph(IDS)
    assert session.given == [[[1, 9]], [[2, 3, 9]]]
    assert alone.shape == together.shape
    if words:
        assert alone[:, :, 0].tolist() == [[2, 18, 0], [4, 6, 18]]
    else:
        assert alone[:, 0].tolist() == [20, 28]


def test_its_file_tells_graphs_apart(graph, tmp_path):
    (tmp_path / "other.onnx").write_bytes(b"another")
    assert list(graph.state_dict()) == ["digest"]
    assert not torch.equal(graph.digest, Graph(str(tmp_path / "other")).digest)


def test_a_damaged_graph_is_told(graph):
    with pytest.raises(UserError, match=r"text\.onnx is damaged .*: repeat 'trichord export'"):
        graph(IDS)


def test_without_its_runtime_the_extra_is_named(graph, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"text\.onnx needs onnxruntime: .*trichord\[export\]"):
        graph(IDS)


def test_sizes_are_kept_beside_it(graph, tmp_path):
    sizes = Sizes(dim=3, width=3, positions=7)
    sizes.write(tmp_path / "text")
    assert Sizes.beside(str(tmp_path / "text")) == sizes


@pytest.mark.parametrize("name", ["stand-in-clip", "openai/no-such-model"])
def test_a_tower_without_a_graph_says_where_graphs_come_from(name):
    with pytest.raises(UserError, match=r"\.onnx is missing: 'trichord export' makes it"):
        Graph(name)
