import math

import numpy as np
import pytest

from trichord.models.calibration import blend
from trichord.search.calibration import calibrate
from trichord.search.gallery import Gallery
from trichord.search.hits import hits_of
from trichord.search.query_plan import EXCLUDED_FROM, Centre, QueryPlan
from trichord.search.query_vectors import QueryVectors
from trichord.types import Moment
from trichord.types.comparable import ALL_PAIRS

DIM = 32


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def gallery():
    """Moments that resemble one another in sight; a third lacks sight, a third sound."""
    rng = np.random.default_rng(0)
    kind = np.arange(300) % 3
    has_vision, has_audio = kind != 1, kind != 2
    vision, audio = unit(rng.normal(size=(300, DIM)) + 3), unit(rng.normal(size=(300, DIM)))
    return Gallery.of(
        tuple(Moment(file=f"f{i // 4:03}", start=i % 4 * 1.0, end=i % 4 + 1.0) for i in range(300)),
        vision=vision * has_vision[:, None],
        has_vision=has_vision,
        audio=audio * has_audio[:, None],
        has_audio=has_audio,
    )


@pytest.fixture(scope="module")
def calibration(gallery):
    texts = unit(np.random.default_rng(1).normal(size=(40, DIM)) + 1)
    return calibrate(gallery, texts, texts, comparable=ALL_PAIRS)


@pytest.fixture(scope="module")
def vectors():
    """Makes the vectors of a part."""

    def vectors(kind, seed, sight=True, sound=True):
        vector = unit(np.random.default_rng(seed).normal(size=DIM) + 1)
        return QueryVectors(kind, vector if sight else None, vector if sound else None)

    return vectors


def plan_of(parts, weights, gallery, calibration):
    centres = (
        Centre.of(gallery.vision, gallery.has_vision),
        Centre.of(gallery.audio, gallery.has_audio),
    )
    return QueryPlan.of(parts, weights, calibration, centres)


def standard(query, vectors, has, scale):
    """Standardised cosines, by every cosine of the gallery."""
    cosines = vectors.astype(np.float64) @ query.astype(np.float64)
    return scale.standardise(cosines[None], has[None])[0] * has


def expected(parts, weights, gallery, calibration):
    """Sight and sound of each moment, each part by itself; all parts have both sides."""
    chosen = [(part, w) for part, w in parts if w > 0]
    size = math.sqrt(sum(w**2 for _, w in chosen))
    sums, agreement = [0.0, 0.0], 0.0
    for part, w in chosen:
        stick = calibration.of_kind(part.kind)
        seen = standard(part.vision, gallery.vision, gallery.has_vision, stick.vision)
        heard = standard(part.audio, gallery.audio, gallery.has_audio, stick.audio)
        sums = [sums[0] + w * seen / size, sums[1] + w * heard / size]
        agreement += (w / size) ** 2 * stick.agreement
    given = gallery.has_vision * weights[0], gallery.has_audio * weights[1]
    return blend(*sums, given, agreement)


def fits(parts, weights, gallery, calibration):
    """How well each moment fits the part to avoid that it fits best, by sight or by sound."""
    heaviest = max(w for _, w in parts)
    best = np.full(len(gallery), -np.inf)
    for part, w in parts:
        stick = calibration.of_kind(part.kind)
        for query, vectors, has, scale, weight in (
            (part.vision, gallery.vision, gallery.has_vision, stick.vision, weights[0]),
            (part.audio, gallery.audio, gallery.has_audio, stick.audio, weights[1]),
        ):
            if w < 0 and weight:
                fit = -w / heaviest * standard(query, vectors, has, scale)
                best = np.where(has, np.maximum(best, fit), best)
    return best


PARTS = [
    [("text", 1.0)],
    [("audio", 1.0)],
    [("both", 0.3)],
    [("text", 1.0), ("text", -1.0)],
    [("text", 2.0), ("vision", 1.0), ("audio", -0.5), ("both", 0.25)],
]


@pytest.mark.parametrize("kinds", PARTS)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0), (0.0, 1.0), (3.0, 0.0)])
def test_scores_are_those_of_each_part_by_itself(gallery, calibration, vectors, kinds, weights):
    parts = [(vectors(kind, seed), w) for seed, (kind, w) in enumerate(kinds)]
    plan = plan_of(parts, weights, gallery, calibration)
    scored = plan.score(gallery, np.arange(len(gallery)))
    (seen, heard), kept = scored.totals, ~scored.demoted
    sight, sound = expected(parts, weights, gallery, calibration)
    np.testing.assert_allclose(seen[kept], sight[kept], rtol=0, atol=3e-6)
    np.testing.assert_allclose(heard[kept], sound[kept], rtol=0, atol=3e-6)


@pytest.mark.parametrize(
    "kinds",
    [
        [("text", 1.0), ("text", -1.0)],
        [("text", 0.5), ("audio", -0.6), ("both", 0.25), ("vision", -0.4)],
    ],
)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.0, 1.0), (3.0, 0.0)])
def test_a_part_to_avoid_demotes_what_fits_it_and_chooses_nothing(
    gallery, calibration, vectors, kinds, weights
):
    parts = [(vectors(kind, seed), w) for seed, (kind, w) in enumerate(kinds)]
    plan = plan_of(parts, weights, gallery, calibration)
    scored = plan.score(gallery, np.arange(len(gallery)))
    wanted = sum(expected(parts, weights, gallery, calibration))
    fit = fits(parts, weights, gallery, calibration)
    np.testing.assert_array_equal(scored.demoted, fit >= EXCLUDED_FROM)
    assert 0 < scored.demoted.sum() < len(gallery) / 2
    lowered = np.minimum(wanted, 0) - fit
    np.testing.assert_allclose(
        sum(scored.totals), np.where(scored.demoted, lowered, wanted), rtol=0, atol=6e-6
    )


@pytest.mark.parametrize("kinds", PARTS)
def test_what_parts_gave_sums_to_sight_and_sound(gallery, calibration, vectors, kinds):
    parts = [(vectors(kind, seed), w) for seed, (kind, w) in enumerate(kinds)]
    plan = plan_of(parts, (1.0, 0.7), gallery, calibration)
    for hit in hits_of(plan.score(gallery, np.arange(len(gallery))).top_k(300), gallery):
        row = gallery.row_of(hit.moment.file, hit.moment.start)
        assert hit.score == (hit.visual or 0.0) + (hit.audio or 0.0)
        assert len(hit.parts) == len(kinds)
        for side, total, has in zip(
            zip(*hit.parts, strict=True), (hit.visual, hit.audio),
            (gallery.has_vision[row], gallery.has_audio[row]), strict=True,
        ):  # fmt: skip
            if has:
                assert sum(side) == pytest.approx(total, abs=1e-9)
            else:
                assert total is None
                assert set(side) == {None}


def test_a_part_that_says_nothing_of_a_side_does_not_weaken_the_others_there(
    gallery, calibration, vectors
):
    text, picture = vectors("text", 0), vectors("vision", 1, sound=False)
    alone = plan_of([(text, 1.0)], (1.0, 1.0), gallery, calibration)
    both = plan_of([(text, 1.0), (picture, 5.0)], (1.0, 1.0), gallery, calibration)
    deaf = np.flatnonzero(gallery.has_audio & ~gallery.has_vision)
    np.testing.assert_array_equal(
        both.score(gallery, deaf).totals[1], alone.score(gallery, deaf).totals[1]
    )
    [hit] = hits_of(both.score(gallery, np.array([0])), gallery)
    assert hit.parts[1][1] is None
    assert None not in hit.parts[0]


def test_a_side_without_weight_gives_nothing_and_is_not_searched(gallery, calibration, vectors):
    plan = plan_of([(vectors("text", 0), 1.0)], (0.0, 1.0), gallery, calibration)
    assert not plan.vision.active
    assert plan.coefficients()[2].tolist()[:2] == [-np.inf, -np.inf]
    [hit] = hits_of(plan.score(gallery, np.array([2])), gallery)  # sight only
    assert (hit.score, hit.visual, hit.audio, hit.parts) == (0.0, 0.0, None, ((0.0, None),))


@pytest.mark.parametrize("kinds", PARTS)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.0, 1.0)])
def test_one_vector_and_one_number_a_side_say_the_same(
    gallery, calibration, vectors, kinds, weights
):
    parts = [(vectors(kind, seed), w) for seed, (kind, w) in enumerate(kinds)]
    plan = plan_of(parts, weights, gallery, calibration)
    sight, sound, added = plan.coefficients()[:, gallery.has_vision + 2 * gallery.has_audio]
    quick = added + sight * (gallery.vision @ plan.vision.vector)
    quick += sound * (gallery.audio @ plan.audio.vector)
    found = np.flatnonzero(quick > -np.inf)
    assert found.tolist() == np.flatnonzero((sight > 0) | (sound > 0)).tolist()
    scored = plan.score(gallery, found)
    apart = np.abs(quick[found] - sum(scored.totals))
    assert apart[~scored.demoted].max() < plan.slack / 2


def test_equal_scores_are_ordered_by_row(gallery, calibration, vectors):
    by_sight = plan_of([(vectors("text", 0), 1.0)], (1.0, 0.0), gallery, calibration)
    unseen = np.flatnonzero(~gallery.has_vision)
    scored = by_sight.score(gallery, unseen[::-1]).top_k(50)
    assert scored.rows.tolist() == unseen[:50].tolist()
    assert not np.any(sum(scored.totals))
