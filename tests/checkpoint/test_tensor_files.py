"""Tensor files that prove themselves."""

import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from trichord.checkpoint.tensor_files import read_tensors, write_tensors

NOTES = {f"note {i}": f'"ü{i}"\n' for i in range(7)}
TENSORS = {
    "b": torch.arange(3.0),
    "a": torch.zeros(2, 2, dtype=torch.float16),
    "ü": torch.ones(5, dtype=torch.int64),
}


def test_the_same_tensors_and_notes_give_the_same_bytes_in_whatever_order(tmp_path):
    path, found = tmp_path / "x.safetensors", set()
    for turn in range(16):
        tensors, notes = (
            dict(reversed(one.items()) if turn % 2 else one.items()) for one in (TENSORS, NOTES)
        )
        write_tensors(path, tensors, notes)
        found.add(path.read_bytes())
    assert len(found) == 1
    again, notes = read_tensors(path)
    assert notes == NOTES
    assert again.keys() == TENSORS.keys()
    assert all(torch.equal(value, TENSORS[name]) for name, value in again.items())


def test_another_process_writes_the_same_bytes(tmp_path):
    script = """
import sys
from pathlib import Path
import torch
from trichord.checkpoint.tensor_files import write_tensors
notes = {name: name.upper() for name in sys.argv[2:]}
write_tensors(Path(sys.argv[1]), {"x": torch.arange(3.0)}, notes)
"""
    path, other = tmp_path / "x.safetensors", tmp_path / "other.safetensors"
    line = [sys.executable, "-c", script, str(other), *"abcdefgh"]
    subprocess.run(line, check=True)  # its strings have other hashes than those here
    write_tensors(path, {"x": torch.arange(3.0)}, {name: name.upper() for name in "abcdefgh"})
    assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("length", range(9))
def test_other_readers_find_tensors_at_multiples_of_eight_bytes(length, tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS, {"note": "x" * length})
    assert (8 + int.from_bytes(path.read_bytes()[:8], "little")) % 8 == 0
    assert all(torch.equal(value, TENSORS[name]) for name, value in load_file(path).items())
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["note"] == "x" * length
