from dataclasses import replace

import numpy as np
import pytest

from trichord.search import snapshot as module
from trichord.search.calibration import calibrate
from trichord.search.candidates import AT_LEAST, AnnCandidates, ExactCandidates
from trichord.search.collection import StoredCollection
from trichord.search.description import Description
from trichord.search.gallery import Gallery
from trichord.search.nearest import half_precision
from trichord.search.nearest.exact import Exact
from trichord.search.nearest.half_precision import HalfPrecision
from trichord.search.query_plan import Centre, QueryPlan
from trichord.search.query_vectors import QueryVectors
from trichord.search.snapshot import BLOCK, QUERIES_FROM, Snapshot
from trichord.types import Moment
from trichord.types.comparable import ALL_PAIRS

DIM = 16
COUNT = BLOCK + 700


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def gallery():
    """More moments than a block holds; one in four repeats another, a third lacks each modality."""
    rng = np.random.default_rng(0)
    like = np.where(rng.uniform(size=COUNT) < 0.25, rng.integers(0, 200, COUNT), np.arange(COUNT))
    kind = like % 3
    has_vision, has_audio = kind != 1, kind != 2
    return Gallery.of(
        tuple(
            Moment(file=f"f{i // 9:04}", start=i % 9 * 1.0, end=i % 9 + 1.0) for i in range(COUNT)
        ),
        vision=unit(rng.normal(size=(COUNT, DIM)) + 1)[like] * has_vision[:, None],
        has_vision=has_vision,
        audio=unit(rng.normal(size=(COUNT, DIM)))[like] * has_audio[:, None],
        has_audio=has_audio,
    )


def rounded(gallery):
    return HalfPrecision.of(
        ((gallery.vision, gallery.has_vision), (gallery.audio, gallery.has_audio))
    )


@pytest.fixture(scope="module", params=["float32", "bfloat16 first"])
def snapshot(request, gallery, tmp_path_factory):
    """Scores all moments in single precision, or in half precision first."""
    description = Description(
        run="run", fingerprint="f", seconds=1.0, hop=1.0, vision_dim=DIM, audio_dim=DIM
    )
    texts = unit(np.random.default_rng(1).normal(size=(30, DIM)))
    return Snapshot(
        collection=StoredCollection.begin(tmp_path_factory.mktemp("c") / "c", description),
        version=0,
        token=None,
        gallery=gallery,
        calibration=calibrate(gallery, texts, texts, comparable=ALL_PAIRS),
        centres=(
            Centre.of(gallery.vision, gallery.has_vision),
            Centre.of(gallery.audio, gallery.has_audio),
        ),
        pattern=(gallery.has_vision + 2 * gallery.has_audio).astype(np.uint8),
        indexes=None,
        half=rounded(gallery) if request.param == "bfloat16 first" else None,
    )


@pytest.fixture(scope="module")
def plans(snapshot):
    """Queries of one part and of three, of every weighting."""
    rng = np.random.default_rng(2)

    def part(kind):
        vector = unit(rng.normal(size=DIM))
        return QueryVectors(kind, vector, vector)

    several = [(part("text"), 1.0), (part("vision"), 0.5), (part("text"), -1.0)]
    queries = [([(part("text"), 1.0)], w) for w in ((1.0, 1.0), (0.2, 1.0), (0.0, 1.0))]
    queries += [(several, (1.0, 1.0)), (several, (1.0, 0.0))] * 2
    return [QueryPlan.of(one, w, snapshot.calibration, snapshot.centres) for one, w in queries]


def all_ranked(snapshot, plan, allowed=None):
    """Every moment that can be found, scored exactly, best first."""
    shares = plan.shares(snapshot.gallery.has_vision, snapshot.gallery.has_audio)
    there = sum(shares) > 0
    rows = np.flatnonzero(there if allowed is None else there & allowed)
    return plan.score(snapshot.gallery, rows).top_k(len(rows)).rows.tolist()


@pytest.mark.parametrize("k", [1, 10, 500, 2 * COUNT])
def test_the_best_are_those_of_scoring_all_exactly(snapshot, plans, k):
    results = snapshot.score(plans, [None] * len(plans))
    for plan, candidates in zip(plans, results, strict=True):
        rows = snapshot.top_k(plan, candidates, k).rows.tolist()
        assert rows == all_ranked(snapshot, plan)[:k]


@pytest.mark.parametrize("k", [1, 10])
def test_where_the_best_are_demoted_the_best_of_the_others_are_found(snapshot, k):
    vector = unit(np.random.default_rng(5).normal(size=DIM))
    part = QueryVectors("text", vector, vector)
    plan = QueryPlan.of(
        [(part, 1.0), (part, -1.0)], (1.0, 1.0), snapshot.calibration, snapshot.centres
    )
    [candidates] = snapshot.score([plan], [None])
    found = snapshot.top_k(plan, candidates, k)
    assert found.rows.tolist() == all_ranked(snapshot, plan)[:k]
    assert not found.demoted.any()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5])
def test_a_filter_leaves_the_order_of_the_others(snapshot, plans, share):
    rng = np.random.default_rng(3)
    allowed = [rng.uniform(size=COUNT) < share for _ in plans]
    results = snapshot.score(plans, allowed)
    for plan, candidates, mask in zip(plans, results, allowed, strict=True):
        rows = snapshot.top_k(plan, candidates, 20).rows.tolist()
        assert rows == all_ranked(snapshot, plan, mask)[:20]


def test_filtered_and_unfiltered_queries_are_asked_together(snapshot, plans):
    mask = np.arange(COUNT) < 50
    masks = [mask if i % 2 else None for i in range(len(plans))]
    for plan, candidates, one in zip(plans, snapshot.score(plans, masks), masks, strict=True):
        rows = snapshot.top_k(plan, candidates, 7).rows.tolist()
        assert rows == all_ranked(snapshot, plan, one)[:7]


def test_several_queries_are_looked_for_in_half_precision_first(snapshot, plans, gallery):
    half = replace(snapshot, half=rounded(gallery))
    for count in (QUERIES_FROM - 1, QUERIES_FROM):
        for one in half.score(plans[:count], [None] * count):
            assert (one.error > 0.0) == (count == QUERIES_FROM)
    few = [np.arange(COUNT) < 50] * len(plans)
    assert {one.error for one in half.score(plans, few)} == {0.0}


@pytest.mark.parametrize("faster", [True, False])
def test_only_many_moments_are_held_in_half_precision_where_it_is_faster(
    gallery, monkeypatch, faster
):
    monkeypatch.setattr(half_precision, "is_faster", lambda: faster)
    assert module._half(gallery) is None
    monkeypatch.setattr(module, "HALF_FROM", COUNT)
    assert (module._half(gallery) is not None) == faster


def test_vectors_may_lie_in_a_file(snapshot, plans, tmp_path):
    gallery = snapshot.gallery
    mapped = {}
    for name in ("vision", "audio"):
        np.save(tmp_path / f"{name}.npy", getattr(gallery, name))
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    other = replace(snapshot, gallery=replace(gallery, **mapped))
    for plan in plans[:4]:
        [candidates] = other.score([plan], [None])
        assert other.top_k(plan, candidates, 30).rows.tolist() == all_ranked(snapshot, plan)[:30]


@pytest.mark.parametrize("filtered", [False, True])
def test_where_all_moments_are_proposed_the_result_is_exact(snapshot, plans, filtered):
    gallery = snapshot.gallery
    mask = np.arange(COUNT) % 5 == 0 if filtered else None
    for plan in plans[:5]:
        candidates = AnnCandidates(
            plan,
            Exact(gallery.vision, gallery.has_vision),
            Exact(gallery.audio, gallery.has_audio),
            mask,
        )
        rows = snapshot.top_k(plan, candidates, COUNT).rows.tolist()
        assert rows == all_ranked(snapshot, plan, mask)


def test_the_best_by_either_side_are_proposed(snapshot, plans):
    gallery, plan = snapshot.gallery, plans[0]
    sight = Exact(gallery.vision, gallery.has_vision)
    sound = Exact(gallery.audio, gallery.has_audio)
    rows = AnnCandidates(plan, sight, sound, None).best(1)
    assert len(rows) < COUNT
    seen = sight.search(plan.vision.vector.astype(np.float32)[None], AT_LEAST)[0][0]
    heard = sound.search(plan.audio.vector.astype(np.float32)[None], AT_LEAST)[0][0]
    assert rows.tolist() == sorted({*seen.tolist(), *heard.tolist()})
    assert all_ranked(snapshot, plan)[0] in rows


def test_scores_off_by_less_than_half_the_slack_lose_nothing():
    scores = np.zeros(1000, np.float32)
    scores[[5, 700]] = 1.0, 0.9
    assert ExactCandidates(scores, None, slack=0.25).best(1).tolist() == [5, 700]
    assert ExactCandidates(scores, np.arange(1000) + 7, slack=0.05).best(1).tolist() == [12]
