"""Weights as they lie in safetensors files."""

import json

import pytest
import torch
from safetensors.torch import save_file

from trichord.encoders.plain_weights import StoredWeights, mapped, weights_of


def test_numbers_that_numpy_lacks_and_other_files_are_refused(tmp_path):
    save_file({"a": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="a is in BF16"):
        mapped(tmp_path / "b.safetensors", ("a",))
    (tmp_path / "c.safetensors").write_bytes(b"no safetensors at all")
    with pytest.raises(ValueError, match=r"c\.safetensors is no safetensors file"):
        mapped(tmp_path / "c.safetensors", ("a",))


def test_weights_are_mapped_as_they_lie(tmp_path):
    there = {"a.x": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2), "a.ids": torch.arange(4)}
    save_file(there, tmp_path / "t.safetensors")
    found = mapped(tmp_path / "t.safetensors", ("a.",))
    assert list(found) == ["a.x"]
    assert found["a.x"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_run_lies_over_the_model_and_only_its_own_tower_is_taken(tmp_path):
    first = {"text_model.a": torch.zeros(2), "text_projection.weight": torch.zeros(3)}
    save_file(first | {"vision_model.a": torch.ones(1)}, tmp_path / "model.safetensors")
    over = {"model.sound_text.head.weight": torch.ones(3), "model.text.head.weight": -torch.ones(3)}
    save_file(over | {"model.text.trunk.model.a": torch.full((2,), 5.0)}, tmp_path / "run")
    files = [tmp_path / "model.safetensors", tmp_path / "run"]
    sound = StoredWeights(files, "sound_text")
    assert (sound("a").tolist(), sound("head.weight").tolist()) == ([0, 0], [1, 1, 1])
    text = StoredWeights(map(str, files))
    assert (text("a").tolist(), text("head.weight").tolist()) == ([5, 5], [-1, -1, -1])
    with pytest.raises(KeyError):
        text("b")


def test_weights_lie_in_one_file_or_in_shards(tmp_path):
    with pytest.raises(ValueError, match="has no safetensors"):
        weights_of(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ValueError, match="has no safetensors"):
        weights_of(tmp_path)
    for file in ("a.safetensors", "b.safetensors"):
        (tmp_path / file).touch()
    index = {"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "a.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights_of(tmp_path) == [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    (tmp_path / "model.safetensors").touch()
    assert weights_of(tmp_path) == [tmp_path / "model.safetensors"]
