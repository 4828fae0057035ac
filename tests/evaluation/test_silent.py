import numpy as np
import pytest
import torch

from trichord.evaluation.silent import borrow, draw, heard_by, leave_out, with_audio
from trichord.evaluation.vectors import embed_source
from trichord.types import UserError

DONORS = (*((f"t{i}",) for i in range(7)), ("silent",), ("dark",), ("neither",))
"""Ten training clips; the last three lack something."""


@pytest.fixture
def model(fused_model):
    return fused_model("global_to_global")


@pytest.fixture
def training(feature_source):
    return lambda model, donors=DONORS: feature_source(model, donors, seed=1)


def vision_of(model, source):
    with torch.no_grad():
        batch = source.batch(np.arange(len(source.clips)), None)
        return model.vision(batch.vision).pooled.numpy()


def test_which_clips_have_sound(model, feature_source):
    source = feature_source(model)
    assert with_audio(source).tolist() == [True, False, True, False, True, True]
    deaf = feature_source(model, modalities=("text", "vision"))
    assert not with_audio(deaf).any()


def test_masked_clips_stay_as_they_are(model, feature_source):
    source = feature_source(model)

    def training():
        raise AssertionError("nobody needs the training clips")

    heard = heard_by("masked", model, source, training)
    assert heard.source is source
    assert (heard.silent, heard.rule) == ({}, "masked")


def test_silent_clips_are_left_out_of_gallery_and_queries(model, feature_source):
    heard = leave_out(feature_source(model))
    found = embed_source(model, heard.source)
    assert found.ids == ("both", "dark", "plain", "more")
    assert found.captions["audio_visual"].texts == (
        "a drum on a table",
        "a bell in the dark",
        "a drum",
        "a bell rings",
    )
    assert heard.silent == {"silent": None, "neither": None}
    assert heard.rule == "masked, silent clips left out"


def test_nothing_but_silent_clips_is_refused(model, feature_source):
    source = feature_source(model, (("silent", ("visual", "a ball")), ("neither",)))
    with pytest.raises(UserError, match="Every clip is silent"):
        leave_out(source)


def test_a_silent_clip_borrows_from_the_clip_that_looks_most_like_it(
    model, feature_source, training
):
    source, lender = feature_source(model), training(model)
    heard = borrow(model, source, lender)
    like = vision_of(model, source)[1] @ vision_of(model, lender)[:7].T
    nearest = int(like.argmax())
    assert heard.silent == {"silent": f"t{nearest}", "neither": None}
    own, other = embed_source(model, source), embed_source(model, lender)
    found = embed_source(model, heard.source)
    np.testing.assert_allclose(found.audio[1], other.audio[nearest], atol=1e-6)
    np.testing.assert_allclose(found.audio[[0, 2, 4, 5]], own.audio[[0, 2, 4, 5]], atol=1e-6)
    np.testing.assert_allclose(found.vision, own.vision, atol=1e-6)
    assert found.has_audio.tolist() == [True, True, True, False, True, True]
    assert found.ids == own.ids


def test_clips_without_sound_or_picture_lend_none(model, feature_source, training):
    source = feature_source(model)
    alike = (("silent",), ("dark",), ("a",), ("neither",))
    heard = borrow(model, source, training(model, alike))
    assert heard.silent["silent"] == "a"
    assert heard.rule.startswith("masked, sound borrowed from 1 training clips (")


def test_how_many_are_looked_at_together_changes_no_donor(
    model, feature_source, training, monkeypatch
):
    whole = borrow(model, feature_source(model), training(model))
    monkeypatch.setattr("trichord.evaluation.silent.CLIPS_AT_ONCE", 2)
    cut = borrow(model, feature_source(model), training(model))
    assert (cut.silent, cut.rule) == (whole.silent, whole.rule)


@pytest.mark.parametrize("level", ["global_to_local", "local_to_local"])
def test_steps_are_lent_before_the_fusion(level, fused_model, feature_source, training):
    """A clip with a lent sound scores as a clip that has that sound: what the fusion reads is steps."""
    model = fused_model(level)
    source, lender = feature_source(model), training(model)
    heard = borrow(model, source, lender)
    donor = [clip.id for clip in lender.clips].index(heard.silent["silent"])
    found = embed_source(model, heard.source)
    scores = found.scores("clip", "audio_visual", np.arange(2), np.array([1]))
    numbers = source.captions.numbers["audio_visual"][:2]
    with torch.no_grad():
        expected = model.fusion(
            model.text(source.texts(numbers, "vision")),
            model.vision(source.batch(np.array([1]), None).vision),
            model.audio(lender.batch(np.array([donor]), None).audio),
        )
    np.testing.assert_allclose(scores.block(slice(0, 2), slice(0, 1)), expected, atol=2e-5)
    alone = embed_source(model, source).scores("clip", "audio_visual", np.arange(2), np.array([1]))
    assert np.abs(alone.block(slice(0, 2), slice(0, 1)) - expected.numpy()).max() > 1e-3


def test_the_protocol_knows_who_could_lend(model, feature_source, training):
    source = feature_source(model)
    rules = {
        borrow(model, source, training(model, donors)).rule
        for donors in (DONORS, DONORS[1:], (*DONORS, ("silent2",)), tuple(reversed(DONORS)))
    }
    assert len(rules) == 2  # neither order nor clips that cannot lend are a matter
    assert sorted(rule[:44] for rule in rules) == [
        "masked, sound borrowed from 6 training clips",
        "masked, sound borrowed from 7 training clips",
    ]


def test_a_drawn_sound_depends_on_seed_and_clip_alone(model, feature_source, training):
    lender = training(model)
    source = feature_source(model)
    heard = draw(source, lender)
    assert set(heard.silent) == {"silent", "neither"}
    assert heard.rule.startswith("masked, sound drawn from 8 training clips (")  # also the dark one
    assert heard.rule.endswith("), seed 0")
    backwards = training(model, tuple(reversed(DONORS)))
    assert draw(source, backwards).silent == heard.silent
    fewer = feature_source(model, (("silent", ("visual", "a ball")), ("more",)))
    assert draw(fewer, lender).silent == {"silent": heard.silent["silent"]}
    assert len({draw(source, lender, seed=seed).silent["silent"] for seed in range(40)}) == 8
    found = embed_source(model, heard.source)
    assert found.has_audio.all()
    donor = [clip.id for clip in lender.clips].index(heard.silent["neither"])
    np.testing.assert_allclose(found.audio[3], embed_source(model, lender).audio[donor], atol=1e-6)


@pytest.mark.parametrize("rule", ["borrowed", "random"])
def test_where_no_clip_is_silent_nothing_is_lent(rule, model, feature_source, training):
    source = feature_source(model, (("both", ("visual", "a ball")), ("more",)))
    heard = heard_by(rule, model, source, lambda: training(model))
    assert heard.source is source
    assert (heard.silent, heard.rule) == ({}, "masked")


@pytest.mark.parametrize("rule", ["borrowed", "random"])
def test_nobody_who_could_lend_is_refused(rule, model, feature_source, training):
    with pytest.raises(UserError, match="No training clip has sound"):
        heard_by(rule, model, feature_source(model), lambda: training(model, (("silent",),)))


def test_borrowing_needs_pictures(model, feature_source, training):
    blind = feature_source(model, modalities=("text", "audio"))
    with pytest.raises(UserError, match="chosen by pictures"):
        borrow(model, blind, training(model))


def test_choosing_donors_leaves_training_as_it_was(model, feature_source, training):
    model.train()
    borrow(model, feature_source(model), training(model))
    assert model.training
