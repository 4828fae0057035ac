"""Distillation: what a student learns from a teacher's vectors of its clips."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import InterruptError

from trichord.checkpoint import Run, fresh_model
from trichord.config import (
    AdamW,
    Clap,
    ClapText,
    ClipText,
    ClipVision,
    Cross,
    Experiment,
    InfoNCE,
    check,
    read_experiment,
    write_experiment,
)
from trichord.experiments import EXPERIMENTS
from trichord.features.source import Captions, FeatureSource, MediaSource, source_like
from trichord.losses.distillation import distillation_loss
from trichord.training.fit import fit
from trichord.training.teacher import learned_scales, open_teacher, teach
from trichord.types import UserError

DISTIL = ("av-distil", "at-distil", "vt-distil")


@pytest.fixture(scope="module")
def trained(tiny_trimodal, learnable_in, tmp_path_factory):
    """A trained run."""
    path = tmp_path_factory.mktemp("teacher")
    model = tiny_trimodal.build().eval()
    clips, folder = learnable_in(model, path / "cache")
    (stage,) = EXPERIMENTS["slava-av"][1].stages
    stage = replace(stage, batch_size=8, optimizer=AdamW(lr=3e-3), epochs=8)
    experiment = Experiment(system="teacher", model=tiny_trimodal, stages=(stage,))
    splits = ([clip for clip in clips if clip.split == split] for split in ("train", "val"))
    sources = [FeatureSource(held, model, folder) for held in splits]
    run = Run(path / "run")
    fit(experiment, model, sources, run, manifest="m", after_epoch=lambda _: None)
    return run.path


@pytest.fixture
def teacher(trained, tmp_path):
    """A copy of it, which a test may delete."""
    return Path(shutil.copytree(trained, tmp_path / "teacher"))


def untrained(model, path):
    """A model as published, as a run."""
    experiment = Experiment(system="zero-shot", model=model)
    fit(experiment, fresh_model(experiment), [], Run(path), manifest="m", after_epoch=print)
    return path


def disagreement(model, teacher, learnable):
    """The KL divergence of a model's rankings from a teacher's, on clips that neither has learned."""
    clips, folder = learnable(model)
    held = [clip for clip in clips if clip.split == "val"][:20]
    vectors = []
    for one in (model.eval(), teacher):
        source = FeatureSource(held, one, folder)
        captions = source.captions.numbers["composed"]
        with torch.inference_mode():
            found = one(source.batch(source.captions.owners[captions], captions))
        vectors += [found.vision.pooled, found.text.pooled]
    return float(distillation_loss(*vectors, scale=torch.tensor(14.0), teacher_scale=14.0))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_student_comes_to_rank_as_its_teacher(seed, by, carry_out, teacher, learnable):
    experiment = by(DISTIL, InfoNCE(), epochs=5)
    experiment = replace(experiment, teacher=teacher, seed=seed)
    run, told = carry_out(experiment, "student")
    known = Run(teacher).load()
    before = disagreement(fresh_model(experiment), known, learnable)
    assert disagreement(run.load(), known, learnable) < 0.7 * before
    assert 0 < told[-1]["loss"] < 0.7 * told[1]["loss"]
    assert sum(one["skipped"] + one["empty"] for one in told) == 0


def test_a_student_comes_to_have_its_teachers_vectors(by, carry_out, teacher, learnable):
    terms = ("a-distil", "v-distil", "t-distil")
    experiment = by(terms, InfoNCE(), epochs=5)
    run, told = carry_out(replace(experiment, teacher=teacher, seed=1), "student")
    assert told[-1]["loss"] < 0.5 * told[1]["loss"]
    assert told[-1]["scales"] == {}
    assert not any("distil" in name for name in run.weights()[0])


def test_chunks_and_several_captions_do_not_matter(by, carry_out, teacher):
    experiment = replace(by((*DISTIL, "at"), InfoNCE(), epochs=2), teacher=teacher)
    (stage,) = experiment.stages
    kinds = ("audio_visual", "composed", "visual", "audio")
    draws = tuple(replace(draw, captions=kinds) for draw in stage.draws)
    losses = {}
    for chunk in (None, 3):
        many = replace(stage, draws=draws, captions_per_clip=2, chunk=chunk)
        _, told = carry_out(replace(experiment, stages=(many,)), f"run-{chunk}")
        losses[chunk] = [one["loss"] for one in told[1:]]
    assert losses[3] == pytest.approx(losses[None], rel=1e-4)


def test_an_interrupted_student_goes_on_to_the_bit(by, carry_out, interrupted, teacher):
    experiment = replace(by((*DISTIL, "v-distil"), InfoNCE(), epochs=2), teacher=teacher)
    whole, _ = carry_out(experiment, "whole")
    interrupted(4)
    with pytest.raises(InterruptError):
        carry_out(experiment, "broken")
    broken, _ = carry_out(experiment, "broken")
    assert broken.metrics() == whole.metrics()
    for name, value in whole.weights()[0].items():
        assert torch.equal(broken.weights()[0][name], value)


def test_another_teacher_in_its_place_is_refused(by, carry_out, interrupted, teacher):
    experiment = replace(by(DISTIL, InfoNCE(), epochs=3), teacher=teacher)
    interrupted(2)
    with pytest.raises(InterruptError):
        carry_out(experiment, "student")
    shutil.rmtree(teacher)
    with pytest.raises(UserError, match="there is no such file"):
        carry_out(experiment, "student")
    untrained(experiment.model, teacher)
    with pytest.raises(UserError, match=r"--teacher .*teacher: it was trained again after"):
        carry_out(experiment, "student")


def test_a_run_names_its_teacher_and_opens_without_it(by, carry_out, teacher, tmp_path):
    experiment = replace(by(DISTIL, InfoNCE(), epochs=1), teacher=teacher)
    run, _ = carry_out(experiment, "student")
    known = Run(teacher).provenance()
    shutil.rmtree(teacher)
    run.load()
    found = run.provenance()
    assert "teacher" not in found.settings
    assert found.settings["teacher.stages.0.epochs"] == known.settings["stages.0.epochs"] == "8"
    assert found.seeds == (0, *known.seeds)
    plain, _ = carry_out(by(("av", "at", "vt"), InfoNCE(), epochs=1), "plain")
    assert not [name for name in plain.provenance().settings if name.startswith("teacher")]
    write_experiment(tmp_path / "experiment.json", experiment)
    assert read_experiment(tmp_path / "experiment.json") == experiment


def test_the_temperature_is_the_teachers_or_the_option(by, carry_out, teacher, tiny_trimodal):
    learned = {name: float(one.exp()) for name, one in _scales(Run(teacher)).items()}
    assert learned_scales(Run(teacher))[frozenset({"audio", "text"})] == learned["at"]
    published = untrained(tiny_trimodal, teacher.parent / "published")
    assert set(learned_scales(Run(published)).values()) == {100.0}
    losses = set()
    for temperature in (None, 1 / learned["at"], 0.5):
        objective = InfoNCE(teacher_temperature=temperature)
        experiment = replace(by(("at-distil",), objective, epochs=1), teacher=teacher)
        _, told = carry_out(experiment, f"run-{temperature}")
        losses.add(round(told[1]["loss"], 5))
    assert len(losses) == 2


def _scales(run):
    prefix = "objective.log_scale."
    tensors = run.weights()[0].items()
    return {name.removeprefix(prefix): one for name, one in tensors if name.startswith(prefix)}


def test_a_teacher_reads_media_where_the_student_does(
    by, teacher, learnable, made_up, tiny_trimodal
):
    model = tiny_trimodal.build().eval()
    clips, folder = learnable(model)
    experiment = replace(by(DISTIL, InfoNCE()), teacher=teacher)
    cached = FeatureSource(clips, model, folder, ("text", "vision"))
    source = MediaSource(clips, model, made_up, ("audio",), cached)
    opened, known = open_teacher(experiment, model, source)
    assert known.precomputed == ("text", "vision")
    found = teach(experiment, opened, known)
    names = [name for name, plan in made_up.asked]
    assert names == [clip.id for clip in clips]  # each once, and nothing but its sound
    assert not any(plan.frames for _, plan in made_up.asked)
    sample = FeatureSource(clips, opened, folder)
    with torch.inference_mode():
        expected = opened(sample.batch(torch.arange(3).numpy(), None))
    torch.testing.assert_close(found.vision[:3], expected.vision.pooled)
    assert not found.text[-1].any()


def test_clips_of_another_kind_are_refused(tiny_model):
    class Own:
        clips = ()
        captions = Captions.of(clips)
        precomputed = ()

        def batch(self, clips, captions, masking=None): ...

        def texts(self, captions, toward): ...

    with pytest.raises(UserError, match="neither cached features nor media"):
        source_like(Own(), tiny_model, ("audio",))


def wrong(name, tiny_trimodal, tiny_clip4vla, tmp_path):
    """Teachers that do not fit, by name, and what is said of each."""
    clip = tiny_trimodal.text.name
    two = replace(tiny_trimodal, sound_text=ClapText(name=tiny_trimodal.audio.name))
    wide = replace(
        tiny_trimodal,
        text=ClipText(name=clip, dim=8),
        vision=ClipVision(name=clip, dim=8),
        audio=Clap(name=tiny_trimodal.audio.name, dim=8),
    )
    pairs = replace(
        tiny_clip4vla,
        text=ClipText(name=clip, tokens=True),
        fusion=Cross(level="tight", layers=1, heads=2, from_text=False),
    )
    model = {"two spaces": two, "wide": wide, "pairs": pairs}[name]
    return untrained(model, tmp_path / "odd")


@pytest.mark.parametrize(
    ("name", "term", "says"),
    [
        ("two spaces", "av-distil", "does not compare audio with vision, as 'av-distil' does"),
        ("wide", "v-distil", "its vision vectors have 8 numbers, those of this model"),
        ("pairs", "vt-distil", "its vectors only find candidates"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_a_run_exists(
    name, term, says, by, carry_out, tiny_trimodal, tiny_clip4vla, tmp_path
):
    odd = wrong(name, tiny_trimodal, tiny_clip4vla, tmp_path)
    with pytest.raises(UserError, match=f"--teacher {odd}: .*{says}"):
        carry_out(replace(by((term,), InfoNCE()), teacher=odd), "student")
    assert not (tmp_path / "student").exists()


def test_terms_and_teacher_need_each_other(by, tmp_path):
    with pytest.raises(UserError, match="--teacher is missing: 'at-distil' learns from a teacher"):
        check(by(("at-distil",), InfoNCE()))
    with pytest.raises(UserError, match="no term learns from it"):
        check(replace(by(("at",), InfoNCE()), teacher=tmp_path))
