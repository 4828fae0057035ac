import numpy as np
import pytest

from trichord.evaluation.dual_softmax import dual_softmax
from trichord.evaluation.ranks import rank_both
from trichord.evaluation.retrieval import Answered, answer, tasks_named
from trichord.evaluation.scores import Products, ScoreMatrix
from trichord.evaluation.top_hits import top_hits


@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_hits_are_those_of_a_whole_sort_in_both_directions(chunk):
    values = np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)
    there = top_hits(ScoreMatrix(values), 5, chunk=chunk)
    assert (there.items == np.argsort(-values, axis=1)[:, :5]).all()
    assert (there.scores == -np.sort(-values, axis=1)[:, :5]).all()
    asking = np.array([3, 19])
    back = top_hits(ScoreMatrix(values), 50, back=asking, chunk=chunk)
    assert (back.items == np.argsort(-values.T[asking], axis=1)).all()
    assert back.items.shape == (2, 30)


def test_equal_scores_stand_in_the_order_of_the_gallery():
    found = top_hits(ScoreMatrix(np.zeros((2, 5), np.float32)), 3, chunk=2)
    assert found.items.tolist() == [[0, 1, 2]] * 2


@pytest.mark.parametrize("similarity", ["pairwise", "dual-softmax"])
def test_a_right_item_stands_where_its_rank_says(clips, similarity):
    found = answer(clips(), tasks_named(["audio<-visual"]), similarity=similarity, hits=29)
    [one] = found
    assert isinstance(one, Answered)
    place = (one.hits.items == one.right[:, None]).argmax(axis=1)
    assert not one.ranks.tied.any()
    assert (place == one.ranks.better).all()
    first = one.sets.place == 0
    hits = [row.tolist() for row in one.back_hits.items]
    owned = [np.flatnonzero(one.right == item).tolist() for item in np.unique(one.right)]
    best = [
        min(row.index(i) for i in own if i in row) for row, own in zip(hits, owned, strict=True)
    ]
    wanted = one.sets.better[first]
    assert [place for place, rank in zip(best, wanted, strict=True) if rank < 29] == [
        rank for rank in wanted.tolist() if rank < 29
    ]


def test_the_dual_softmax_orders_hits_otherwise(clips):
    """The hits come from what the ranks come from, not from the cosines."""
    rng = np.random.default_rng(1)
    cosines = Products.cosines(rng.normal(size=(40, 4)), rng.normal(size=(40, 4)))
    dual, _ = dual_softmax(cosines, np.arange(40))
    assert (top_hits(dual, 5).items != top_hits(cosines, 5).items).any()
    ranks, _ = rank_both(dual, np.arange(40))
    place = (top_hits(dual, 40).items == np.arange(40)[:, None]).argmax(axis=1)
    assert (place == ranks.better).all()
