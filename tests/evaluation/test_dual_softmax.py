"""Dual softmax: values worked by hand, ties, and that no matrix is held."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from trichord.evaluation.dual_softmax import TEMPERATURE, dual_softmax, rank_by_dual_softmax
from trichord.evaluation.gallery import Mean
from trichord.evaluation.protocol import difference, stamp
from trichord.evaluation.ranks import rank_both
from trichord.evaluation.retrieval import evaluate
from trichord.evaluation.scores import Products, ScoreMatrix


def of(cosines):
    """Products that are these cosines."""
    values = np.array(cosines, np.float64)
    return Products(values, np.eye(values.shape[1]))


def whole(scores):
    rows, columns = scores.shape
    return scores.block(slice(0, rows), slice(0, columns))


def product(scores):
    """The product that a positive score stands for."""
    return np.exp(whole(scores) / TEMPERATURE)


# The first item is a hub: similar to both queries, and most of all to the second.
HUB = [[0.60, 0.59], [0.62, 0.10]]
RIGHT = np.array([1, 0])


def test_hand_worked_similarities_have_hand_worked_products():
    there, back = dual_softmax(of(HUB), RIGHT)
    # Over queries: exp(60) and exp(62) share the first column as 1 : e^2; the second is the first query's.
    small, large = 1 / (1 + np.e**2), np.e**2 / (1 + np.e**2)
    assert small == pytest.approx(0.119203, abs=1e-6)
    assert product(there) == pytest.approx(
        np.array([[0.60 * small, 0.59], [0.62 * large, 0.10 * np.exp(-49)]]), rel=1e-9
    )
    # Over items: exp(60) and exp(59) share the first row as e : 1; the second row is the first item's.
    assert product(back) == pytest.approx(
        np.array(
            [[0.60 * np.e / (1 + np.e), 0.59 / (1 + np.e)], [0.62, 0.10 * np.exp(-52)]],
        ),
        rel=1e-9,
    )


def test_a_hub_no_longer_stands_before_the_right_item():
    pairwise, _ = rank_both(of(HUB), RIGHT)
    dual, back = rank_by_dual_softmax(of(HUB), RIGHT)
    assert pairwise.rank().tolist() == [2, 1]
    assert dual.rank().tolist() == [1, 1]
    assert back.rank().tolist() == [1, 1]


def test_items_that_ask_nothing_have_no_share_on_the_way_back():
    cosines = of([[0.3, 0.5, 0.5], [0.1, 0.1, 0.5]])
    _, back = dual_softmax(cosines, np.array([0, 0]))
    assert product(back)[:, 0] == pytest.approx([0.3, 0.1], rel=1e-9)


def published(cosines, answers, over):
    """All scores and the right ones, by the line of numpy that papers publish."""
    shares = np.exp(100 * cosines)
    scores = cosines * shares / shares.sum(axis=over, keepdims=True)
    right = scores[np.arange(len(answers)), answers]
    return scores, right


@pytest.mark.parametrize("chunk", [1, 7, 64, 1024])
def test_ranks_are_those_of_the_whole_matrix_of_products(chunk):
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(40, 8))
    answers = rng.permutation(np.concatenate([np.arange(30), rng.integers(30, size=90)]))
    queries = gallery[answers] + 1.5 * rng.normal(size=(120, 8))
    cosines = Products.cosines(queries, gallery)
    values = whole(cosines)
    assert (values < 0).mean() > 0.2
    there, back = rank_by_dual_softmax(cosines, answers, chunk=chunk)
    scores, right = published(values, answers, 0)
    assert there.rank().tolist() == (1 + (scores > right[:, None]).sum(axis=1)).tolist()
    # Ten items are right for no query: they ask nothing on the way back.
    asked = values[:, :30]
    scores, right = published(asked, answers, 1)
    for item in range(30):
        mine = np.flatnonzero(answers == item)
        wrong = np.setdiff1d(np.arange(120), mine)
        ahead = (scores[wrong, item][:, None] > right[mine]).sum(axis=0)
        assert sorted(back.better[back.query == item].tolist()) == sorted(ahead.tolist())


def test_thousands_of_queries_are_not_taken_for_a_tie():
    """With so many queries most products are below the tolerance of ranks."""
    rng = np.random.default_rng(1)
    gallery = rng.normal(size=(3000, 64))
    cosines = Products.cosines(gallery + 2 * rng.normal(size=gallery.shape), gallery)
    ranks, _ = rank_by_dual_softmax(cosines, np.arange(3000))
    assert ranks.tied.sum() < 30
    assert np.median(ranks.rank()) < 10


@pytest.mark.parametrize("chunk", [3, 64, 1024])
def test_collapsed_and_copied_vectors_tie_as_they_do_without(chunk):
    same = np.tile(np.random.default_rng(2).normal(size=33).astype(np.float32), (50, 1))
    ranks, sets = rank_by_dual_softmax(Products.cosines(same, same), np.arange(50), chunk=chunk)
    assert ranks.tied.tolist() == [49] * 50
    assert sets.hit(10).sum() == 0
    apart = of(np.random.default_rng(3).normal(scale=1e-8, size=(50, 50)))  # at right angles
    assert rank_by_dual_softmax(apart, np.arange(50), chunk=chunk)[0].tied.tolist() == [49] * 50
    copied = of(np.repeat([[0.5, -0.5], [0.1, 0.2]], 3, axis=1))
    ranks, _ = rank_by_dual_softmax(copied, np.array([0, 3]), chunk=chunk)
    assert (ranks.better.tolist(), ranks.tied.tolist()) == ([0, 0], [2, 2])


def test_no_matrix_is_held():
    vectors = np.random.default_rng(4).normal(size=(5000, 4))
    cosines = Products.cosines(vectors, vectors)
    tracemalloc.start()
    try:
        rank_by_dual_softmax(cosines, np.arange(5000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5000 * 5000 * 8 / 2


def test_every_task_is_measured_and_none_but_the_dual_softmax_changes(clips):
    vectors = replace(clips(), fused=Mean())
    usual, dual = evaluate(vectors), evaluate(vectors, similarity="dual-softmax")
    assert [(row.name, row.sizes) for row in dual] == [(row.name, row.sizes) for row in usual]
    assert [bool(row.estimates) for row in dual] == [bool(row.estimates) for row in usual]
    assert dual != usual
    assert evaluate(vectors, similarity="pairwise") == usual


def test_scores_of_pairs_that_are_no_cosines_are_refused(clips):
    class Drawn:
        weights = Mean().weights

        def scores(self, vectors, kind, captions, clips):
            return ScoreMatrix(np.zeros((len(captions), len(clips))))

    with pytest.raises(ValueError, match="of cosines"):
        evaluate(replace(clips(), fused=Drawn()), similarity="dual-softmax")


def test_the_protocol_says_so_and_numbers_share_no_column(clips):
    vectors = clips()
    usual, dual = (
        stamp(vectors, split="test", similarity=one) for one in ("pairwise", "dual-softmax")
    )
    assert difference(usual, dual) == ["similarity: pairwise against dual-softmax"]
    assert "dual softmax over all queries at temperature 0.01; " in dual.line()
    assert "softmax" not in usual.line()
