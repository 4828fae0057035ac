import json

import pytest
import torch

from trichord.checkpoint import Run
from trichord.checkpoint.tensor_files import write_tensors
from trichord.training.reproduction import compare_runs, verdict


@pytest.fixture
def held(tmp_path):
    """Write a run of some epochs and tensors."""

    def write(name, epochs, tensors):
        run = Run(tmp_path / name)
        run.path.mkdir()
        lines = "".join(json.dumps(one) + "\n" for one in epochs)
        (run.path / "metrics.jsonl").write_text(lines)
        write_tensors(run.path / "weights.safetensors", tensors, {})
        return run

    return write


def epoch(number, loss, criterion=0.5, stage="s", **besides):
    return {"stage": stage, "epoch": number, "loss": loss, "criterion": criterion} | besides


WEIGHTS = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}


def test_the_same_numbers_and_bits_agree(held):
    epochs = [epoch(0, None), epoch(1, 0.1 + 0.2), epoch(2, float("nan"))]
    found = compare_runs(held("one", epochs, WEIGHTS), held("other", epochs, WEIGHTS))
    assert found.exact
    assert [one.difference for one in found.epochs[:2]] == [0, 0]
    assert verdict(found) == "Epochs whose numbers agree bit for bit: 3 of 3. Tensors: 2 of 2."


def test_the_last_bit_counts(held):
    one, other = [epoch(1, 0.1 + 0.2)], [epoch(1, 0.3)]
    changed = WEIGHTS | {"a": torch.nextafter(WEIGHTS["a"], torch.tensor(9.0))}
    found = compare_runs(held("one", one, WEIGHTS), held("other", other, changed))
    assert not found.exact
    assert found.epochs[0].difference == (0.1 + 0.2) - 0.3
    assert found.differences == {"a": 2**-22}  # of 2: its last bit
    zeros = WEIGHTS | {"a": torch.zeros(2)}
    minus = WEIGHTS | {"a": -torch.zeros(2)}
    found = compare_runs(held("plus", one, zeros), held("minus", one, minus))
    assert found.differences == {"a": 0.0}  # equal numbers, other bits
    assert not found.exact


def test_what_one_of_them_lacks_is_infinitely_far_apart(held):
    one = held("one", [epoch(0, 1.0), epoch(1, 2.0)], WEIGHTS)
    other = held("other", [epoch(0, 1.0)], {"a": torch.ones(3), "c": torch.ones(1)})
    found = compare_runs(one, other)
    assert found.differences == dict.fromkeys("abc", float("inf"))
    assert [(e.number, e.exact, e.difference) for e in found.epochs] == [
        (0, True, 0),
        (1, False, float("inf")),
    ]


def test_validation_numbers_count_and_those_that_older_runs_lack_do_not(held):
    one = held("one", [epoch(1, 1.0, validation={"x": 0.5})], WEIGHTS)
    other = held("other", [epoch(1, 1.0, validation={"x": 0.25})], WEIGHTS)
    assert not compare_runs(one, other).exact
    newer = held("newer", [epoch(1, 1.0, validation={"x": 0.5}, skipped=0, empty=0)], WEIGHTS)
    assert compare_runs(one, newer).exact


def test_stages_of_the_same_name_are_told_apart(held):
    epochs = [epoch(0, 1.0), epoch(1, 2.0), epoch(0, 3.0), epoch(1, 4.0)]
    found = compare_runs(held("one", epochs, WEIGHTS), held("other", epochs, WEIGHTS))
    assert [one.original["loss"] for one in found.epochs] == [1.0, 2.0, 3.0, 4.0]
    assert found.exact
