"""Text towers as ONNX graphs by onnxruntime alone, against the towers that load them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from text_graphs import text_graphs, written

from trichord.config import ClapText, ClipText
from trichord.encoders import graph
from trichord.encoders.plain_graph import ALONE, FEATURES, PlainGraph
from trichord.encoders.plain_text import Source
from trichord.types.tensors import Padded

TEXTS = (
    "a red ball bounces",
    "ball",
    "It's 1,234 – naïve Ünïcode; 字 <pad> <|endoftext|> </s> and what follows",
    "a long sentence " * 40,
)


@pytest.fixture(
    scope="module", params=["clip", "clap", "words in eight bits", "clap in eight bits"]
)
def pair(request, tiny_towers, tmp_path_factory):
    """A tower that loads a graph, and what onnxruntime makes of it."""
    clip, clap = text_graphs(tiny_towers).values()
    root = tmp_path_factory.mktemp("graphs")
    words = ClipText(name=str(tiny_towers / "clip"), tokens=True, longest=32)
    told = {
        "clip": lambda: clip,
        "clap": lambda: clap,
        "words in eight bits": lambda: narrowed(words, root),
        "clap in eight bits": lambda: narrowed(ClapText(name=str(tiny_towers / "clap")), root),
    }[request.param]()
    tower = told.build()
    (root / "saved").write_text(tower.tokenizer.backend_tokenizer.to_str())
    source = Source(
        kind="graph", role="text", folder=told.name, files=[f"{told.name}.onnx"],
        longest=tower.max_tokens, end=getattr(tower, "end", None), pad=getattr(tower, "pad", None),
    )  # fmt: skip
    return tower, PlainGraph(source, root / "saved"), root / "saved"


def narrowed(tower, root):
    name = written(tower, root / "tower", eight_bit=True)
    return replace(tower, name=name, arithmetic="graph")


def vectors(tower, texts):
    ids = tower.prepare(list(texts))[:, None]
    there = torch.ones(len(texts), 1, dtype=torch.bool)
    with torch.inference_mode():
        return tower(tower.read(Padded(ids, there))).pooled.numpy()


def test_vectors_are_those_of_the_tower(pair):
    tower, plain, _ = pair
    np.testing.assert_allclose(plain.embed(TEXTS), vectors(tower, TEXTS), atol=2e-6)


def test_a_vector_does_not_depend_on_its_company(pair):
    _, plain, _ = pair
    alone = np.concatenate([plain.embed([text]) for text in TEXTS])
    assert np.array_equal(plain.embed(TEXTS), alone)


def test_a_damaged_graph_is_refused_once_it_is_needed(pair, tmp_path):
    _, plain, tokenizer = pair
    (tmp_path / "damaged.onnx").write_bytes(b"not one")
    damaged = PlainGraph(replace(plain.source, files=[str(tmp_path / "damaged.onnx")]), tokenizer)
    with pytest.raises(ValueError, match=r"damaged\.onnx is no graph"):
        damaged.embed(["a ball"])


def test_what_graphs_are_marked_with_is_what_export_marks_them_with():
    assert (FEATURES, ALONE) == (graph.FEATURES, graph.ALONE)
