"""Captions are learnt by the loop that learns everything else."""

import math
from dataclasses import replace

import pytest
import torch

from trichord.checkpoint import Run, fresh_model
from trichord.config import AdamW, CaptionGenerator, Draw, Experiment, Stage
from trichord.features.extraction import extract_texts
from trichord.features.source import FeatureSource, MediaSource
from trichord.training.criteria import measure_criterion, word_likelihood
from trichord.training.fit import fit
from trichord.training.session import Session
from trichord.types import UserError


class InterruptError(Exception):
    pass


@pytest.fixture
def writing(tiny_trimodal):
    """A captioner alone learns, from sight and sound."""
    stage = Stage(
        name="captioning",
        trains=(),
        draws=(Draw(captions=("audio_visual",), terms=("lm",)),),
        criterion=("words<-audio_visual",),
        batch_size=8,
        epochs=60,
        patience=60,
        optimizer=AdamW(lr=3e-2, schedule="cosine"),
    )
    model = replace(
        tiny_trimodal,
        text=replace(tiny_trimodal.text, tokens=True),
        captioner=CaptionGenerator(layers=1, from_text=False, heads=2, text_slots=77),
    )
    return Experiment(system="x", model=model, stages=(stage,))


@pytest.fixture
def write(tmp_path, learnable, made_up):
    """Train on learnable features; words come from the captions or from cached features of them."""

    def run_it(experiment, name="run", texts="media"):
        model = fresh_model(experiment)
        clips, folder = learnable(model)
        if texts == "features":
            for lance in folder.path.glob("text-*"):  # those that `learnable` made up
                lance.rename(tmp_path / f"{name}.made-up")
            list(extract_texts(model, [c.text for clip in clips for c in clip.captions], folder))
        sources = []
        for split in ("train", "val"):
            held = [clip for clip in clips if clip.split == split]
            if texts == "features":
                sources.append(FeatureSource(held, model, folder))
                continue
            cached = FeatureSource(held, model, folder, ("audio", "vision"))
            sources.append(MediaSource(held, model, made_up, ("text",), cached))
        run, told = Run(tmp_path / name), []
        fit(experiment, model, sources, run, manifest="m", after_epoch=told.append)
        return run, told, sources

    return run_it


def shortened(experiment, **changes):
    return replace(experiment, stages=(replace(experiment.stages[0], **changes),))


def test_words_become_likely_and_only_the_captioner_moves(writing, write):
    run, told, _ = write(writing)
    reached = [numbers["criterion"] for numbers in told]
    assert reached[0] < 0.01  # a few hundred tokens, all alike
    assert max(reached) > 0.5
    before, after = fresh_model(writing).state_dict(), run.load().state_dict()
    moved = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert moved == {"captioner"}


def test_captions_read_from_the_cache_are_learnt_alike(writing, write):
    few = shortened(writing, epochs=2)
    one, _, _ = write(few, "media")
    other, _, _ = write(few, "features", texts="features")
    pairs = zip(one.metrics(), other.metrics(), strict=True)
    assert all(a["criterion"] == pytest.approx(b["criterion"], rel=1e-4) for a, b in pairs)


@pytest.mark.parametrize(
    "at", [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(5, marks=pytest.mark.slow)]
)
def test_an_interrupted_captioner_ends_bit_for_bit_as_an_uninterrupted_one(
    at, writing, write, monkeypatch
):
    few = shortened(writing, epochs=2)
    whole, _, _ = write(few, "whole")
    monkeypatch.setattr("trichord.training.session.SECONDS_BETWEEN_SAVES", -1.0)
    steps, after_step = [], Session.after_step

    def counted(self, optimizer, loss):
        after_step(self, optimizer, loss)
        steps.append(loss)
        if len(steps) == at:
            raise InterruptError

    monkeypatch.setattr(Session, "after_step", counted)
    with pytest.raises(InterruptError):
        write(few, "broken")
    broken, _, _ = write(few, "broken")
    one, other = whole.load().state_dict(), broken.load().state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_likelihood_of_a_word_is_one_over_the_perplexity(writing, write):
    _, _, sources = write(shortened(writing, epochs=1))
    model = fresh_model(writing)
    vocabulary = len(model.text.table)
    with torch.no_grad():  # every token is as likely as every other
        model.captioner.turn_norm.weight.zero_()
        model.captioner.bias.zero_()
    found = word_likelihood(model, sources[1], "audio_visual")
    assert found == pytest.approx(1 / vocabulary, rel=1e-4)
    with torch.no_grad():  # the end is twice as likely as any other
        model.captioner.bias[model.text.end] = math.log(2)
    words = model.token_ids([c.text for clip in sources[1].clips for c in clip.captions[2:3]])
    places, ends = sum(len(ids) - 1 for ids in words), len(words)
    expected = 2 ** (ends / places) / (vocabulary + 1)
    assert word_likelihood(model, sources[1], "audio_visual") == pytest.approx(expected, rel=1e-4)


def test_criteria_name_what_they_are_of_and_leave_out_what_is_not_there(writing, write):
    _, _, sources = write(shortened(writing, epochs=1))
    model = fresh_model(writing)
    found = measure_criterion(model, sources[1], ("words<-audio_visual", "words<-visual"))
    assert set(found.parts) == {"words<-audio_visual", "words<-visual"}
    assert found.value == sum(found.parts.values()) / 2
    assert found.measure == "likelihood of a word"
    assert found.candidates == {}
    silent = replace(writing.model, captioner=None).build()
    assert measure_criterion(silent, sources[1], ("words<-visual",)) is None


def test_a_captioner_without_words_or_room_for_them_is_refused(writing):
    plain = replace(writing.model.text, tokens=False)
    with pytest.raises(UserError, match=r"--model\.text\.tokens True"):
        replace(writing.model, text=plain).build()
    cramped = replace(writing.model.captioner, text_slots=8)
    with pytest.raises(UserError, match=r"text-slots 8 is less than --model\.text\.longest"):
        replace(writing.model, captioner=cramped).build()
