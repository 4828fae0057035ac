"""Encoders of kind features-…: vectors in files, no weights."""

import json

import numpy as np
import pytest

FEW = "--stages.0.epochs 2 --stages.0.batch-size 16"
WIDTH = 7


@pytest.fixture
def vectors(small_world, tmp_path):
    """A folder with features of the clips' frames in two files."""
    folder = tmp_path / "vectors"
    folder.mkdir()
    random = np.random.default_rng(0)
    lines = (small_world / "clips.jsonl").read_text().splitlines()
    made = {json.loads(line)["id"]: random.normal(size=(3, WIDTH)) for line in lines}
    half = len(made) // 2
    np.savez(folder / "a.npz", **dict(list(made.items())[:half]))
    np.savez(folder / "b.npz", **dict(list(made.items())[half:]))
    return folder


@pytest.fixture
def options(vectors):
    return (
        f"--model.vision features-vision --model.vision.label dinov2 --model.vision.width {WIDTH} "
        f"--model.vision.dim 128 --model.vision.files {vectors}"
    )


def said(capsys):
    return capsys.readouterr().err.splitlines()[-1]


def test_they_train_evaluate_and_compare_and_index_nothing(
    small_world, command, options, tmp_path, capsys
):
    clips = small_world / "clips.jsonl"
    for seed in (0, 1):
        line = f"train world-slava-a-and-v {clips} {tmp_path}/run{seed} {FEW} {options}"
        assert command(f"{line} --seed {seed}") == 0
    held = json.loads((tmp_path / "run0" / "experiment.json").read_text())
    assert held["experiment"]["model"]["vision"]["kind"] == "features-vision"
    for seed in (0, 1):
        assert command(f"evaluate {tmp_path}/run{seed} {clips}") == 0
    assert "visual<-visual" in capsys.readouterr().out
    assert command(f"compare {tmp_path}/run0 {tmp_path}/run1") == 0
    capsys.readouterr()
    assert command(f"index {small_world}/world {tmp_path}/archive --model {tmp_path}/run0") == 2
    assert "'dinov2' is here as features only, without weights" in said(capsys)
    assert not (tmp_path / "archive").exists()
    assert command(f"export {tmp_path}/run0 {tmp_path}/exported") == 2
    assert "'dinov2' is here as features only" in said(capsys)


def test_a_trunk_that_is_not_here_does_not_train(small_world, command, options, tmp_path, capsys):
    line = f"train world-slava-a-and-v {small_world}/clips.jsonl {tmp_path}/run {FEW} {options}"
    assert command(f"{line} --stages.0.towers vision") == 2
    assert "'dinov2' is here as features only" in said(capsys)


def test_a_clip_without_features_is_named(small_world, command, options, vectors, tmp_path, capsys):
    (vectors / "b.npz").unlink()
    line = f"train world-slava-a-and-v {small_world}/clips.jsonl {tmp_path}/run {FEW} {options}"
    assert command(line) == 2
    found = said(capsys)
    assert f"{vectors} has no vision features of" in found
    assert "keys, such as '" in found
