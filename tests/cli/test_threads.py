"""Commands choose how many threads torch has, in their own process."""

import ast
from pathlib import Path

import pytest
import torch

import trichord
from trichord.api.model import embedder_of
from trichord.cli import threads
from trichord.cli.threads import leave_cores, load_embedder


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("limit", "count"), [(10**7, 1), (10, 2)])
def test_small_towers_are_read_on_one_thread(monkeypatch, limit, count):
    monkeypatch.setattr(threads, "SMALL_TOWER", limit)
    load_embedder("world-clip-clap")
    assert torch.get_num_threads() == count


def test_whoever_loads_a_model_without_a_command_keeps_the_threads():
    embedder_of("world-clip-clap")
    assert torch.get_num_threads() == 2


def test_decoders_are_left_their_cores(monkeypatch):
    monkeypatch.setattr(threads, "threads_beside", lambda decoders: 4 - decoders)
    leave_cores(3, "cuda")
    assert torch.get_num_threads() == 2
    leave_cores(1, "cpu")
    assert torch.get_num_threads() == 2
    leave_cores(3, "cpu")
    assert torch.get_num_threads() == 1


def test_only_commands_set_the_threads_of_the_process_for_good():
    root = Path(trichord.__file__).parent
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "set_num_threads"
    }
    assert found == {"types/threads.py"}
    # Only a command has a process of its own.
    assert {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if "set_torch_threads" in path.read_text()
    } == {
        "types/threads.py", "cli/threads.py", "cli/reproduction.py",
    }  # fmt: skip
