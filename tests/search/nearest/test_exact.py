import numpy as np
import pytest

from trichord.search.nearest import Exact, Nearest
from trichord.search.nearest.exact import SINGLE, TILE, best_rows, inner_products


@pytest.mark.parametrize("count", [1, SINGLE, SINGLE + 1, 16])
@pytest.mark.parametrize("k", [1, 10, 700])
def test_the_best_are_those_of_sorting_everything(gallery, texts, brute, count, k):
    rows, cosines = Exact(gallery.vision, gallery.has_vision).search(texts[:count], k)
    expected = brute(gallery.vision, gallery.has_vision, texts[:count], k)
    assert np.array_equal(rows, expected[0])
    assert cosines == pytest.approx(expected[1], abs=1e-12)


def test_it_is_a_nearest(gallery):
    assert isinstance(Exact(gallery.vision, gallery.has_vision), Nearest)


@pytest.mark.parametrize("share", [0.9, 0.2, 0.01])
def test_filters_leave_the_best_of_what_is_allowed(gallery, texts, brute, share):
    allowed = np.random.default_rng(1).random(3000) < share
    rows, cosines = Exact(gallery.audio, gallery.has_audio).search(texts[:7], 10, allowed)
    expected = brute(gallery.audio, gallery.has_audio, texts[:7], 10, allowed)
    assert np.array_equal(rows, expected[0])
    assert cosines == pytest.approx(expected[1], abs=1e-12)


def test_a_filter_that_leaves_three_rows_gives_three_and_then_none(gallery, texts):
    allowed = np.zeros(3000, bool)
    allowed[[0, 1, 2, 2999]] = True  # row 0 has no picture
    rows, cosines = Exact(gallery.vision, gallery.has_vision).search(texts[:2], 5, allowed)
    for found, scores in zip(rows, cosines, strict=True):
        assert sorted(found[:3]) == [1, 2, 2999]
        assert list(found[3:]) == [-1, -1]
        assert list(scores[3:]) == [-np.inf, -np.inf]


@pytest.mark.parametrize("allowed", [None, np.zeros(3000, bool)])
def test_rows_without_a_vector_are_never_found(gallery, texts, allowed):
    nowhere = np.zeros(3000, bool)
    rows, cosines = Exact(np.zeros_like(gallery.vision), nowhere).search(texts[:3], 4, allowed)
    assert (rows == -1).all()
    assert (cosines == -np.inf).all()


def test_a_vector_of_a_row_without_one_is_not_found_even_if_it_is_the_nearest(gallery, texts):
    vectors = gallery.vision.copy()
    vectors[5] = texts[0]  # marked as missing, whatever its memory holds
    assert 5 not in Exact(vectors, gallery.has_vision).search(texts[:1], 3000)[0]


def test_fewer_rows_than_k(columns, texts, brute):
    few = columns(6)
    rows, _ = Exact(few.vision, few.has_vision).search(texts[:2], 10)
    assert np.array_equal(rows, brute(few.vision, few.has_vision, texts[:2], 10)[0])
    assert ((rows >= 0).sum(axis=1) == 4).all()  # rows 0 and 5 have none


def test_an_empty_gallery_has_nothing(columns, texts):
    none = columns(0)
    rows, cosines = Exact(none.vision, none.has_vision).search(texts[:2], 3)
    assert (rows == -1).all()
    assert (cosines == -np.inf).all()


def test_no_queries_have_no_answers(gallery, texts):
    rows, cosines = Exact(gallery.vision, gallery.has_vision).search(texts[:0], 3)
    assert rows.shape == cosines.shape == (0, 3)


def test_equal_moments_go_by_row_wherever_they_stand(unit):
    vectors = unit(np.random.default_rng(2).normal(size=(2 * TILE + 77, 512)))
    same = [3, 4, 900, TILE - 1, TILE, 2 * TILE + 76]
    vectors[same] = unit(np.ones((1, 512)))
    for count in (1, 16):  # both ways to score
        queries = unit(np.ones((1, 512)) + 0.01 * vectors[:1]).repeat(count, axis=0)
        for k in (4, 6):
            rows, cosines = Exact(vectors, np.ones(len(vectors), bool)).search(queries, k)
            assert rows.tolist() == [same[:k]] * count
            assert (cosines == cosines[0, 0]).all()


def test_answers_do_not_depend_on_the_batch(gallery, texts):
    search = Exact(gallery.vision, gallery.has_vision).search
    together = search(texts, 20)
    alone = [search(query[None], 20) for query in texts]
    assert np.array_equal(together[0], np.concatenate([one[0] for one in alone]))
    assert np.array_equal(together[1], np.concatenate([one[1] for one in alone]))


def test_long_queries_are_ranked_alike(gallery, texts):
    search = Exact(gallery.vision, gallery.has_vision).search
    rows, cosines = search(texts, 10)
    longer = search(1000 * texts, 10)
    assert np.array_equal(longer[0], rows)
    assert longer[1] == pytest.approx(1000 * cosines, rel=1e-6)


def test_candidates_hold_the_best_whatever_their_order():
    rng = np.random.default_rng(3)
    for count in (1, 9, 40, 1000):
        for k in (1, 3, 50):
            scores = rng.normal(size=count).astype(np.float32)
            scores[rng.random(count) < 0.3] = -np.inf
            best = set(np.argsort(-scores)[:k]) & set(np.flatnonzero(scores > -np.inf))
            assert best <= set(best_rows(scores, k, 0.0))
            assert -np.inf not in scores[best_rows(scores, k, 0.0)]


def test_few_candidates_are_left_of_many():
    scores = np.random.default_rng(4).normal(size=100_000).astype(np.float32)
    assert len(best_rows(scores, 10, 1e-5)) < 40


@pytest.mark.parametrize("count", [1, 16])
def test_products_are_those_of_float64_but_for_rounding(gallery, texts, count):
    exact = texts[:count].astype(np.float64) @ gallery.audio.T.astype(np.float64)
    assert inner_products(gallery.audio, texts[:count]) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize(
    ("k", "spoil", "said"),
    [
        (0, lambda q: q, "k is 0"),
        (5, lambda q: q[:, 1:], "24 dimensions"),
        (5, lambda q: np.where(q == q.max(), np.nan, q), "not finite"),
    ],
)
def test_what_cannot_be_answered_is_refused(gallery, texts, k, spoil, said):
    with pytest.raises(ValueError, match=said):
        Exact(gallery.vision, gallery.has_vision).search(spoil(texts), k)


def test_marks_of_another_gallery_are_refused(gallery, texts):
    with pytest.raises(ValueError, match="2 marks for 3000 moments"):
        Exact(gallery.vision, gallery.has_vision).search(texts, 5, np.ones(2, bool))
