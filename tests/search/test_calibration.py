from dataclasses import asdict

import numpy as np
import pytest

from trichord.models.calibration import blend
from trichord.search.calibration import Calibration, calibrate, evenly
from trichord.search.gallery import Gallery
from trichord.types import Moment
from trichord.types.comparable import ALL_PAIRS

DIM = 32


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random_gallery(count=400, seed=0, shared=0.0):
    """Moments without meaning: pictures in a narrow cone, sounds all about; a third lacks each."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(count, DIM))
    cone = 12 * np.eye(DIM)[0]
    vision = unit(cone + rng.normal(size=(count, DIM)) + shared * common)
    audio = unit(rng.normal(size=(count, DIM)) + shared * common)
    kind = np.arange(count) % 3
    has_vision, has_audio = kind != 1, kind != 2
    return Gallery.of(
        tuple(Moment(file=f"f{i:03}", start=0.0, end=1.0) for i in range(count)),
        vision=vision * has_vision[:, None],
        has_vision=has_vision,
        audio=audio * has_audio[:, None],
        has_audio=has_audio,
    )


def random_texts(count, seed):
    return unit(np.random.default_rng(seed).normal(size=(count, DIM)))


def scores(gallery, calibration, queries):
    stick = calibration.text
    sides = []
    for scale, vectors, has in (
        (stick.vision, gallery.vision, gallery.has_vision),
        (stick.audio, gallery.audio, gallery.has_audio),
    ):
        cosines = (queries @ vectors.T).astype(np.float64)
        sides.append(scale.standardise(cosines, np.broadcast_to(has, cosines.shape)))
    weights = gallery.has_vision.astype(float), gallery.has_audio.astype(float)
    blended = [blend(*row, weights, stick.agreement) for row in zip(*sides, strict=True)]
    return np.array([seen + heard for seen, heard in blended])


@pytest.mark.parametrize("shared", [0.0, 1.5])
def test_moments_lacking_a_modality_are_among_the_best_as_often_as_the_others(shared):
    gallery = random_gallery(shared=shared)
    texts = random_texts(60, seed=1)
    found = scores(
        gallery, calibrate(gallery, texts, texts, comparable=ALL_PAIRS), random_texts(300, 2)
    )
    best = np.argsort(-found, axis=1)[:, :20] % 3  # 0: both, 1: sound only, 2: sight only
    share = [(best == kind).mean() for kind in range(3)]
    assert share == pytest.approx([1 / 3] * 3, abs=0.07)


def test_a_mean_of_raw_cosines_would_not_be_fair():
    gallery = random_gallery()
    queries = random_texts(300, 2)
    seen, heard = queries @ gallery.vision.T, queries @ gallery.audio.T
    count = gallery.has_vision * 1.0 + gallery.has_audio
    best = np.argsort(-(seen + heard) / count, axis=1)[:, :20] % 3
    assert (best == 0).mean() < 0.2  # moments with both lie in the middle


def test_scores_without_a_match_have_mean_zero_and_spread_one_for_every_kind_of_moment():
    gallery = random_gallery(shared=1.5)
    texts = random_texts(200, seed=1)
    found = scores(
        gallery, calibrate(gallery, texts, texts, comparable=ALL_PAIRS), random_texts(300, 2)
    )
    for kind in range(3):
        assert found[:, kind::3].mean() == pytest.approx(0.0, abs=0.05)
        assert found[:, kind::3].std() == pytest.approx(1.0, abs=0.1)


def test_one_identical_moment_everywhere_gives_finite_scores():
    same = Gallery.of(
        tuple(Moment(file="f", start=float(i), end=i + 1.0) for i in range(3)),
        vision=np.tile(np.eye(4, dtype=np.float32)[:1], (3, 1)),
        has_vision=np.ones(3, bool),
        audio=np.zeros((3, 4), np.float32),
        has_audio=np.zeros(3, bool),
    )
    text = np.eye(4, dtype=np.float32)[:1]
    calibration = calibrate(same, text, text, comparable=ALL_PAIRS)
    for kind in ("text", "vision", "audio", "both"):
        stick = calibration.of_kind(kind)
        assert stick.vision.spread > 0
        assert stick.audio.spread == pytest.approx(0.5)  # 1/√4: there is no sound
        assert 0 <= stick.agreement < 1


def test_moments_of_the_same_file_do_not_measure_each_other():
    rng = np.random.default_rng(0)
    twins = np.repeat(unit(rng.normal(size=(20, DIM))), 2, axis=0)
    gallery = Gallery.of(
        tuple(Moment(file=f"f{i // 2}", start=i % 2 * 1.0, end=5.0) for i in range(40)),
        vision=twins,
        has_vision=np.ones(40, bool),
        audio=np.zeros((40, DIM), np.float32),
        has_audio=np.zeros(40, bool),
    )
    texts = random_texts(5, 0)
    sight = calibrate(gallery, texts, texts, comparable=ALL_PAIRS).vision.vision
    others = [float(a @ b) for a in twins[::2] for b in twins[::2] if a is not b and a @ b < 0.999]
    assert sight.location == pytest.approx(np.mean(others), abs=1e-5)


def test_what_a_model_cannot_compare_is_not_measured():
    gallery = random_gallery()
    texts = random_texts(5, 0)
    alone = calibrate(gallery, texts, texts, comparable=ALL_PAIRS - {("audio", "vision")})
    for scale in (alone.vision.audio, alone.audio.vision):
        assert scale.location == 0
        assert scale.spread == pytest.approx(1 / np.sqrt(DIM))
    assert alone.both.vision.location == pytest.approx(alone.vision.vision.location, abs=0.02)
    assert alone.vision.agreement == 0


def test_a_calibration_is_read_back_equal():
    gallery = random_gallery(30)
    texts = random_texts(5, 0)
    calibration = calibrate(gallery, texts, texts, comparable=ALL_PAIRS)
    assert Calibration.of(asdict(calibration)) == calibration


def test_a_spread_of_no_size_is_refused():
    scale, flat = {"location": 0.0, "spread": 1.0}, {"location": 0.0, "spread": 0.0}
    stick = {"vision": scale, "audio": flat, "agreement": 0.0}
    with pytest.raises(ValueError, match="spread"):
        Calibration.of(dict.fromkeys(("text", "vision", "audio", "both"), stick))


def test_large_galleries_are_thinned_evenly():
    thin = random_gallery(10).take(evenly(10, 4))
    assert [moment.file for moment in thin.moments] == ["f000", "f002", "f005", "f007"]
