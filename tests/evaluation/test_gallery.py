import numpy as np
import pytest
import torch

from trichord.evaluation.gallery import CaptionVectors, ClipVectors, Mean, Weights
from trichord.models.fusion import GlobalToGlobalFusion
from trichord.types import UserError
from trichord.types.tensors import Features


def units(rows, seed):
    vectors = np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def five():
    """Five clips: 1 is silent, 2 is dark, 3 both; what is absent is not a number."""
    vision, audio, texts = units(5, 0), units(5, 1), units(6, 2)
    has_vision = np.array([True, True, False, False, True])
    has_audio = np.array([True, False, True, False, True])
    vision[~has_vision], audio[~has_audio] = np.nan, np.nan
    owner = np.array([0, 1, 2, 3, 4, 4])
    return ClipVectors(
        ids=tuple("abcde"),
        vision=vision,
        has_vision=has_vision,
        audio=audio,
        has_audio=has_audio,
        captions={"audio_visual": CaptionVectors(tuple("uvwxyz"), owner, texts, texts)},
    )


def like_the_fusion(held, weights, absent):
    """What the model's own fusion scores: texts down, clips across."""

    def features(vectors, present):
        pooled = torch.from_numpy(np.where(present[:, None], vectors, 0))
        return Features(pooled, pooled[:, None], torch.from_numpy(present[:, None]))

    texts = held.captions["audio_visual"].toward_vision
    scores = GlobalToGlobalFusion(absent=absent)(
        features(texts, np.ones(len(texts), dtype=bool)),
        features(held.vision, held.has_vision),
        features(held.audio, held.has_audio),
        visual_weight=weights.visual_weight,
        audio_weight=weights.audio_weight,
    )
    return scores.numpy()


@pytest.mark.parametrize("absent", ["masked", "zeros"])
@pytest.mark.parametrize(("sight", "sound"), [(1.0, 1.0), (3.0, 0.5), (0.0, 1.0), (2.0, 0.0)])
def test_the_mean_scores_as_the_fusion_does_whatever_the_weights(five, absent, sight, sound):
    weights = Weights(visual_weight=sight, audio_weight=sound)
    scores = Mean(weights=weights, absent=absent).scores(
        five, "audio_visual", np.arange(6), np.arange(5)
    )
    whole = scores.block(slice(0, 6), slice(0, 5))
    np.testing.assert_allclose(whole, like_the_fusion(five, weights, absent), atol=1e-6)


def test_captions_and_clips_are_chosen_by_row(five):
    whole = Mean().scores(five, "audio_visual", np.arange(6), np.arange(5))
    some = Mean().scores(five, "audio_visual", np.array([5, 1]), np.array([4, 0]))
    expected = whole.block(slice(0, 6), slice(0, 5))[np.ix_([5, 1], [4, 0])]
    np.testing.assert_array_equal(some.block(slice(0, 2), slice(0, 2)), expected)


def test_no_vector_of_a_clip_is_longer_than_1_and_only_agreement_reaches_it(five):
    length = np.linalg.norm(Mean().vectors(five), axis=1)
    assert length[[1, 2]] == pytest.approx(1)  # of one modality only
    assert length[3] == 0
    assert (length[[0, 4]] < 0.99).all()


def test_a_clip_stands_in_the_fused_gallery_if_it_has_sight_or_sound(five):
    assert five.present("clip").tolist() == [True, True, True, False, True]
    assert five.present("vision").tolist() == five.has_vision.tolist()
    assert five.present("audio").tolist() == five.has_audio.tolist()


def test_fused_clips_without_anything_that_fuses_are_refused(five):
    with pytest.raises(ValueError, match="Nothing says how"):
        five.scores("clip", "audio_visual", np.arange(6), np.arange(5))


@pytest.mark.parametrize(
    ("sight", "sound", "told"),
    [
        (-1.0, 1.0, "--visual-weight -1"),
        (1.0, float("nan"), "--audio-weight nan"),
        (1.0, float("inf"), "--audio-weight inf"),
        (0.0, 0.0, "both 0"),
    ],
)
def test_weights_that_weigh_nothing_are_refused_by_their_option(sight, sound, told):
    with pytest.raises(UserError, match=told):
        Weights(visual_weight=sight, audio_weight=sound)
