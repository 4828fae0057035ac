"""What must not cost or spoil a run. A few kills of whole processes; many are in tests/torture."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from itertools import count

import pytest
import torch
from processes import script
from small_runs import InterruptError, heads

from trichord.checkpoint import Run
from trichord.checkpoint.weights import owned_state
from trichord.config import AdamW
from trichord.features.source import Captions, FeatureSource
from trichord.training.fit import fit
from trichord.training.learner import Learner
from trichord.training.sampler import epoch_samples
from trichord.training.stopping import TerminatedError
from trichord.types import UserError


def test_a_complete_run_is_left_as_it_is_and_the_model_is_given_its_weights(
    small, carry_out, learnable, tmp_path
):
    experiment = small("slava-av", epochs=1)
    run, _ = carry_out(experiment)
    (run.path / "checkpoint.safetensors").write_text("killed before it was removed")
    before = {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()}
    model, told = experiment.model.build(), []
    clips, folder = learnable(model)
    sources = [
        FeatureSource([c for c in clips if c.split == s], model, folder) for s in ("train", "val")
    ]
    fit(experiment, model, sources, run, manifest="m", after_epoch=told.append)
    assert told == []
    after = {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()}
    assert after == {name: at for name, at in before.items() if "checkpoint" not in name}
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in heads(run).items())


def test_what_is_concluded_is_done_before_the_run_is_complete(small, learnable, tmp_path):
    experiment = small("slava-av", epochs=1)
    model, run, found = experiment.model.build(), Run(tmp_path / "run"), []
    clips, folder = learnable(model)
    sources = [
        FeatureSource([c for c in clips if c.split == s], model, folder) for s in ("train", "val")
    ]
    fit(
        experiment,
        model,
        sources,
        run,
        manifest="m",
        after_epoch=lambda numbers: None,
        conclude=lambda: found.append((run.complete, owned_state(model, None))),
    )
    ((complete, weights),) = found
    assert run.complete
    assert not complete
    assert all(torch.equal(weights[f"model.{k}"], v) for k, v in heads(run).items())


@pytest.fixture
def instead_of_loss(monkeypatch):
    """Let the steps of some numbers, counted from now, have another loss than their own."""

    def replaced(numbers, change):
        forward, calls = Learner.forward, count()

        def changed(self, batch, sample):
            loss = forward(self, batch, sample)
            return change(loss) if next(calls) in numbers else loss

        monkeypatch.setattr(Learner, "forward", changed)

    return replaced


def test_a_step_whose_loss_is_not_finite_is_as_if_it_were_not_there(
    small, carry_out, instead_of_loss
):
    experiment = small("slava-av", epochs=2)  # of three steps each
    instead_of_loss({1, 5}, lambda loss: loss * float("nan"))
    run, told = carry_out(experiment, "nan")
    assert [(n["skipped"], n["empty"]) for n in told] == [(0, 0), (1, 0), (1, 0)]
    instead_of_loss({1, 5}, lambda loss: None)
    other, bare = carry_out(experiment, "none")
    assert [(n["skipped"], n["empty"]) for n in bare] == [(0, 0), (0, 1), (0, 1)]
    assert all(torch.equal(v, heads(other)[k]) for k, v in heads(run).items())
    assert [n["loss"] for n in told] == [n["loss"] for n in bare]
    assert run.metrics() == told


def test_counts_of_skipped_steps_survive_an_interruption(
    small, carry_out, instead_of_loss, interrupted
):
    experiment = small("slava-av", epochs=2)
    instead_of_loss({0}, lambda loss: loss * float("inf"))
    whole, _ = carry_out(experiment, "whole")
    instead_of_loss({0}, lambda loss: loss * float("inf"))
    interrupted(2)
    with pytest.raises(InterruptError):
        carry_out(experiment, "broken")
    broken, _ = carry_out(experiment, "broken")
    assert broken.metrics() == whole.metrics()
    assert whole.metrics()[1]["skipped"] == 1


def test_ten_unsound_steps_in_a_row_end_training_in_one_line(small, carry_out, instead_of_loss):
    instead_of_loss(set(range(2, 99)), lambda loss: loss * float("nan"))
    with pytest.raises(UserError, match="epoch 4, step 3: for 10 steps in a row") as told:
        carry_out(small("slava-av", epochs=9, patience=9))
    assert "\n" not in str(told.value)


def test_a_training_that_learns_nothing_leaves_no_weights_and_its_directory_free(small, carry_out):
    idle, mended = small("audio-visual", epochs=3), small("slava-av", epochs=1)
    silent = {f"c{i}" for i in range(24)}  # all that is learnt from
    with pytest.raises(UserError, match="Stage 'audio-vision' learnt nothing: 9 steps") as told:
        carry_out(idle, silent=silent)
    assert "\n" not in str(told.value)
    run, _ = carry_out(mended, silent=silent)
    assert run.complete
    assert run.experiment() == mended


def test_a_training_that_diverges_leaves_no_weights_and_its_directory_free(small, carry_out):
    def at(rate):
        experiment = small("slava-av", epochs=4)
        stage = replace(experiment.stages[0], optimizer=AdamW(lr=rate))
        return replace(experiment, stages=(stage,))

    expected = (
        r"Stage 'all', epoch \d: .* vectors are zero or not finite, .*: training has diverged"
    )
    with pytest.raises(UserError, match=expected) as told:
        carry_out(at(1e30))
    assert "\n" not in str(told.value)
    assert told.value.__cause__ is not None
    run, _ = carry_out(at(1e-3))
    assert run.complete


def test_weights_that_are_not_finite_are_no_run(small, learnable, tmp_path):
    experiment = replace(small("slava-av", epochs=1), hand_over="last")
    stage = replace(experiment.stages[0], optimizer=AdamW(lr=1e39))  # infinite in single precision
    model, run = experiment.model.build(), Run(tmp_path / "run")
    clips, folder = learnable(model)
    sources = [FeatureSource([c for c in clips if c.split == "train"], model, folder)]
    wild = replace(experiment, stages=(stage,))
    with pytest.raises(UserError, match="weights are not finite after training: it has diverged"):
        fit(wild, model, sources, run, manifest="m", after_epoch=print)
    assert not run.complete


def test_mini_batches_without_any_sound_are_counted_and_change_nothing(small, carry_out, learnable):
    experiment = small("audio-visual", epochs=2)
    silent = {f"c{i}" for i in range(21)}
    run, told = carry_out(experiment, silent=silent)
    clips, _ = learnable(experiment.model.build(), silent=silent)
    clips = [clip for clip in clips if clip.split == "train"]
    stage = experiment.stages[0]
    for epoch in (1, 2):
        samples = epoch_samples(stage, Captions.of(clips), clips, seed=0, place=(0, epoch))
        heard = [len({clips[i].id for i in sample.clips} - silent) for sample in samples]
        assert (
            told[epoch]["empty"] == sum(number < 2 for number in heard) > 0
        )  # one has no negatives
    assert all(torch.isfinite(v).all() for v in heads(run).values())


@pytest.mark.parametrize(
    ("sent", "ended", "code"),
    [
        (signal.SIGTERM, TerminatedError, 143),
        pytest.param(signal.SIGINT, KeyboardInterrupt, None, marks=pytest.mark.slow),
    ],
)
def test_asked_to_stop_training_saves_after_the_step_at_hand_and_goes_on_the_same(
    sent, ended, code, small, carry_out
):
    experiment = small("slava-av", epochs=3)
    whole, _ = carry_out(experiment, "whole")

    def ask(numbers):
        if numbers["epoch"] == 1:
            os.kill(os.getpid(), sent)

    with pytest.raises(ended) as end:
        carry_out(experiment, "stopped", after_epoch=ask)
    assert getattr(end.value, "code", None) == code
    saved = Run(whole.path.parent / "stopped").saved().progress
    assert (saved.epoch, saved.step) == (2, 1)
    stopped, _ = carry_out(experiment, "stopped")
    assert all(torch.equal(v, heads(stopped)[k]) for k, v in heads(whole).items())
    assert stopped.metrics() == whole.metrics()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_fills_up_stops_training_in_one_line_and_nothing_is_lost(
    small, carry_out, small_disk, monkeypatch
):
    monkeypatch.setattr("trichord.training.session.SECONDS_BETWEEN_SAVES", -1.0)
    experiment = small("slava-av", epochs=3)
    whole, _ = carry_out(experiment, "whole")

    def fill(numbers):
        if numbers["epoch"] == 2:
            ballast = os.open(small_disk / "ballast", os.O_WRONLY | os.O_CREAT)
            with suppress(OSError):
                while True:
                    os.write(ballast, bytes(4096))
            os.close(ballast)

    with pytest.raises(UserError, match=r"No space left on device\. The last check") as told:
        carry_out(experiment, small_disk / "run", after_epoch=fill)
    assert "\n" not in str(told.value)
    saved = Run(small_disk / "run").saved().progress
    assert (saved.epoch, saved.step) == (2, 3)  # before the epoch's end, when there was still room
    (small_disk / "ballast").unlink()
    run, _ = carry_out(experiment, small_disk / "run")
    assert all(torch.equal(v, heads(run)[k]) for k, v in heads(whole).items())
    assert run.metrics() == whole.metrics()


# Killed processes


@pytest.fixture(scope="module")
def carried_out(tiny_towers, tmp_path_factory):
    """What became of trainings that were killed as planned."""
    return lambda *plan: killed(plan, tiny_towers, tmp_path_factory.mktemp("killed"))


def killed(plan, towers, folder):
    plan = [{"ranks": ranks, "workers": 0, "kind": kind} for ranks, kind in plan]
    done = subprocess.run(
        [sys.executable, script("killed_training"), towers, folder],
        input=json.dumps(plan).encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def trials(carried_out):
    return carried_out((1, "save"), (2, "asked"))


@pytest.fixture(scope="module")
def more_trials(carried_out):
    return carried_out((1, "rename"), (2, "step"))


@pytest.mark.parametrize("some", ["trials", pytest.param("more_trials", marks=pytest.mark.slow)])
def test_killed_in_a_step_a_save_or_a_rename_training_ends_bit_for_bit_the_same(some, request):
    found = [one for one in request.getfixturevalue(some) if one["kind"] != "asked"]
    assert found
    for one in found:
        assert -9 in one["codes"], one
        assert one["resumed"], one
        assert one["equal"], one
        assert one["steps lost"] <= 1  # it is saved after each
        assert not [name for name in one["left"] if "checkpoint" in name or ".part" in name]


def test_when_one_rank_is_asked_to_stop_all_stop_saved(trials):
    [one] = [one for one in trials if one["kind"] == "asked"]
    assert one["codes"] == [143, 143]
    assert "Traceback" not in one["said"]
    assert one["resumed"], one
    assert one["equal"], one
    assert one["steps lost"] == 0
