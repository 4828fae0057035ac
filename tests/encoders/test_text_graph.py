"""Text encoders as ONNX graphs, against the encoders in torch."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from outside import BagOfWords
from text_graphs import written
from tokenizers import Tokenizer, models, pre_tokenizers

from trichord.config import ClapText, ClipText
from trichord.encoders.text_graph import TextGraph
from trichord.exporting import graphs
from trichord.exporting.graphs import write_text_graph
from trichord.types import UserError
from trichord.types.tensors import Padded

TEXTS = (
    "a red ball bounces",
    "ball",
    "It's 1,234 – naïve Ünïcode; 字 <pad><pad> in the middle",
    "one <|endoftext|> </s> and what follows",
    "  two   blanks\tand\nlines ",
    "a long sentence " * 40,
)


def trained(encoder):
    """The encoder with a head and a trunk that no folder of weights has."""
    with torch.no_grad():
        for value in encoder.parameters():
            value.add_(0.1 * torch.sin(torch.arange(value.numel())).reshape(value.shape))
    return encoder


def exported(config, folder, **how):
    """The encoder as `trichord export` writes it."""
    name = written(config, folder, **how)
    return replace(config, name=name, arithmetic="graph").build()


def shared(config):
    """Where the graph of a tower as it comes lies for all tests, as `text_graphs` has it."""
    return Path(f"{config.name}-graph")


KINDS = {
    "clip": lambda clip, clap, folder: clip.build(),
    "clip, trained": lambda clip, clap, folder: trained(clip.build()),
    "clip, features of all tokens": lambda clip, clap, folder: trained(
        replace(clip, tokens=True, longest=32).build()
    ),
    "clap": lambda clip, clap, folder: clap.build(),
    "clap, trained": lambda clip, clap, folder: trained(clap.build()),
    "clip, exported": lambda clip, clap, folder: exported(clip, shared(clip)),
    "clip, all tokens in eight bits": lambda clip, clap, folder: exported(
        replace(clip, tokens=True, longest=32), folder / "exported", eight_bit=True
    ),
    "clap in eight bits": lambda clip, clap, folder: exported(
        clap, folder / "exported", eight_bit=True
    ),
}

DEFAULT = (
    "clip, features of all tokens", "clap, trained", "clip, exported", "clap in eight bits",
)  # fmt: skip
"""Between them, each family, each head and each form."""


@pytest.fixture(
    scope="module",
    params=[
        kind if kind in DEFAULT else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS
    ],
)
def pair(request, tiny_towers, tmp_path_factory):
    """An encoder in torch, and as a graph; the files of the graph."""
    folder = tmp_path_factory.mktemp("graph")
    clip, clap = ClipText(name=str(tiny_towers / "clip")), ClapText(name=str(tiny_towers / "clap"))
    encoder = KINDS[request.param](clip, clap, folder)
    files = folder / "text.onnx", folder / "tokenizer.json"
    write_text_graph(encoder, *files)
    return encoder, TextGraph(*files, getattr(encoder, "end", None)), files


def vectors(encoder, texts):
    ids = encoder.prepare(list(texts))[:, None]
    present = torch.ones(len(texts), 1, dtype=torch.bool)
    with torch.inference_mode():
        return encoder(encoder.trunk_features(Padded(ids, present))).pooled.numpy()


def test_vectors_are_those_of_the_encoder(pair):
    encoder, graph, _ = pair
    np.testing.assert_allclose(graph.embed(TEXTS), vectors(encoder, TEXTS), atol=2e-6)


def test_a_vector_depends_neither_on_other_texts_nor_on_padding(pair):
    encoder, graph, _ = pair
    alone = np.concatenate([graph.embed([text]) for text in TEXTS])
    assert np.array_equal(graph.embed(TEXTS), alone)
    for text, vector in zip(TEXTS, alone, strict=True):
        np.testing.assert_allclose(vectors(encoder, [text, TEXTS[-1]])[0], vector, atol=2e-6)


def test_texts_that_are_cut_are_counted(pair):
    encoder, graph, _ = pair
    texts = [*TEXTS, "a word and a word and " * 40]
    assert graph.count_cut(texts) == encoder.count_cut(texts) > 0
    assert graph.count_cut(["x"]) == 0


def test_what_no_text_can_hold_is_read_as_a_question_mark(pair):
    _, graph, _ = pair
    assert np.array_equal(graph.embed(["a\udcff"]), graph.embed(["a?"]))


def test_weights_have_a_file_of_their_own_and_no_file_names_source_files(pair):
    _, _, (graph, _) = pair
    assert graph.with_name("text.onnx.data").stat().st_size > 50_000
    assert b".py" not in graph.read_bytes()


@pytest.fixture
def copied(pair, tmp_path):
    """A folder with the files of a graph, to be changed."""
    _, _, (graph, _) = pair
    inside = tmp_path / "inside"
    inside.mkdir()
    for file in graph.parent.glob("t*"):
        shutil.copy(file, inside)
    TextGraph(inside / "text.onnx", inside / "tokenizer.json")
    return inside


@pytest.mark.parametrize("name", ["text.onnx", "text.onnx.data", "tokenizer.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_missing_and_damaged_files_are_refused(copied, name, content):
    (copied / name).unlink()
    if content is not None:
        (copied / name).write_bytes(content)
    with pytest.raises(ValueError, match="cannot be loaded"):
        TextGraph(copied / "text.onnx", copied / "tokenizer.json")


def test_a_graph_with_an_operator_of_its_own_is_refused(copied):
    model = onnx.load(copied / "text.onnx", load_external_data=False)
    model.graph.node[0].domain = "com.example"
    model.opset_import.add(domain="com.example", version=1)
    onnx.save(model, copied / "text.onnx")
    with pytest.raises(ValueError, match="cannot be loaded"):
        TextGraph(copied / "text.onnx", copied / "tokenizer.json")


def test_a_graph_reads_no_file_outside_its_folder(copied):
    shutil.move(copied / "text.onnx.data", copied.parent / "text.onnx.data")
    model = onnx.load(copied / "text.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../text.onnx.data"
    onnx.save(model, copied / "text.onnx")
    with pytest.raises(ValueError, match="cannot be loaded"):
        TextGraph(copied / "text.onnx", copied / "tokenizer.json")


def test_half_precision_and_other_tokenizers_cannot_be_written(tiny_towers, tmp_path):
    encoder = ClipText(name=str(tiny_towers / "clip")).build()
    encoder.set_arithmetic("bfloat16")
    with pytest.raises(UserError, match="half precision"):
        write_text_graph(encoder, tmp_path / "a.onnx", tmp_path / "a.json")
    encoder.set_arithmetic("float32")
    encoder.tokenizer = object()
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        write_text_graph(encoder, tmp_path / "a.onnx", tmp_path / "a.json")


def test_what_torch_cannot_write_is_one_line(tiny_towers, tmp_path):
    encoder = ClipText(name=str(tiny_towers / "clip")).build()
    encoder.trunk.forward = lambda ids: encoder.trunk.model(ids[:, : int(ids.sum())]).pooler_output
    with pytest.raises(UserError, match="torch cannot write its text encoder as ONNX") as error:
        write_text_graph(encoder, tmp_path / "a.onnx", tmp_path / "a.json")
    assert "\n" not in str(error.value)


def test_a_damaged_exported_graph_cannot_be_written(tiny_towers, tmp_path):
    clip = ClipText(name=str(tiny_towers / "clip"))
    encoder = exported(clip, shared(clip))
    encoder.trunk.file = tmp_path / "damaged.onnx"
    encoder.trunk.file.write_bytes(b"none")
    with pytest.raises(UserError, match=r"damaged\.onnx is damaged"):
        write_text_graph(encoder, tmp_path / "a.onnx", tmp_path / "a.json")


def test_the_exporter_needs_no_more_than_the_extra_has():
    assert set(graphs.PACKAGES) <= {"onnx", "onnxscript", "onnxruntime"}


class Words(BagOfWords):
    """An encoder from outside, with a plain tokenizer and without a limit."""

    def __init__(self):
        super().__init__()
        words = {"[PAD]": 0, "[UNK]": 1, "a": 2, "ball": 3, "sentence": 4, "red": 5}
        self.tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()

    def prepare(self, texts):
        rows = [one.ids for one in self.tokenizer.encode_batch(texts)]
        longest = max(1, *map(len, rows))
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


def test_an_encoder_with_a_plain_tokenizer_and_no_limit_reads_texts_of_any_length(tmp_path):
    encoder = Words().eval()
    files = tmp_path / "text.onnx", tmp_path / "tokenizer.json"
    write_text_graph(encoder, *files)
    found = TextGraph(*files).embed(TEXTS)
    np.testing.assert_allclose(found, vectors(encoder, TEXTS), atol=1e-6)
