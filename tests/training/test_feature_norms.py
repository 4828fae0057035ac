"""New heads know mean and deviation of their features before the first step, and keep them."""

from dataclasses import replace

import torch

from trichord.checkpoint import Run
from trichord.encoders.heads import FeatureNorm
from trichord.features.source import FeatureSource
from trichord.training.fit import fit


def with_hidden_heads(experiment):
    model = experiment.model
    heads = {
        name: replace(getattr(model, name), head_hidden=16, dim=24)
        for name in ("text", "vision", "audio")
    }
    return replace(experiment, model=replace(model, **heads))


def sources(model, learnable, count=24):
    clips, folder = learnable(model)
    splits = {name: [one for one in clips if one.split == name] for name in ("train", "val")}
    return [FeatureSource(some, model, folder) for some in (splits["train"][:count], splits["val"])]


def norms(model):
    return {name: encoder.head[0] for name, encoder in model.encoders().items()}


def test_they_are_those_of_the_training_clips_of_each_modality(small, carry_out, learnable):
    experiment = with_hidden_heads(small("slava-a-and-v"))
    run, _ = carry_out(experiment)
    source = sources(run.load(), learnable)[0]
    for name, norm in norms(run.load()).items():
        assert isinstance(norm, FeatureNorm)
        if name == "text":
            continue
        features = source._media[name].values
        torch.testing.assert_close(norm.mean, features.mean(0), atol=1e-5, rtol=0)
        torch.testing.assert_close(norm.deviation, features.std(0, correction=0), atol=1e-5, rtol=0)
    assert norms(run.load())["text"].mean.abs().sum() > 0


def test_a_run_that_starts_from_another_keeps_that_ones(small, carry_out, learnable, tmp_path):
    first, _ = carry_out(with_hidden_heads(small("slava-a-and-v", epochs=1)))
    kept = norms(first.load())["vision"].mean.clone()
    later = replace(with_hidden_heads(small("audio-visual", epochs=1)), start=first.path)
    run, model = Run(tmp_path / "later"), first.load()
    fewer = sources(model, learnable, 16)
    fit(later, model, fewer, run, manifest="m", after_epoch=lambda _: None)
    assert torch.equal(norms(run.load())["vision"].mean, kept)


def test_heads_with_a_hidden_layer_learn(small, carry_out):
    _, told = carry_out(with_hidden_heads(small("slava-a-and-v", epochs=30, patience=30)))
    assert told[-1]["validation"]["visual<-sound"] > told[0]["validation"]["visual<-sound"] + 0.3
