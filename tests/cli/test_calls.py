"""How many functions of the package a value goes through, counted where the loss is computed."""

import traceback
from pathlib import Path

import torch.nn.functional as F  # noqa: N812

import trichord

PACKAGE = str(Path(trichord.__file__).parent)


def test_seven_calls_lead_from_the_command_to_the_loss(small_world, command, tmp_path, monkeypatch):
    stacks, cross_entropy = [], F.cross_entropy

    def watched(*given, **named):
        stacks.append([one for one in traceback.extract_stack() if PACKAGE in one.filename])
        return cross_entropy(*given, **named)

    monkeypatch.setattr(F, "cross_entropy", watched)
    few = "--stages.0.epochs 1 --stages.0.batch-size 16"
    assert command(f"train world-slava-av {small_world}/clips.jsonl {tmp_path}/run {few}") == 0
    calls = [frame.name for frame in stacks[0] if "jaxtyping" not in frame.filename]
    assert calls == ["main", "train", "fit", "run_stage", "forward", "forward", "info_nce"]
    assert len({frame.filename for frame in stacks[0]}) <= 8
