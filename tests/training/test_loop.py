import json
from dataclasses import replace

import pytest
import torch

from trichord.checkpoint import Run
from trichord.config import AdamW, Draw, Experiment, Stage
from trichord.evaluation.retrieval import recalls_at
from trichord.evaluation.vectors import embed_source
from trichord.experiments import EXPERIMENTS
from trichord.features.source import FeatureSource
from trichord.training.loop import finished, require_captions, train
from trichord.training.session import Session
from trichord.types import UserError

PAPER = ("wav2clip-frozen-text", "wav2clip-trainable-text", "audioclip", "slava-a-and-v",
         "slava-av-indirect", "slava-av", "audio-visual")  # fmt: skip


@pytest.fixture
def small(tiny_trimodal):
    """An experiment of the paper cut down to the tiny towers and a few epochs."""

    def shrink(name, **changes):
        experiment = EXPERIMENTS[name][1]
        stages = tuple(
            replace(s, batch_size=8, optimizer=AdamW(lr=3e-3), **{"epochs": 3} | changes)
            for s in experiment.stages
        )
        return replace(experiment, model=tiny_trimodal, stages=stages)

    return shrink


@pytest.fixture
def carry_out(tmp_path, learnable):
    """Train an experiment on learnable features; gives the run and what each epoch reported."""

    def run_it(experiment, name="run", after_epoch=None, **features):
        model = experiment.model.build()
        clips, folder = learnable(model, **features)
        splits = ([c for c in clips if c.split == split] for split in ("train", "val"))
        sources = [FeatureSource(held, model, folder) for held in splits]
        run = Run(tmp_path / name)
        told = []
        note = after_epoch or told.append
        train(experiment, model, sources, run, manifest="m", after_epoch=note)
        return run, told

    return run_it


def heads(run):
    return {k: v for k, v in run.load().state_dict().items() if ".head." in k}


@pytest.mark.parametrize("name", PAPER)
def test_every_system_of_the_paper_trains_exactly_its_heads(name, small, carry_out):
    experiment = small(name)
    run, told = carry_out(experiment)
    before = experiment.model.build().state_dict()
    moved = {k.split(".")[0] for k, v in heads(run).items() if not torch.equal(v, before[k])}
    allowed = {m for stage in experiment.stages for m in stage.trains}
    assert moved <= allowed
    assert len(told) >= len(experiment.stages)
    trunks = {k: v for k, v in run.load().state_dict().items() if ".trunk." in k}
    assert all(torch.equal(v, before[k]) for k, v in trunks.items())


def test_training_learns_what_is_there_to_learn(small, carry_out):
    run, told = carry_out(small("slava-a-and-v", epochs=50, patience=50))
    assert run.complete
    learnable = ("visual<-visual", "audio<-audio", "visual<-sound")  # what its terms pull together
    before, after = told[0]["validation R@10"], told[-1]["validation R@10"]
    assert all(before[task] < 0.7 for task in learnable)
    assert all(after[task] > 0.95 for task in learnable)
    losses = [n["loss"] for n in told if n["loss"] is not None]
    assert losses[-1] < losses[0] / 2


def test_the_same_seed_gives_the_same_weights_and_another_one_others(small, carry_out):
    once, _ = carry_out(small("slava-av"), "a")
    again, _ = carry_out(small("slava-av"), "b")
    other, _ = carry_out(replace(small("slava-av"), seed=1), "c")
    assert all(torch.equal(v, heads(again)[k]) for k, v in heads(once).items())
    assert once.metrics() == again.metrics()
    assert once.metrics()[1]["loss"] != other.metrics()[1]["loss"]


class InterruptError(Exception):
    pass


@pytest.mark.parametrize("name", ["wav2clip-trainable-text", "slava-a-and-v"])
@pytest.mark.parametrize("at", [1, 4, 8, 11])
def test_an_interrupted_run_ends_bit_for_bit_as_an_uninterrupted_one(
    name, at, small, carry_out, monkeypatch
):
    experiment = small(name, epochs=4, patience=9)
    whole, _ = carry_out(experiment, "whole")
    monkeypatch.setattr("trichord.training.session.SECONDS_BETWEEN_SAVES", -1.0)
    steps = 0
    after_step = Session.after_step

    def counted(self, optimizer, loss):
        nonlocal steps
        after_step(self, optimizer, loss)
        steps += 1
        if steps == at:
            raise InterruptError

    monkeypatch.setattr(Session, "after_step", counted)
    with pytest.raises(InterruptError):
        carry_out(experiment, "broken")
    broken, _ = carry_out(experiment, "broken")
    assert all(torch.equal(v, heads(broken)[k]) for k, v in heads(whole).items())
    assert broken.metrics() == whole.metrics()
    assert not (broken.path / "checkpoint.safetensors").exists()


def test_the_best_epoch_is_kept_not_the_last(small, carry_out, learnable):
    experiment = small("slava-av", epochs=6, patience=6)
    wild = (replace(experiment.stages[0], optimizer=AdamW(lr=3.0)),)
    run, told = carry_out(replace(experiment, stages=wild))
    criteria = [n["criterion"] for n in told]
    assert max(criteria) > criteria[-1]  # a rate of 3 destroys what was there
    model = run.load()
    clips, folder = learnable(model)
    validation = FeatureSource([c for c in clips if c.split == "val"], model, folder)
    kept = recalls_at(10, embed_source(model, validation), experiment.stages[0].criterion)
    assert sum(kept.values()) / len(kept) == pytest.approx(max(criteria))


def test_patience_ends_a_stage_early(small, carry_out):
    experiment = small("slava-av", epochs=50, patience=2)
    _, told = carry_out(
        replace(experiment, stages=(replace(experiment.stages[0], optimizer=AdamW(lr=0.0)),))
    )
    assert len(told) == 3  # before training, and two epochs without a better criterion


def test_the_second_stage_starts_from_the_first_ones_best_with_fresh_temperatures(small, carry_out):
    _, told = carry_out(small("wav2clip-trainable-text", epochs=2))
    second = [n for n in told if n["stage"] == "audio-text"]
    assert second[0]["scales"]["at"] == pytest.approx(1 / 0.07, rel=1e-4)


def test_silent_clips_train_and_never_become_nan(small, carry_out):
    run, told = carry_out(small("audioclip"), silent={f"c{i}" for i in range(20)})
    assert all(n["loss"] is None or n["loss"] == n["loss"] for n in told)
    assert all(torch.isfinite(v).all() for v in heads(run).values())


def test_an_experiment_without_stages_leaves_the_towers_as_they_came(tiny_trimodal, tmp_path):
    experiment = Experiment(system="untrained", model=tiny_trimodal)
    run = Run(tmp_path / "run")
    model = tiny_trimodal.build()
    train(experiment, model, [], run, manifest="m", after_epoch=print)
    assert run.complete
    before = model.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in heads(run).items())


def test_captions_of_the_wrong_kind_are_named(tiny_trimodal, learnable):
    stage = Stage(
        name="s",
        trains=("text",),
        draws=(Draw(captions=("composed",), terms=("at",)),),
        criterion=(),
    )

    model = tiny_trimodal.build()
    clips, folder = learnable(model)
    bare = [
        replace(c, captions=tuple(k for k in c.captions if k.kind == "audio")) for c in clips[:3]
    ]
    with pytest.raises(UserError, match=r"needs composed captions.*have 3 audio"):
        require_captions(stage, FeatureSource(bare, model, folder))


def test_validation_without_any_task_of_the_criterion_is_refused(small, carry_out):
    experiment = small("audio-visual")
    with pytest.raises(UserError, match="validation clips allow none"):
        carry_out(experiment, silent={f"c{i}" for i in range(24, 64)})


def test_metrics_are_json_lines_with_one_for_each_epoch(small, carry_out):
    run, told = carry_out(small("slava-av"))
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(len(told)))


def test_a_stage_is_finished_by_epochs_or_patience():
    from trichord.checkpoint import Progress

    stage = Stage(name="s", trains=(), draws=(), criterion=(), epochs=5, patience=3)
    assert not finished(stage, Progress(epoch=5, best_epoch=4))
    assert finished(stage, Progress(epoch=6, best_epoch=5))
    assert finished(stage, Progress(epoch=4, best_epoch=0))
    assert not finished(stage, Progress(epoch=3, best_epoch=0))
