"""Runs that begin with the weights of others."""

import shutil
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from trichord.checkpoint import Progress, Run, fresh_model
from trichord.checkpoint.weights import load_owned, load_trained, owned_state
from trichord.config import Cross, Draw, Experiment, InfoNCE, Lora, Stage
from trichord.types import UserError

CROSS = Cross(layers=1, heads=2, from_text=False)


def same_weights(one, other):
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture
def finish(tmp_path):
    """Make a finished run of an experiment whose audio tower, text head and fusion have moved."""

    def finished(experiment, name="run", *, trained=("audio",)):
        run, model = Run(tmp_path / name), fresh_model(experiment)
        run.start(experiment, "abc")
        for tower in trained:
            model.encoders()[tower].unfreeze()
        torch.manual_seed(99)
        with torch.no_grad():
            moved = [model.text.head, *(model.encoders()[tower] for tower in trained)]
            for part in (*moved, *([model.fusion] if model.fusion else ())):
                for value in part.parameters():
                    value += 0.1 * torch.randn_like(value)
        for encoder in model.encoders().values():
            encoder.freeze_trunk()
        run.finish(model, InfoNCE().build(experiment.terms), Progress())
        return run, model

    return finished


@pytest.fixture
def pretraining(tiny_clip4vla):
    return Experiment(system="pretraining", model=tiny_clip4vla)


def test_the_weights_of_a_fusion_belong_to_the_run(pretraining, finish):
    run, model = finish(replace(pretraining, model=replace(pretraining.model, fusion=CROSS)))
    assert same_weights(run.load(), model)
    assert run.load().fingerprint == model.fingerprint
    path = run.path / "weights.safetensors"
    tensors = load_file(path)
    assert any(name.startswith("model.fusion.cross.") for name in tensors)
    kept = {k: v for k, v in tensors.items() if k != "model.fusion.cross.types.weight"}
    save_file(kept, path)
    with pytest.raises(UserError, match=r"do not fit.*fusion\.cross\.types\.weight"):
        run.load()


@pytest.mark.parametrize("seed", [0, 3])
def test_sound_tokens_that_never_trained_are_drawn_again_from_the_seed(seed, pretraining, finish):
    run, model = finish(replace(pretraining, seed=seed), f"run-{seed}", trained=())
    torch.manual_seed(1234)
    assert same_weights(run.load(), model)
    assert not [name for name in load_file(run.path / "weights.safetensors") if ".trunk." in name]


def test_models_are_drawn_and_loaded_without_a_trace_in_torchs_random_numbers(pretraining, finish):
    run, _ = finish(pretraining, "first")
    torch.manual_seed(8)
    before = torch.get_rng_state()
    fresh_model(pretraining)
    run.load()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(pretraining.seed)
    expected = pretraining.model.build().state_dict()
    found = fresh_model(pretraining).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_a_fresh_model_is_drawn_from_the_experiments_seed(pretraining):
    experiment = replace(pretraining, model=replace(pretraining.model, fusion=CROSS))
    one, again = fresh_model(experiment), fresh_model(experiment)
    assert not one.training
    assert same_weights(one, again)
    other = fresh_model(replace(experiment, seed=1)).state_dict()
    drawn = {k for k, v in one.state_dict().items() if not torch.equal(v, other[k])}
    assert {"audio.trunk.tokens", "fusion.cross.types.weight"} <= drawn
    assert all(name.startswith(("audio.trunk.", "fusion.")) for name in drawn)


def test_an_experiment_starts_from_another_runs_weights_and_keeps_its_own_new_parts(
    pretraining, finish
):
    run, trained = finish(pretraining)
    asked = Experiment(
        system="retrieval",
        model=replace(
            pretraining.model,
            fusion=CROSS,
            audio=replace(pretraining.model.audio, token=0.25, longest=2),
        ),
        start=run.path,
        seed=5,
    )
    model, bare = fresh_model(asked), fresh_model(replace(asked, start=None))
    lent = trained.state_dict()
    for name, value in model.state_dict().items():
        source = bare.state_dict() if name.startswith("fusion.") else lent
        assert torch.equal(value, source[name])
    assert not torch.equal(bare.state_dict()["audio.trunk.tokens"], lent["audio.trunk.tokens"])
    assert model.audio.audio_type == 0.25
    # The lent trunk is this run's own from now on: it is written with it.
    assert model.audio.trunk_changed
    assert not model.vision.trunk_changed
    assert "model.audio.trunk.tokens" in owned_state(model, None)


def test_a_finished_run_no_longer_needs_the_run_it_started_from(pretraining, finish):
    first, _ = finish(pretraining, "first")
    asked = replace(pretraining, system="retrieval", start=first.path, seed=2)
    second, model = finish(asked, "second", trained=())
    shutil.rmtree(first.path)
    assert same_weights(second.load(), model)
    with pytest.raises(UserError, match="no finished run to start from"):
        fresh_model(asked)


def test_a_run_that_goes_on_starts_from_its_checkpoint_not_from_the_start(pretraining, finish):
    first, _ = finish(pretraining, "first")
    asked = replace(pretraining, start=first.path)
    model = fresh_model(asked)
    with torch.no_grad():
        model.audio.audio_trunk.tokens += 1
    held = owned_state(model, None)
    again = fresh_model(asked)
    load_owned(again, None, held)
    assert same_weights(again, model)


def test_weights_of_other_shapes_are_not_lent(pretraining, finish):
    run, _ = finish(pretraining)
    audio = replace(pretraining.model.audio, frames=48)
    longer = replace(pretraining, model=replace(pretraining.model, audio=audio), start=run.path)
    with pytest.raises(UserError, match=r"audio\.trunk\.positions do not fit.*same towers"):
        fresh_model(longer)


def test_weights_that_the_model_has_no_place_for_are_not_lost_unsaid(pretraining, finish):
    fused, _ = finish(replace(pretraining, model=replace(pretraining.model, fusion=CROSS)))
    # A fusion may be left behind, ...
    assert fresh_model(replace(pretraining, start=fused.path)).fusion is None
    path = fused.path / "weights.safetensors"
    save_file({**load_file(path), "model.audio.head.bias": torch.zeros(3)}, path)
    # ... nothing else.
    with pytest.raises(UserError, match=r"its audio\.head\.bias do not fit"):
        fresh_model(replace(pretraining, start=fused.path))


def test_a_run_that_shares_nothing_with_the_model_lends_nothing(pretraining, finish):
    run, _ = finish(pretraining)
    save_file({"objective.log_scale.at": torch.zeros(())}, run.path / "weights.safetensors")
    with pytest.raises(UserError, match="its weights do not fit"):
        fresh_model(replace(pretraining, start=run.path))


def test_an_unfinished_run_is_no_start(pretraining, tmp_path):
    begun = Run(tmp_path / "begun")
    begun.start(pretraining, "abc")
    for path in (begun.path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=rf"{path} is no finished run to start from"):
            fresh_model(replace(pretraining, start=path))


def test_another_start_is_another_experiment(pretraining, finish, tmp_path):
    first, _ = finish(pretraining, "first")
    run = Run(tmp_path / "second")
    run.start(replace(pretraining, start=first.path), "abc")
    (run.path / "checkpoint.safetensors").write_bytes(b"of some hours")
    run.start(replace(pretraining, start=first.path), "abc")
    with pytest.raises(UserError, match="other settings"):
        run.start(pretraining, "abc")


# Runs with low-rank adapters


@pytest.fixture
def adapt(tmp_path):
    """Make a finished run of an experiment whose vision trunk has adapters, with numbers of their own."""

    def adapted(experiment, name, start=None):
        stage = Stage(
            name="s",
            trains=("vision",),
            towers=("vision",),
            lora=Lora(rank=2, alpha=8),
            draws=(Draw(terms=("vt",), captions=("visual",)),),
            criterion=(),
        )
        experiment = replace(experiment, stages=(stage,), hand_over="last", start=start)
        run, model = Run(tmp_path / name), fresh_model(experiment)
        run.start(experiment, "abc")
        model.vision.adapt(stage.lora, 1)
        torch.manual_seed(99)
        with torch.no_grad():
            for key, value in model.vision.trunk.named_parameters():
                if ".lora_" in key:
                    value.normal_(0, 0.2)
        run.finish(model, InfoNCE().build(experiment.terms), Progress())
        model.vision.merge_adapters()
        return run, model

    return adapted


def test_a_run_with_adapters_stores_them_alone_and_opens_without_peft(
    pretraining, adapt, monkeypatch
):
    run, model = adapt(pretraining, "run")
    stored = load_file(run.path / "weights.safetensors")
    assert all(".lora_" in name for name in stored if ".trunk." in name)
    monkeypatch.setitem(sys.modules, "peft", None)
    loaded = run.load()
    assert same_weights(loaded, model)
    assert loaded.vision.fingerprint == model.vision.fingerprint
    assert loaded.state_dict().keys() == fresh_model(pretraining).state_dict().keys()


@pytest.mark.parametrize("change", [('"alpha": 8', '"alpha": 64'), ('"rank": 2', '"rank": 0')])
def test_other_adapters_in_the_file_of_the_experiment_are_refused(change, pretraining, adapt):
    run, _ = adapt(pretraining, "run")
    path = run.path / "experiment.json"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(
        UserError, match=r"experiment\.json names other low-rank adapters than weights"
    ):
        run.load()


def test_adapters_of_a_run_whose_trunk_is_another_now_are_refused(pretraining, adapt):
    run, _ = adapt(pretraining, "run")
    tensors = load_file(run.path / "weights.safetensors")
    model = fresh_model(pretraining)
    with torch.no_grad():
        next(model.vision.trunk.parameters()).add_(0.1)
    with pytest.raises(UserError, match=r"vision tower .* has other weights now"):
        run.restore(model)
    with pytest.raises(UserError, match=r"vision tower .* has other weights now"):
        run.load_matching(model)
    first = next(name for name in tensors if ".lora_A." in name)
    odd = {name.replace("q_proj", "nowhere"): value for name, value in tensors.items()}
    with pytest.raises(UserError, match=r"do not fit.*nowhere"):
        load_trained(fresh_model(pretraining), odd, run.experiment().adapters())
    short = tensors | {first: tensors[first][:1]}
    with pytest.raises(UserError, match=r"do not fit.*lora_A"):
        load_trained(fresh_model(pretraining), short, run.experiment().adapters())


def test_new_adapters_begin_on_the_merged_ones_of_another_run(pretraining, adapt):
    first, before = adapt(pretraining, "first")
    run, model = adapt(pretraining, "second", start=first.path)
    begun = fresh_model(run.experiment())
    assert same_weights(begun, before)
    assert same_weights(run.load(), model)
    moved = (run.load().vision.trunk.state_dict(), before.vision.trunk.state_dict())
    assert any(not torch.equal(value, moved[1][name]) for name, value in moved[0].items())
