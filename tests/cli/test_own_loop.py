"""The training loop of one's own in `docs/how-to/python.md`, as it stands there, and `trichord.fit`."""

import re
from pathlib import Path

import pytest
import torch

import trichord
from trichord.checkpoint import Run, fresh_model
from trichord.experiments import load_experiment
from trichord.types import UserError

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "python.md"


def test_the_loop_is_short_and_lowers_the_loss(small_world):
    text = PAGE.read_text().split("<!-- a loop of one's own -->")[1]
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    found = {}
    exec(code.replace("demo/clips.jsonl", str(small_world / "clips.jsonl")), found)
    before, objective = fresh_model(found["experiment"]), found["objective"]

    def loss(model):
        with torch.no_grad():
            terms = objective(model(found["batch"]), found["sample"].terms)
        return torch.stack(list(terms.values())).sum()

    assert loss(found["embedder"]) < loss(before)
    trunks = [found["embedder"].vision.trunk, before.vision.trunk]
    weights = [list(one.state_dict().values()) for one in trunks]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_fit_gives_the_run_of_the_command_bit_for_bit(small_world, command, tmp_path):
    manifest, few = small_world / "clips.jsonl", "--stages.0.epochs 2 --stages.0.batch-size 16"
    assert command(f"train world-slava-av {manifest} {tmp_path}/one {few}") == 0
    told, threads = [], torch.get_num_threads()
    experiment = load_experiment(f"{tmp_path}/one/experiment.json")
    run = trichord.fit(experiment, manifest, tmp_path / "two", after_epoch=told.append)
    assert torch.get_num_threads() == threads
    assert [numbers["epoch"] for numbers in told] == [0, 1, 2]
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    assert Run(run).weighting == Run(tmp_path / "one").weighting
    assert trichord.fit(experiment, manifest, run) == run  # complete: nothing is done


def test_fit_refuses_as_the_command_does(tmp_path):
    with pytest.raises(UserError, match="there is no experiment 'slava'"):
        trichord.fit("slava", tmp_path / "clips.jsonl", tmp_path / "run")
