"""What a run keeps, and gives back."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from trichord.checkpoint import Progress, Run, Saved
from trichord.checkpoint.weights import load_owned, owned_state
from trichord.config import Experiment, InfoNCE
from trichord.types import UserError


def test_a_finished_run_gives_back_its_model_and_keeps_frozen_towers_outside(finished):
    run, model = finished
    again = run.load()
    assert not again.training
    assert torch.equal(again.text.head.weight, model.text.head.weight)
    names = load_file(run.path / "weights.safetensors")
    assert not [name for name in names if ".trunk." in name]
    assert run.metrics() == [{"epoch": 0}]
    assert again.fingerprint == model.fingerprint


def test_trained_trunks_belong_to_the_run(experiment, tmp_path):
    run = Run(tmp_path / "run")
    run.start(experiment, "abc")
    model = experiment.model.build()
    model.vision.unfreeze()
    next(model.vision.trunk.parameters()).data += 1
    model.vision.freeze_trunk()
    run.finish(model, InfoNCE().build(), Progress())
    again = run.load()
    assert again.vision.fingerprint == model.vision.fingerprint
    assert again.text.fingerprint == model.text.fingerprint


def test_a_run_that_is_not_finished_says_how_to_go_on(experiment, tmp_path):
    run = Run(tmp_path / "run")
    run.start(experiment, "abc")
    with pytest.raises(UserError, match="not finished: repeat"):
        run.load()


@pytest.mark.parametrize("name", ["checkpoint", "checkpoint-before", "weights"])
def test_what_was_trained_may_go_on_and_something_else_may_not_take_its_place(
    name, experiment, tmp_path
):
    run = Run(tmp_path / "run")
    run.start(experiment, "abc")
    (run.path / f"{name}.safetensors").write_bytes(b"of some hours")
    run.start(experiment, "abc")
    with pytest.raises(UserError, match="other settings, other parts or another manifest"):
        run.start(Experiment(system="y", model=experiment.model), "abc")
    with pytest.raises(UserError, match="other settings, other parts or another manifest"):
        run.start(experiment, "another manifest")
    assert run.experiment() == experiment


def test_a_directory_in_which_nothing_was_trained_is_begun_anew(experiment, tmp_path):
    run, other = Run(tmp_path / "run"), replace(experiment, system="y")
    run.start(experiment, "abc")
    # A start that was killed, or was refused in its first seconds, may have left any of these.
    for name in (".0123456789abcdef.part", "metrics.jsonl", "weighting.json"):
        (run.path / name).write_text("{}")
    (run.path / "checkpoint.damaged-1.safetensors").write_text("of no use")
    run.start(other, "another manifest")
    assert run.experiment() == other
    assert run.environment()["manifest"] == "another manifest"
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoint.damaged-1.safetensors", "environment.json", "experiment.json",
    ]  # fmt: skip
    (run.path / "experiment.json").write_text("half of it")
    (run.path / "environment.json").write_text("{")
    run.start(experiment, "abc")
    assert run.experiment() == experiment


def test_a_directory_begun_by_an_earlier_version_with_impossible_values_is_begun_anew(
    experiment, tmp_path
):
    run = Run(tmp_path / "run")
    run.start(experiment, "abc")
    path = run.path / "experiment.json"
    path.write_text(path.read_text().replace('"max_frames": 64', '"max_frames": 0'))
    with pytest.raises(UserError, match="max-frames 0"):
        run.experiment()
    run.start(experiment, "abc")
    assert run.experiment() == experiment


def test_what_else_lies_there_is_not_taken_for_a_run_without_training(experiment, tmp_path):
    run = Run(tmp_path / "run")
    run.start(experiment, "abc")
    (run.path / "letter.txt").write_text("dear")
    run.start(experiment, "abc")  # it is this one's all the same
    with pytest.raises(UserError, match="not empty and no run"):
        run.start(replace(experiment, system="y"), "abc")


def test_the_same_run_has_the_same_bytes(experiment, tmp_path):
    model, objective = experiment.model.build(), experiment.objective.build()
    written = set()
    for number in range(8):
        run = Run(tmp_path / f"{number}")
        run.start(experiment, "abc")
        run.finish(model, objective, Progress())
        written.add((run.path / "weights.safetensors").read_bytes())
    assert len(written) == 1


def test_a_directory_of_something_else_is_left_alone(experiment, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not empty and no run"):
        Run(tmp_path).start(experiment, "abc")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_damaged_weights_are_named(finished):
    run, _ = finished
    path = run.path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"weights.safetensors is damaged"):
        run.load()


def test_weights_of_another_model_are_refused(finished):
    run, _ = finished
    save_file({"model.text.head.weight": torch.zeros(24, 32)}, run.path / "weights.safetensors")
    with pytest.raises(UserError, match="do not fit"):
        run.load()


def test_half_of_a_trained_trunk_is_refused(tiny_trimodal):
    trained = tiny_trimodal.build()
    trained.vision.unfreeze()
    tensors = owned_state(trained, None)
    load_owned(tiny_trimodal.build(), None, tensors)
    lost = max(name for name in tensors if ".trunk." in name)
    del tensors[lost]
    with pytest.raises(UserError, match="do not fit"):
        load_owned(tiny_trimodal.build(), None, tensors)


def test_towers_that_changed_since_training_are_refused(finished):
    run, _ = finished
    path = run.path / "weights.safetensors"
    save_file(load_file(path), path, {"text": "another fingerprint"})
    with pytest.raises(UserError, match=r"text tower.*other weights or another tokenizer now"):
        run.load()


def test_a_checkpoint_comes_back_as_it_was(experiment, tmp_path):
    run = Run(tmp_path / "run")
    run.start(experiment, "abc")
    assert run.saved() is None
    progress = Progress(stage=1, epoch=2, step=3, loss=0.5, best=0.25, metrics=({"epoch": 1},))
    tensors = {"now.x": torch.randn(3), "scalar": torch.tensor(2.0)}
    run.save(Saved(progress, tensors))
    saved = run.saved()
    assert saved.progress == progress
    assert all(torch.equal(value, tensors[name]) for name, value in saved.tensors.items())


def test_owned_state_is_a_copy_that_training_does_not_change(tiny_model):
    held = owned_state(tiny_model, None)
    before = {name: value.clone() for name, value in held.items()}
    tiny_model.text.head.weight.data += 1
    assert all(torch.equal(held[name], value) for name, value in before.items())
    load_owned(tiny_model, None, held)
    assert torch.equal(tiny_model.text.head.weight, before["model.text.head.weight"])


def test_a_trained_trunk_stays_the_runs_own_after_going_on(tiny_trimodal):
    trained, again = tiny_trimodal.build(), tiny_trimodal.build()
    pretrained = again.vision.fingerprint
    trained.vision.unfreeze()
    next(trained.vision.trunk.parameters()).data += 1
    trained.vision.freeze_trunk()  # as in a later stage that trains heads only
    load_owned(again, None, owned_state(trained, None))
    assert again.vision.fingerprint == trained.vision.fingerprint != pretrained
    assert owned_state(again, None).keys() == owned_state(trained, None).keys()
    assert any(".trunk." in name for name in owned_state(again, None))


def test_the_environment_says_what_the_run_was_made_with(finished):
    run, _ = finished
    held = json.loads((run.path / "environment.json").read_text())
    assert held["manifest"] == "abc"
    assert {"torch", "trichord", "transformers"} <= held["versions"].keys()


def test_a_seeds_run_is_called_by_its_system_too(tmp_path):
    assert Run(tmp_path / "slava-av" / "seed-3").name == "slava-av/seed-3"
    assert Run(tmp_path / "mine").name == "mine"
