"""Counts block by block, against all scores at once."""

import numpy as np
import pytest

from trichord.evaluation.ranks import TOLERANCE, count_wrong
from trichord.evaluation.scores import Products, ScoreMatrix

DIM = 24


def reference(scores, answers):
    """Better and tied items, and better and tied queries, of each query with its right item."""
    right = scores[np.arange(len(answers)), answers]
    hidden = scores.copy()
    hidden[np.arange(len(answers)), answers] = -np.inf  # of its query, and so of its item too
    better = hidden > right[:, None] + TOLERANCE
    same = (hidden >= right[:, None] - TOLERANCE) & ~better
    down = hidden[:, answers]
    above = down > right[None] + TOLERANCE
    level = (down >= right[None] - TOLERANCE) & ~above
    return [better.sum(1), same.sum(1), above.sum(0), level.sum(0)]


def counts(counted):
    return [counted.items.better, counted.items.tied, counted.queries.better, counted.queries.tied]


def vectors(kind, queries, items):
    """Queries, gallery and answers of a model that is good, useless, collapsed, and so on."""
    rng = np.random.default_rng(7)
    gallery = rng.normal(size=(items, DIM))
    answers = rng.integers(0, items, queries)
    if kind == "good":
        return gallery[answers] + rng.normal(size=(queries, DIM)), gallery, answers
    if kind == "useless":
        return rng.normal(size=(queries, DIM)), gallery, answers
    if kind == "many captions of one clip":
        return (
            rng.normal(size=(queries, DIM)),
            gallery,
            np.where(rng.random(queries) < 0.5, 0, answers),
        )
    if kind == "items twice":
        return rng.normal(size=(queries, DIM)), np.repeat(gallery, 2, axis=0)[:items], answers
    if kind == "collapsed":
        return np.ones((queries, DIM)), np.ones((items, DIM)), answers
    centre = rng.normal(size=DIM)
    scale = 10.0 ** rng.uniform(-9, -2, (items, 1))  # scores on both sides of the tolerance
    near = centre + 1e-6 * rng.normal(size=(queries, DIM))
    return near, centre + scale * rng.normal(size=(items, DIM)), answers


KINDS = ("good", "useless", "many captions of one clip", "items twice", "collapsed", "nearly alike")


@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (90, 5), (200, 170)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [7, 64, 1000])
def test_counts_are_those_of_all_scores_in_float64(kind, shape, chunk):
    queries, gallery, answers = vectors(kind, *shape)
    scores = Products.cosines(queries, gallery)
    expected = reference(scores.queries @ scores.gallery.T, answers)
    found = counts(count_wrong(scores, answers, chunk=chunk))
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_no_block_is_larger_than_the_chunk(monkeypatch):
    """Memory does not grow with the number of scores."""
    sizes = []
    block = Products.block

    def watched(scores, queries, items):
        made = block(scores, queries, items)
        sizes.append(made.size)
        return made

    monkeypatch.setattr(Products, "block", watched)
    queries, gallery, answers = vectors("good", 300, 250)
    count_wrong(Products.cosines(queries, gallery), answers, chunk=50)
    assert len(sizes) == 6 * 5
    assert max(sizes) == 50 * 50


def test_vectors_of_any_length_are_counted():
    queries, gallery, answers = vectors("good", 40, 30)
    short = Products(queries * 1e-30, gallery)
    long = Products(queries, gallery * 1e25)
    for scores in (short, long):
        found = counts(count_wrong(scores, answers))
        expected = reference(scores.queries @ scores.gallery.T, answers)
        assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_scores_just_beside_the_tolerance_count_as_in_float64():
    """Float32 cannot tell them apart: their distances are 1e-10, its steps here 6e-8."""
    beside = TOLERANCE + np.array([-3e-10, 3e-10, -1e-7, 1e-7])
    cosines = 0.5 + np.concatenate([[0.0], beside, -beside])
    gallery = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    counted = count_wrong(Products(np.array([[1.0, 0.0]]), gallery), np.array([0]))
    # Better by more than the tolerance: 2. Within it, above and below: 2 and 2.
    assert (counted.items.better.tolist(), counted.items.tied.tolist()) == ([2], [4])


def test_scores_that_are_held_are_counted_as_they_are():
    rng = np.random.default_rng(3)
    values = rng.integers(0, 9, (40, 30)).astype(np.float32)
    answers = rng.integers(0, 30, 40)
    found = counts(count_wrong(ScoreMatrix(values), answers, chunk=11))
    expected = reference(values.astype(np.float64), answers)
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_what_is_not_asked_for_is_not_counted():
    queries, gallery, answers = vectors("useless", 40, 30)
    scores = Products.cosines(queries, gallery)
    counted = count_wrong(scores, answers, queries=False)
    assert counted.items.better.any()
    assert not counted.queries.better.any()


def test_items_that_are_right_for_no_query_need_not_be_looked_at():
    queries, gallery, _ = vectors("useless", 40, 30)
    scores, answers = Products.cosines(queries, gallery), np.full(40, 12)
    expected = reference(scores.queries @ scores.gallery.T, answers)
    found = counts(count_wrong(scores, answers, chunk=7))
    assert all(np.array_equal(*pair) for pair in zip(found[2:], expected[2:], strict=True))
