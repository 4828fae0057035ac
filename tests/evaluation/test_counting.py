"""Counts in float32 with doubts settled in float64, against all scores in float64 at once."""

import numpy as np
import pytest

from trichord.evaluation import counting, narrow
from trichord.evaluation.counting import count_wrong
from trichord.evaluation.narrow import TOLERANCE, error_bound
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


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("few", [0, 0.1, 1], ids=["all at once", "some of each", "one by one"])
@pytest.mark.parametrize("kind", KINDS)
def test_counts_of_stretches_add_up_to_those_of_blocks(kind, few, threads, monkeypatch):
    monkeypatch.setattr(counting, "STRETCH", 16)
    monkeypatch.setattr(narrow, "allotted", lambda: threads)
    monkeypatch.setattr(narrow, "FEW", few)
    queries, gallery, answers = vectors(kind, 200, 170)
    scores = Products.cosines(queries, gallery)
    expected = reference(scores.queries @ scores.gallery.T, answers)
    found = counts(count_wrong(scores, answers, chunk=100))
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_what_goes_wrong_in_a_thread_is_raised(monkeypatch):
    monkeypatch.setattr(counting, "STRETCH", 16)
    monkeypatch.setattr(narrow, "allotted", lambda: 3)
    monkeypatch.setattr(narrow.Room, "above", lambda *_: pytest.fail("seen"))
    queries, gallery, answers = vectors("good", 100, 90)
    with pytest.raises(pytest.fail.Exception, match="seen"):
        count_wrong(Products.cosines(queries, gallery), answers)


def test_scores_just_beside_the_tolerance_count_as_in_float64():
    """Float32 cannot tell them apart: their distances are 1e-10, its steps here 6e-8."""
    beside = TOLERANCE + np.array([-3e-10, 3e-10, -1e-7, 1e-7])
    cosines = 0.5 + np.concatenate([[0.0], beside, -beside])
    gallery = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    counted = count_wrong(Products(np.array([[1.0, 0.0]]), gallery), np.array([0]))
    # Better by more than the tolerance: 2. Within it, above and below: 2 and 2.
    assert (counted.items.better.tolist(), counted.items.tied.tolist()) == ([2], [4])


def test_only_doubtful_scores_are_made_in_float64(monkeypatch):
    queries, gallery, answers = vectors("useless", 400, 300)
    made = []
    pairs = Products.pairs
    monkeypatch.setattr(Products, "block", lambda *_: pytest.fail("a block in float64"))
    monkeypatch.setattr(Products, "pairs", lambda s, q, i: (made.append(len(q)), pairs(s, q, i))[1])
    count_wrong(Products.cosines(queries, gallery), answers)
    assert made[0] == 400  # the right ones
    assert sum(made[1:]) < 0.001 * 2 * 400 * 300


def test_a_collapsed_model_takes_blocks_in_float64_and_no_pairs(monkeypatch):
    scores = Products.cosines(*vectors("collapsed", 100, 90)[:2])
    made = []
    pairs = Products.pairs
    monkeypatch.setattr(Products, "pairs", lambda s, q, i: (made.append(len(q)), pairs(s, q, i))[1])
    count_wrong(scores, np.arange(100) % 90, chunk=32)
    assert made == [100]


def test_of_rows_in_doubt_no_further_block_is_tried_in_float32(monkeypatch):
    """The first 32 queries are all alike, and so are the items of their first two blocks."""
    queries, gallery, _ = vectors("useless", 64, 128)
    queries[:32], gallery[:64] = 1, 1
    tried = []
    product = narrow.Room.product

    def watched(room, vectors, rows, columns):
        tried.append((rows.start, columns.start))
        return product(room, vectors, rows, columns)

    monkeypatch.setattr(narrow.Room, "product", watched)
    scores, answers = Products.cosines(queries, gallery), np.full(64, 100)
    answers[:32] = 0
    found = counts(count_wrong(scores, answers, chunk=32, queries=False))
    expected = reference(scores.queries @ scores.gallery.T, answers)
    assert all(np.array_equal(*pair) for pair in zip(found[:2], expected[:2], strict=True))
    assert tried == [(0, 0), (32, 0), (32, 32), (32, 64), (32, 96)]


def test_no_block_is_larger_than_the_chunk(monkeypatch):
    """Memory does not grow with the number of scores."""
    sizes = []
    product = narrow.Room.product

    def watched(room, vectors, rows, columns):
        block = product(room, vectors, rows, columns)
        sizes.append(block.size)
        return block

    monkeypatch.setattr(narrow.Room, "product", watched)
    queries, gallery, answers = vectors("good", 300, 250)
    count_wrong(Products.cosines(queries, gallery), answers, chunk=50)
    assert len(sizes) == 6 * 5
    assert max(sizes) == 50 * 50


@pytest.mark.parametrize("dim", [1, 24, 512, 4096])
@pytest.mark.parametrize("kind", ["any", "one sign"])
def test_no_product_in_float32_is_further_off_than_its_bound(dim, kind):
    rng = np.random.default_rng(dim)
    made = [rng.normal(size=(50, dim)) for _ in range(2)]
    wide = [np.abs(one) if kind == "one sign" else one for one in made]
    wide = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in wide]
    made = wide[0].astype(np.float32) @ wide[1].astype(np.float32).T
    assert np.abs(made - wide[0] @ wide[1].T).max() <= error_bound(dim)


def test_vectors_of_lengths_that_float32_cannot_multiply_are_multiplied_in_float64():
    queries, gallery, answers = vectors("good", 40, 30)
    short = Products(queries * 1e-30, gallery)
    long = Products(queries, gallery * 1e25)
    for scores in (short, long):
        found = counts(count_wrong(scores, answers))
        expected = reference(scores.queries @ scores.gallery.T, answers)
        assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


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
    counted = count_wrong(scores, answers, items=False)
    assert not counted.items.better.any()
    assert counted.queries.better.any()


def test_items_that_are_right_for_no_query_need_not_be_looked_at():
    queries, gallery, _ = vectors("useless", 40, 30)
    scores, answers = Products.cosines(queries, gallery), np.full(40, 12)
    expected = reference(scores.queries @ scores.gallery.T, answers)
    found = counts(count_wrong(scores, answers, items=False, chunk=7))
    assert all(np.array_equal(*pair) for pair in zip(found[2:], expected[2:], strict=True))
