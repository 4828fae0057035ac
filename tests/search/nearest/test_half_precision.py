import math
from itertools import cycle

import numpy as np
import pytest

from trichord.search.candidates import ExactCandidates
from trichord.search.nearest import half_precision
from trichord.search.nearest.half_precision import (
    ROUNDED_AT_ONCE,
    ROUNDS,
    HalfPrecision,
    Rounded,
    is_faster,
)

COUNT, DIM = ROUNDED_AT_ONCE + 300, 32
ONE_MODALITY = np.array([[[0.0, 1.0]], [[-np.inf, 0.0]]])
"""A score is the product itself, of rows that have a vector."""


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def drawn(law, count=COUNT, seed=0):
    """Vectors and queries of a law."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    falling = 1 / np.arange(1, DIM + 1)
    if law == "even":
        return unit(rng.normal(size=(count, DIM))), rng.normal(size=(6, DIM))
    if law == "cone":  # CLIP's: much in common, few directions with most of the variance
        rows = (rng.normal(size=(count, DIM)) * falling) @ axes.T + 3 * axes[:, 9]
        asked = (rng.normal(size=(6, DIM)) * falling) @ axes.T - 2 * axes[:, 20]
        return unit(rows), asked
    if law == "near":  # closer to each other than bfloat16 can tell
        rows = axes[0] + 1e-4 * rng.normal(size=(count, DIM))
        return unit(rows), axes[0] + 1e-4 * rng.normal(size=(6, DIM))
    if law == "copies":
        few = unit(rng.normal(size=(40, DIM)))
        return few[rng.integers(0, 40, count)], few[:6] + 0.1 * rng.normal(size=(6, DIM))
    if law == "one":
        return unit(np.ones((count, DIM))), rng.normal(size=(6, DIM))
    if law == "long":  # vectors and queries of any length, some of none
        rows = rng.normal(size=(count, DIM)) * rng.choice([0.0, 1e-3, 1.0, 50.0], (count, 1))
        return rows.astype(np.float32), rng.normal(size=(6, DIM)) * 300.0
    raise AssertionError(law)


LAWS = ("even", "cone", "near", "copies", "one", "long")


def scores_of(vectors, query):
    """Each row by itself, so that copies have the same score."""
    return np.array([math.fsum(row) for row in vectors.astype(np.float64) * query])


def best_of(scores, k):
    """Rows of the k best, equal ones by row."""
    order = np.lexsort((np.arange(len(scores)), -scores))
    return order[scores[order] > -np.inf][:k].tolist()


def bounded(vectors, queries):
    """Of each query: rough scores, their bound, exact scores."""
    half = HalfPrecision.of([(vectors, np.ones(len(vectors), bool))])
    coefficients = np.repeat(ONE_MODALITY, len(queries), axis=1)
    rough, errors = half.scores([queries], coefficients)
    exact = [scores_of(vectors, query) for query in queries]
    return half.rows, list(zip(rough, errors.tolist(), exact, strict=True))


def rescored(rough, rows, error, exact, slack=1e-9):
    """Candidates by rough scores, scored again by the exact ones."""
    return ExactCandidates(rough, rows, slack, error, lambda some: exact[None, some])


@pytest.mark.parametrize("law", LAWS)
def test_no_score_is_off_by_more_than_its_bound(law):
    for rough, error, exact in bounded(*drawn(law))[1]:
        assert np.abs(rough - exact).max() <= error


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("k", [1, 10, 1000, 2 * COUNT])
def test_the_best_are_those_of_sorting_everything(law, k):
    rows, queries = bounded(*drawn(law))
    for rough, error, exact in queries:
        found = rescored(rough, rows, error, exact).best(k)
        assert found.tolist() == sorted({*found.tolist()})
        assert {*best_of(exact, k)} <= {*found.tolist()}


def test_few_are_scored_again():
    rows, queries = bounded(*drawn("even"))
    for rough, error, exact in queries:
        again = []

        def score(some, exact=exact, again=again):
            again.extend(some)
            return exact[None, some]

        ExactCandidates(rough, rows, 1e-9, error, score).best(10)
        assert 10 <= len(again) < 0.02 * COUNT


def test_a_row_that_rounding_wrongs_most_is_not_lost():
    vectors = np.full((50, DIM), 0.9981, np.float32)  # rounds up to 1, from below 255.5/256
    vectors[7] = 1.0038  # rounds down to 1
    [(rough, error, exact)] = bounded(vectors, np.ones((1, DIM)))[1]
    assert len({*rough.tolist()}) == 1
    assert exact.argmax() == 7
    assert rescored(rough, np.arange(50), error, exact).best(1) == [7]


def test_what_a_query_loses_by_rounding_is_in_the_bound():
    vectors = np.array([[0.0, 1.0], [0.0, -1.0]], np.float32)
    [(rough, error, _)] = bounded(vectors, np.array([[0.0, 1.0 + 2.0**-9]]))[1]  # rounds to 1
    assert rough.tolist() == [1.0, -1.0]
    assert error == pytest.approx(2.0**-9 + half_precision.ROUNDING, rel=1e-3)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.2, -3.0), (0.0, 1.0), (1.0, 0.0)])
def test_two_modalities_are_bounded_together(weights):
    """Rows have sight, sound or both, each with coefficients of its own; those of neither are left."""
    rng = np.random.default_rng(4)
    sight, asked_sight = drawn("cone", seed=5)
    sound, asked_sound = drawn("even", seed=6)
    pattern = rng.integers(0, 4, COUNT)
    seen, heard = pattern % 2 == 1, pattern >= 2
    coefficients = np.zeros((3, 6, 4))
    coefficients[0] = np.array([0.0, 1.3, 0.0, 0.8]) * weights[0]
    coefficients[1] = np.array([0.0, 0.0, 1.1, 0.7]) * weights[1]
    coefficients[2] = rng.normal(size=(6, 4))
    no_neighbours = ~coefficients[:2].any(axis=0)
    coefficients[2][no_neighbours] = -np.inf
    # What the memory of a missing vector holds does not matter.
    half = HalfPrecision.of([(sight, seen), (sound, heard)])
    assert sorted(half.rows.tolist()) == np.flatnonzero(pattern).tolist()
    scores, errors = half.scores([asked_sight, asked_sound], coefficients)
    for i, (rough, error) in enumerate(zip(scores, errors.tolist(), strict=True)):
        factors = coefficients[:, i, pattern]
        exact = (
            factors[0] * scores_of(sight, asked_sight[i])
            + factors[1] * scores_of(sound, asked_sound[i])
            + factors[2]
        )
        findable = exact[half.rows] > -np.inf
        assert np.array_equal(rough > -np.inf, findable)
        assert np.abs(rough[findable] - exact[half.rows][findable]).max() <= error + 1e-6
        for k in (1, 30):
            found = rescored(rough, half.rows, error, exact, 4e-6).best(k)
            assert {*best_of(exact, k)} <= {*found.tolist()}
            assert (exact[found] > -np.inf).all()


def test_a_query_of_nothing_finds_all_alike():
    vectors, _ = drawn("even")
    [(rough, error, _)] = bounded(vectors, np.zeros((1, DIM)))[1]
    assert error == 0.0
    assert not rough.any()


def test_there_may_be_no_vectors():
    for count in (0, 9):
        half = HalfPrecision.of([(np.zeros((count, DIM), np.float32), np.zeros(count, bool))])
        scores, _ = half.scores([np.ones((1, DIM))], ONE_MODALITY)
        assert scores.shape == (1, 0)
        best = rescored(scores[0], half.rows, 0.0, np.zeros(count)).best(3)
        assert best.tolist() == []


def test_vectors_may_lie_in_a_file_that_cannot_be_written(tmp_path, recwarn):
    vectors, queries = drawn("even")
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = bounded(np.load(tmp_path / "vectors.npy", mmap_mode="r"), queries)[1]
    for (one, *_), (other, *_) in zip(mapped, bounded(vectors, queries)[1], strict=True):
        assert np.array_equal(one, other)
    assert not recwarn.list


@pytest.fixture
def fresh():
    is_faster.cache_clear()
    yield
    is_faster.cache_clear()


@pytest.mark.parametrize(
    ("times", "expected"),
    [([0.5, 1.0], True), ([2.0, 1.0] * ROUNDS, False), ([2.0, 1.0, 0.5, 1.0], True)],
)
def test_the_faster_precision_is_taken(fresh, monkeypatch, times, expected):
    left = iter(times)  # half and single precision in turn
    monkeypatch.setattr(half_precision, "_seconds", lambda work: next(left))
    assert is_faster() == expected
    assert next(left, None) is None


def test_a_machine_whose_products_break_their_bounds_is_not_used(fresh, monkeypatch):
    times = cycle([0.0, 1.0])
    monkeypatch.setattr(half_precision, "_seconds", lambda work: next(times))
    right = Rounded.multiply

    def wrong(self, queries, into):
        right(self, queries, into)
        into[3, 77] += 0.02

    monkeypatch.setattr(Rounded, "multiply", wrong)
    assert not is_faster()


def test_a_library_without_bfloat16_is_not_used(fresh, monkeypatch):
    def missing(*_):
        raise RuntimeError("not implemented for 'BFloat16'")

    monkeypatch.setattr(Rounded, "multiply", missing)
    assert not is_faster()
