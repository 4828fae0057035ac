"""New heads, and encoders that read more than the last layer or than one tower."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from trichord.config import (
    Clap,
    ClapText,
    ClipClapText,
    ClipText,
    ClipVision,
    EncoderConfig,
    TriModal,
    VisionFeatures,
    check,
)
from trichord.encoders.conformance import EncoderUnderTest, flaws_of
from trichord.encoders.heads import FeatureNorm
from trichord.models.builders import _encoder
from trichord.types import UserError
from trichord.types.tensors import Padded

TEXTS = ["a dog barks", "a red ball bounces while somebody plays the guitar slowly", "glass"]


@pytest.fixture(scope="module")
def towers(tiny_towers):
    return {"clip": str(tiny_towers / "clip"), "clap": str(tiny_towers / "clap")}


@pytest.fixture(scope="module")
def configs(towers):
    return {
        "text": ClipClapText(name=towers["clip"], clap=towers["clap"], head_hidden=12, dim=10),
        "layers": Clap(name=towers["clap"], layers="all", head_hidden=12, dim=10),
        "head": ClipVision(name=towers["clip"], head_hidden=12, dim=10, head_dropout=0.5),
    }


@pytest.mark.parametrize("name", ["text", "layers", "head"])
def test_they_keep_every_rule_of_encoders(configs, name):
    config = configs[name]
    subject = EncoderUnderTest.of(lambda: _encoder(config.modality, config))
    assert [wrong for _, wrong in flaws_of(subject) if wrong] == []
    assert subject.encoder.dim == 10


def test_both_text_towers_give_what_each_gives_alone(configs, towers):
    both = configs["text"].build().eval()
    alone = ClipText(name=towers["clip"]).build(), ClapText(name=towers["clap"]).build()
    ids = both.prepare(TEXTS)
    found = both.run_trunk(ids)
    expected = [one.eval().run_trunk(one.prepare(TEXTS)) for one in alone]
    torch.testing.assert_close(found, torch.cat(expected, dim=1), atol=1e-5, rtol=0)
    assert both.lengths(ids).tolist() == [
        max(pair)
        for pair in zip(*(one.lengths(one.prepare(TEXTS)).tolist() for one in alone), strict=True)
    ]


def test_all_layers_begin_with_the_features_of_the_last(configs, towers):
    wave = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    last = Clap(name=towers["clap"]).build().eval()
    every = configs["layers"].build().eval()
    inputs = last.prepare(wave)
    found, expected = every.run_trunk(inputs), last.run_trunk(inputs)
    torch.testing.assert_close(found[:, : last.width], expected, atol=1e-5, rtol=0)
    assert found.shape[1] == every.width > 2 * last.width
    assert every.fingerprint != last.fingerprint


def test_features_of_very_different_sizes_count_alike():
    norm = FeatureNorm(3)
    features = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    scaled = features * torch.tensor([1e-3, 1.0, 1e3]) + torch.tensor([0.0, 5.0, -5.0])
    norm.fit(scaled)
    found = norm(scaled)
    torch.testing.assert_close(found.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_a_feature_that_never_changes_stays_finite():
    norm = FeatureNorm(1)
    norm.fit(torch.full((10, 1), 7.0))
    assert norm(torch.full((2, 3, 1), 7.0)).abs().max() == 0


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        (Clap(layers="all"), "--model.audio.layers all"),
        (Clap(layers="all", head_hidden=8, arithmetic="graph"), "--model.audio.layers all"),
        (Clap(head="linear", head_hidden=8), "--model.audio.head linear"),
        (ClipVision(head_dropout=0.5), "--model.vision.head-dropout 0.5"),
        (VisionFeatures(head="identity", head_hidden=8), "--model.vision.head identity"),
    ],
)
def test_settings_without_effect_are_refused(config, wrong):
    with pytest.raises(UserError, match=wrong):
        check(TriModal(**{config.modality: config}), "--model")


def test_a_model_names_the_weights_of_both_text_towers(configs, towers):
    model = TriModal(text=configs["text"], vision=configs["head"], audio=configs["layers"])
    assert model.weights == (towers["clip"], towers["clap"])
    renamed = model.renamed({towers["clap"]: "elsewhere"})
    assert renamed.weights == (towers["clip"], "elsewhere")
    assert renamed.vision is model.vision


def test_a_config_of_another_package_may_have_fields_of_such_names(towers):
    @dataclass(frozen=True, kw_only=True)
    class Wide(EncoderConfig):
        modality: ClassVar[str] = "vision"
        hidden: int = 7
        weights: str = "mine"

        def build(self):
            return ClipVision(name=towers["clip"]).build()

    built = _encoder("vision", Wide())
    assert isinstance(built.head, torch.nn.Linear)
    model = TriModal(vision=Wide(), text=ClipText(name="t"), audio=Clap(name="a"))
    assert model.weights == ("t", "a")


def test_vectors_do_not_depend_on_the_head_dropout_outside_of_training(configs):
    encoder = _encoder("vision", configs["head"]).eval()
    inputs = Padded.stack([encoder.example()])
    features = encoder.trunk_features(inputs)
    assert torch.equal(encoder(features).pooled, encoder(features).pooled)
