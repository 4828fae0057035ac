"""Trainings by each loss: they end better than they begin, on clips that they have not seen."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import InterruptError, heads

from trichord.checkpoint import fresh_model
from trichord.config import InfoNCE, read_experiment, write_experiment
from trichord.experiments import EXPERIMENTS
from trichord.features.source import FeatureSource
from trichord.types import UserError

PAIRS = ("av", "at", "vt")
SIGMOIDS = ("av-sigmoid", "at-sigmoid", "vt-sigmoid")
KINDS = {
    "sigmoid": (SIGMOIDS, InfoNCE()),
    "sigmoid, equal texts": (SIGMOIDS, InfoNCE(same_text="positives")),
    "volume": (("tva-volume",), InfoNCE()),
    "area, equal texts": (("tva-area",), InfoNCE(same_text="positives")),
    "matryoshka": (PAIRS, InfoNCE(matryoshka=(8, 4))),
    "all of them": (
        (*PAIRS, *SIGMOIDS, "tva-volume", "tva-area"),
        InfoNCE(matryoshka=(8,), matryoshka_weights=(0.5,)),
    ),
}


def validation_loss(model, experiment, learnable):
    """The sum of the terms on the validation clips, by the temperatures and biases of the start."""
    clips, folder = learnable(model)
    source = FeatureSource([clip for clip in clips if clip.split == "val"], model.eval(), folder)
    captions = source.captions.numbers["composed"]
    owners = source.captions.owners[captions]
    texts = torch.from_numpy(source.captions.wordings[captions])
    rows = torch.ones(len(owners), dtype=torch.bool)
    with torch.inference_mode():
        embeddings = model(source.batch(owners, captions))
        objective = experiment.objective.build(experiment.terms)
        terms = objective(embeddings, dict.fromkeys(experiment.terms, rows), texts)
    assert set(terms) == set(experiment.terms)
    return float(sum(terms.values()))


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss_of_clips_that_it_has_not_seen(
    kind, seed, by, carry_out, learnable
):
    experiment = replace(by(*KINDS[kind], epochs=10, patience=10), seed=seed)
    run, told = carry_out(experiment)
    before = validation_loss(fresh_model(experiment), experiment, learnable)
    after = validation_loss(run.load(), experiment, learnable)
    assert after < 0.9 * before
    losses = [one["loss"] for one in told[1:]]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]
    assert sum(one["skipped"] + one["empty"] for one in told) == 0


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_several_captions_of_a_clip_train_at_once(seed, by, carry_out, learnable):
    terms = (*PAIRS, "at-sigmoid", "tva-volume")
    experiment = replace(by(terms, InfoNCE(), epochs=10, patience=10), seed=seed)
    (stage,) = experiment.stages
    kinds = ("audio_visual", "composed", "visual", "audio")
    draws = tuple(replace(draw, captions=kinds) for draw in stage.draws)
    many = replace(stage, draws=draws, captions_per_clip=3)
    experiment = replace(experiment, stages=(many,))
    run, told = carry_out(experiment)
    before = validation_loss(fresh_model(experiment), experiment, learnable)
    assert validation_loss(run.load(), experiment, learnable) < 0.9 * before
    assert told[-1]["loss"] < told[1]["loss"]


def test_short_vectors_search_better_if_they_were_trained(by, carry_out, learnable):
    found = {}
    for name, widths in (("short", (2,)), ("whole", ())):
        run, _ = carry_out(by(PAIRS, InfoNCE(matryoshka=widths), epochs=20, patience=20), name)
        found[name] = validation_loss(run.load(), by(PAIRS, InfoNCE(matryoshka=(2,))), learnable)
    assert found["short"] < found["whole"]


def test_scale_and_bias_are_trained_logged_and_saved(by, carry_out):
    run, told = carry_out(by(SIGMOIDS, InfoNCE()))
    assert told[0]["weights"] == dict.fromkeys((f"{kind}:bias" for kind in SIGMOIDS), -10.0)
    saved = run.weights()[0]
    for kind in SIGMOIDS:
        bias = saved[f"objective.weights.{kind}:bias"]
        assert bias != -10
        assert -10.5 < bias < -9.5  # nine steps of about 0.003
        assert saved[f"objective.log_scale.{kind}"] != np.float32(math.log(1 / 0.07))


def test_runs_without_such_weights_log_none(small, carry_out):
    _, told = carry_out(small("slava-av", epochs=1))
    assert "weights" not in told[0]


@pytest.mark.parametrize("at", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_an_interrupted_run_goes_on_with_its_bias(at, by, carry_out, interrupted):
    experiment = by((*SIGMOIDS, "tva-volume"), InfoNCE(matryoshka=(4,)), epochs=3, patience=9)
    whole, _ = carry_out(experiment, "whole")
    interrupted(at)
    with pytest.raises(InterruptError):
        carry_out(experiment, "broken")
    broken, _ = carry_out(experiment, "broken")
    assert all(torch.equal(v, heads(broken)[k]) for k, v in heads(whole).items())
    assert broken.metrics() == whole.metrics()
    for name, value in whole.weights()[0].items():
        assert torch.equal(broken.weights()[0][name], value)


def test_widths_that_no_vector_has_are_refused_before_a_run_exists(by, carry_out, tmp_path):
    whole = by(PAIRS, InfoNCE()).model.build().dim
    with pytest.raises(UserError, match=rf"matryoshka {whole}: the vectors have {whole} numbers"):
        carry_out(by(PAIRS, InfoNCE(matryoshka=(4, whole))))
    assert not (tmp_path / "run").exists()


def test_an_experiment_with_these_terms_is_the_same_in_json(by, tmp_path):
    experiment = by(*KINDS["all of them"])
    write_experiment(tmp_path / "experiment.json", experiment)
    assert read_experiment(tmp_path / "experiment.json") == experiment


def test_the_experiments_of_the_papers_use_none_of_this():
    for _, experiment in EXPERIMENTS.values():
        assert experiment.objective.matryoshka == ()
        assert all("-" not in term for term in experiment.terms)


def test_each_term_is_logged_by_itself(by, carry_out):
    experiment = by(("av", "at-sigmoid", "vt"), InfoNCE(), epochs=3)
    (stage,) = experiment.stages
    draws = tuple(replace(draw, weights=(1.0, 0.5, 0.0)) for draw in stage.draws)
    experiment = replace(experiment, stages=(replace(stage, draws=draws),))
    run, told = carry_out(experiment)
    assert told[0]["terms"] == {}  # before training
    for numbers in told[1:]:
        terms = numbers["terms"]
        assert set(terms) == {"av", "at-sigmoid"}  # a term of weight 0 is not computed
        assert terms["av"] + 0.5 * terms["at-sigmoid"] == pytest.approx(numbers["loss"], rel=1e-6)
    assert [one["terms"] for one in run.metrics()] == [one["terms"] for one in told]


def test_a_term_that_some_batches_draw_is_the_mean_of_those(by, carry_out):
    experiment = by(("at",), InfoNCE(), epochs=2)
    (stage,) = experiment.stages
    (draw,) = stage.draws
    draws = (draw, replace(draw, terms=("vt",)))
    experiment = replace(experiment, stages=(replace(stage, draws=draws, draw_per="turn"),))
    _, told = carry_out(experiment)
    for numbers, of_at in zip(told[1:], (1, 2), strict=True):  # three batches, in turns
        at, vt = numbers["terms"]["at"], numbers["terms"]["vt"]
        assert of_at * at + (3 - of_at) * vt == pytest.approx(3 * numbers["loss"], rel=1e-6)


ALONE = {
    **{term: ((term,), InfoNCE()) for term in (*SIGMOIDS, "tva-volume", "tva-area")},
    "matryoshka": (("at",), InfoNCE(matryoshka=(8, 4))),
}


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("vt-sigmoid", "tva-volume") else pytest.param(name, marks=pytest.mark.slow)
        for name in (*ALONE, "captions per clip")
    ],
)
def test_each_new_term_learns_alone_with_three_seeds(name, by, carry_out, learnable):
    """Distillation and hard negatives have tests of their own, with three seeds too."""
    experiment = by(*ALONE.get(name, (("at",), InfoNCE())), epochs=3)
    (stage,) = experiment.stages
    if name == "captions per clip":
        draws = (replace(stage.draws[0], captions=("audio", "audio_visual", "composed")),)
        stage = replace(stage, draws=draws, captions_per_clip=3)
    known = learnable(fresh_model(experiment))
    for seed in (0, 1, 2):
        started = replace(experiment, stages=(stage,), seed=seed, hand_over="last")
        run, told = carry_out(started, f"run-{seed}")
        before, after = (
            validation_loss(model, started, lambda _: known)
            for model in (fresh_model(started), run.load())
        )
        assert after < before
        assert all(math.isfinite(one["loss"]) for one in told[1:])
        assert told[-1]["loss"] < told[1]["loss"]
