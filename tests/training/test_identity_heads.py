"""A head that starts as the identity: training is compared with the aligned model that it is given."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from trichord.checkpoint import Run, fresh_model
from trichord.cli.training import summary
from trichord.config import (
    AdamW,
    AudioFeatures,
    Draw,
    Experiment,
    Stage,
    TextFeatures,
    TriModal,
    VisionFeatures,
    check,
)
from trichord.features.source import FeatureSource
from trichord.training.fit import fit
from trichord.types import Caption, Clip, UserError

WIDTH = 12


@pytest.fixture
def aligned(tmp_path):
    """Vectors of one space: a caption is near its picture and its sound. Gives model and clips."""
    random = np.random.default_rng(0)
    clips = [
        Clip(
            id=f"c{i}",
            path=f"/nowhere/c{i}.mp4",
            captions=(Caption(text=f"scene {i}", about="visual"),),
            split="train" if i < 20 else "val",
        )
        for i in range(80)
    ]
    scenes = random.normal(size=(80, WIDTH)).astype(np.float32)

    def near():
        return scenes + 0.3 * random.normal(size=scenes.shape).astype(np.float32)

    for name, keys in (
        ("text", [clip.captions[0].text for clip in clips]),
        ("vision", [clip.id for clip in clips]),
        ("audio", [clip.id for clip in clips]),
    ):
        np.savez(tmp_path / f"{name}.npz", **dict(zip(keys, near(), strict=True)))
    sizes = {"width": WIDTH, "dim": WIDTH, "head": "identity"}
    model = TriModal(
        text=TextFeatures(files=tmp_path / "text.npz", **sizes),
        vision=VisionFeatures(files=tmp_path / "vision.npz", **sizes),
        audio=AudioFeatures(files=tmp_path / "audio.npz", **sizes),
    )
    return model, clips


@pytest.fixture
def carry_out(aligned, tmp_path):
    """Train the heads at a learning rate; gives the run."""
    config, clips = aligned

    def run_it(rate, head="identity"):
        towers = {name: replace(one, head=head) for name, one in config.towers().items()}
        stage = Stage(
            name="all",
            trains=("text", "vision"),
            draws=(Draw(captions=("visual",), terms=("vt",)),),
            criterion=("visual<-visual",),
            batch_size=10,
            epochs=3,
            optimizer=AdamW(lr=rate),
        )
        experiment = Experiment(system="x", model=replace(config, **towers), stages=(stage,))
        model = fresh_model(experiment)
        splits = ([clip for clip in clips if clip.split == split] for split in ("train", "val"))
        sources = [FeatureSource(held, model, None) for held in splits]
        run = Run(tmp_path / f"run-{rate}-{head}")
        fit(experiment, model, sources, run, manifest="m", after_epoch=lambda _: None)
        return run

    return run_it


def test_the_epoch_before_training_is_the_aligned_model_and_stays_if_nothing_is_better(carry_out):
    run = carry_out(10.0)  # wrecks the heads
    criteria = [one["criterion"] for one in run.metrics()]
    assert criteria[0] > 0.9 > max(criteria[1:])
    weight = run.load().vision.head.weight
    assert torch.equal(weight, torch.eye(WIDTH))
    assert "epoch 0 (before training: no later epoch was better)" in summary(run)


def test_a_new_head_starts_far_below(carry_out):
    run = carry_out(1e-2, "random")
    first, *later = [one["criterion"] for one in run.metrics()]
    assert first < 0.5
    assert max(later) > first
    assert f"; {first:.3f} before training" in summary(run)


def test_only_equal_sizes_have_an_identity(aligned):
    model, _ = aligned
    check(model, "--model")
    with pytest.raises(UserError, match="head identity: the vectors have 12 numbers, the shared"):
        check(replace(model.vision, dim=8), "--model.vision")
