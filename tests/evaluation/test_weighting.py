import numpy as np
import pytest

from trichord.evaluation.gallery import CaptionVectors, ClipVectors
from trichord.evaluation.weighting import CAPTIONS, RATIOS, learn_weighting
from trichord.models.calibration import Background, blend, measure
from trichord.types.comparable import ALL_PAIRS

DIM = 16


def made(sight_noise, audio_noise, count=120, captions=2, seed=0, swap=False):
    """Clips whose captions lie near what is seen and near what is heard; a few lack one of the two."""
    rng = np.random.default_rng(seed)
    vision, audio = rng.normal(size=(2, count, DIM)).astype(np.float32)
    has_vision, has_audio = np.arange(count) % 10 != 3, np.arange(count) % 10 != 7
    owner = np.repeat(np.arange(count), captions)
    shape = (len(owner), DIM)
    toward_vision = (vision[owner] + sight_noise * rng.normal(size=shape)).astype(np.float32)
    toward_audio = (audio[owner] + audio_noise * rng.normal(size=shape)).astype(np.float32)
    vision[~has_vision], audio[~has_audio] = np.nan, np.nan
    if swap:
        vision, audio, has_vision, has_audio = audio, vision, has_audio, has_vision
        toward_vision, toward_audio = toward_audio, toward_vision
    texts = tuple(str(i) for i in range(len(owner)))
    return ClipVectors(
        ids=tuple(str(i) for i in range(count)),
        vision=vision,
        has_vision=has_vision,
        audio=audio,
        has_audio=has_audio,
        captions={"audio_visual": CaptionVectors(texts, owner, toward_vision, toward_audio)},
        comparable=ALL_PAIRS - {("audio", "vision")},
    )


def mean_reciprocal_rank(vectors, sight, sound):
    """By every caption and clip, one after the other."""

    def unit(rows, has=None):
        found = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return found if has is None else np.where(has[:, None], found, 0.0)

    class Sides:
        vision = unit(vectors.vision, vectors.has_vision)
        audio = unit(vectors.audio, vectors.has_audio)
        has_vision, has_audio = vectors.has_vision, vectors.has_audio

    asked = vectors.captions["audio_visual"]
    queries = unit(asked.toward_vision), unit(asked.toward_audio)
    allowed = asked.owner[:, None] != np.arange(len(vectors.ids))
    stick = measure(Sides(), Background(vision=queries[0], audio=queries[1], allowed=allowed))
    total = 0.0
    for i, owner in enumerate(asked.owner):
        sides = [
            scale.standardise((rows @ query[i])[None], has[None])[0] * has
            for scale, rows, query, has in (
                (stick.vision, Sides.vision, queries[0], Sides.has_vision),
                (stick.audio, Sides.audio, queries[1], Sides.has_audio),
            )
        ]
        weights = Sides.has_vision * sight, Sides.has_audio * sound
        score = sum(blend(*sides, weights, stick.agreement))
        total += 1 / (1 + (np.delete(score, owner) >= score[owner] - 1e-6).sum())
    return total / len(asked.owner)


@pytest.mark.parametrize("swap", [False, True])
def test_the_side_that_captions_speak_of_counts_more(swap):
    vectors = made(0.7, 4.0, swap=swap)
    found = learn_weighting(vectors, resamples=200)
    larger, smaller = (found.audio, found.visual) if swap else (found.visual, found.audio)
    assert larger > 1.2 > 0.8 > smaller > 0
    assert found.visual + found.audio == pytest.approx(2.0)
    assert found.gain.low > 0
    assert (found.captions, found.clips) == (240, 120)


def test_the_weights_are_the_best_of_the_grid_and_the_numbers_those_of_a_plain_count():
    vectors = made(0.7, 4.0)
    found = learn_weighting(vectors, resamples=50)
    assert found.even == pytest.approx(mean_reciprocal_rank(vectors, 1.0, 1.0), abs=1e-9)
    best = max(RATIOS, key=lambda ratio: mean_reciprocal_rank(vectors, ratio, 1.0))
    assert found.visual / found.audio == pytest.approx(best)


def test_what_does_not_help_beyond_doubt_leaves_both_alike():
    found = learn_weighting(made(1.5, 1.5), resamples=200)
    assert (found.visual, found.audio) == (1.0, 1.0)
    assert found.gain.low <= 0


def test_where_all_weights_do_the_same_both_count_alike():
    found = learn_weighting(made(0.0, 0.0), resamples=50)
    assert (found.visual, found.audio, found.even) == (1.0, 1.0, 1.0)
    assert found.gain.value == 0


def test_only_captions_of_the_kinds_asked_for_count():
    vectors = made(1.0, 1.0)
    with pytest.raises(ValueError, match="none of these kinds"):
        learn_weighting(vectors, kinds=("visual",))
    assert learn_weighting(vectors, kinds=("audio_visual",), resamples=9).captions == 240


def test_many_captions_are_thinned_evenly():
    found = learn_weighting(made(1.0, 1.0, count=300, captions=8), resamples=9)
    assert found.captions == CAPTIONS < 2400
    assert found.clips == 300


def test_one_clip_teaches_nothing():
    with pytest.raises(ValueError, match="two clips"):
        learn_weighting(made(1.0, 1.0, count=1))
