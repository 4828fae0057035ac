import numpy as np
import pytest
import torch

from trichord.evaluation import pairs as module
from trichord.evaluation import vectors
from trichord.evaluation.gallery import Weights
from trichord.evaluation.pairs import Pairs
from trichord.evaluation.vectors import embed_source

LEVELS = ["tight", "local_to_local"]
EVERY = np.arange(5)
"""Captions about both, and their clips: of the first four and twice of the last."""
PRESENT = np.array([0, 1, 2, 4, 5])


def one_by_one(model, source, captions, clips, **weights):
    """Each text with each clip alone through the fusion."""
    numbers = source.captions.numbers["audio_visual"]
    scores = np.empty((len(captions), len(clips)), np.float32)
    with torch.no_grad():
        for row, caption in enumerate(captions):
            text = model.text(source.texts(numbers[[caption]], "vision"))
            for column, clip in enumerate(clips):
                batch = source.batch(np.array([clip]), None)
                sight, sound = model.vision(batch.vision), model.audio(batch.audio)
                scores[row, column] = model.fusion(text, sight, sound, **weights).item()
    return scores


def whole(scores):
    return scores.block(slice(0, scores.shape[0]), slice(0, scores.shape[1]))


@pytest.mark.parametrize("level", LEVELS)
def test_every_text_is_read_with_every_clip(level, fused_model, feature_source):
    model = fused_model(level)
    source = feature_source(model)
    found = embed_source(model, source)
    scores = whole(found.fused.scores(found, "audio_visual", EVERY, PRESENT))
    expected = one_by_one(model, source, EVERY, PRESENT)
    assert expected.std() > 0.1
    np.testing.assert_allclose(scores, expected, atol=2e-5)


def test_captions_and_clips_are_chosen_by_row(fused_model, feature_source):
    model = fused_model("local_to_local")
    source = feature_source(model)
    found = embed_source(model, source)
    captions, clips = np.array([4, 1]), np.array([0, 2, 5])
    scores = whole(found.fused.scores(found, "audio_visual", captions, clips))
    np.testing.assert_allclose(scores, one_by_one(model, source, captions, clips), atol=2e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_how_many_are_held_at_once_changes_nothing(level, fused_model, feature_source, monkeypatch):
    model = fused_model(level)
    source = feature_source(model)
    found = embed_source(model, source)
    once = whole(found.fused.scores(found, "audio_visual", EVERY, PRESENT))
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", 2)
    monkeypatch.setattr(vectors, "CLIPS_AT_ONCE", 4)  # one shelf ends, one begins, with nothing
    found = embed_source(model, source)
    cut = whole(found.fused.scores(found, "audio_visual", EVERY, PRESENT))
    np.testing.assert_allclose(cut, once, atol=2e-5)


def test_a_weight_of_0_hides_a_modality(fused_model, feature_source):
    model = fused_model("local_to_local")
    source = feature_source(model)
    found = embed_source(model, source, Weights(visual_weight=0.0))
    assert found.fused.weights == Weights(visual_weight=0.0)
    scores = whole(found.fused.scores(found, "audio_visual", EVERY, PRESENT))
    hidden = one_by_one(model, source, EVERY, PRESENT, visual_weight=0.0)
    np.testing.assert_allclose(scores, hidden, atol=2e-5)
    assert (scores[:, 1] == 0).all()  # the silent clip has nothing else


def test_every_pair_is_told_once(fused_model, feature_source, monkeypatch):
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", 2)
    monkeypatch.setattr(vectors, "CLIPS_AT_ONCE", 4)
    told = []
    model = fused_model("tight")
    found = embed_source(model, feature_source(model), after_pairs=told.append)
    assert told == []  # nobody has asked yet
    found.fused.scores(found, "audio_visual", EVERY, PRESENT)
    assert told == [6, 4, 6, 4, 3, 2]  # captions 2, 2 and 1; clips 3 and 2


def test_scoring_leaves_training_as_it_was_and_has_no_dropout(fused_model, feature_source):
    model = fused_model("tight")
    found = embed_source(model, feature_source(model))
    before = whole(found.fused.scores(found, "audio_visual", EVERY, PRESENT))
    model.train()
    after = whole(found.fused.scores(found, "audio_visual", EVERY, PRESENT))
    np.testing.assert_array_equal(after, before)
    assert model.fusion.training
    assert torch.is_grad_enabled()


def test_a_model_without_a_fusion_has_no_pairs(fused_model, feature_source):
    model = fused_model(None)
    with pytest.raises(ValueError, match="no fusion"):
        Pairs(model, feature_source(model), [], Weights())
