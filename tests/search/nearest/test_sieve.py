import math

import numpy as np
import pytest

from trichord.search.candidates import Sifted
from trichord.search.nearest.sieve import (
    BLOCK,
    MOST,
    Bounds,
    Coded,
    Grid,
    Group,
    NotWantedError,
    Sieve,
    multiplied,
    packed,
)

COUNT, DIM = BLOCK + 300, 32
ONE_SIDE = np.array([[[0.0, 1.0]], [[-np.inf, 0.0]]])
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
    if law == "flat":  # no variance at all in most directions
        return unit(rng.normal(size=(count, 3)) @ axes[:3] + axes[5]), rng.normal(size=(6, DIM))
    if law == "copies":
        few = unit(rng.normal(size=(40, DIM)))
        return few[rng.integers(0, 40, count)], few[:6] + 0.1 * rng.normal(size=(6, DIM))
    if law == "one":
        return unit(np.ones((count, DIM))), rng.normal(size=(6, DIM))
    if law == "axes":  # as far from a bell as can be, and a few that lie far out
        rows = np.eye(DIM)[rng.integers(0, 4, count)] * rng.choice([-1.0, 1.0], (count, 1))
        rows[:3] = np.eye(DIM)[[20, 21, 22]]
        return rows.astype(np.float32), np.vstack([np.eye(DIM)[20:23], rng.normal(size=(3, DIM))])
    raise AssertionError(law)


LAWS = ("even", "cone", "flat", "copies", "one", "axes")


def scores_of(vectors, query):
    """Each row by itself, so that copies have the same score."""
    return np.array([math.fsum(row) for row in vectors.astype(np.float64) * query])


def coefficients_for(count):
    return np.repeat(ONE_SIDE, count, axis=1)


def best_of(scores, k):
    """Rows of the k best, equal ones by row."""
    order = np.lexsort((np.arange(len(scores)), -scores))
    return order[scores[order] > -np.inf][:k].tolist()


@pytest.mark.parametrize("law", LAWS)
def test_bounds_hold_for_every_row(law):
    vectors, queries = drawn(law)
    sieve = Sieve.of([(vectors, np.ones(COUNT, bool))])
    for query, [bounds] in zip(
        queries, sieve.sift([queries], coefficients_for(6), [None] * 6), strict=True
    ):
        even = ~np.isin(bounds.rows, bounds.odd)
        middle = bounds.offset + bounds.step * bounds.sums[even].astype(np.float64)
        off = np.abs(middle - scores_of(vectors, query)[bounds.rows[even]])
        assert off.max() <= bounds.error + 1e-12
        assert even.sum() > 0.98 * COUNT


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("k", [1, 10, 1000, 2 * COUNT])
def test_the_best_are_those_of_sorting_everything(law, k):
    vectors, queries = drawn(law)
    sieve = Sieve.of([(vectors, np.ones(COUNT, bool))])
    sifted = sieve.sift([queries], coefficients_for(6), [None] * 6)
    for query, bounds in zip(queries, sifted, strict=True):
        exact = scores_of(vectors, query)
        rows = Sifted(bounds, lambda rows, exact=exact: exact[rows], 1e-9).best(k)
        assert rows.tolist() == sorted({*rows.tolist()})
        assert {*best_of(exact, k)} <= {*rows.tolist()}


@pytest.mark.parametrize("law", ["even", "cone"])
def test_few_are_left_for_a_closer_look(law):
    vectors, queries = drawn(law)
    sieve = Sieve.of([(vectors, np.ones(COUNT, bool))])
    for query, [bounds] in zip(
        queries, sieve.sift([queries], coefficients_for(6), [None] * 6), strict=True
    ):
        exact = scores_of(vectors, query)
        least = np.sort(exact)[-10]
        assert 10 <= len(bounds.above(least)) < 0.05 * COUNT


def adverse():
    """Vectors with the same codes: all are rounded up, in every dimension, but one that is rounded down."""
    grid = Grid(np.zeros(DIM), 100.0 * np.eye(DIM), np.eye(DIM) / 100.0)
    vectors = np.full((50, DIM), 0.496, np.float32)  # rounds to 50 of 100
    vectors[7] = 0.5049  # rounds to 50, too
    rows = np.arange(50)
    coded = Coded.of(grid, vectors, rows, lambda: True)
    return grid, coded, vectors


def test_a_row_that_rounding_wrongs_most_is_not_lost():
    grid, coded, vectors = adverse()
    group = Group.of(1, np.arange(50), {0: coded})
    query = np.full((1, DIM), 1.0)
    [[bounds]] = Sieve((grid,), (group,)).sift([query], ONE_SIDE, [None])
    exact = scores_of(vectors, query[0])
    assert len(set(bounds.sums.tolist())) == 1  # codes tell none from another
    off = np.abs(bounds.offset + bounds.step * bounds.sums.astype(np.float64) - exact)
    # Each bound is reached to a hundredth, so that a smaller one would not hold.
    assert 0.99 * bounds.error <= off.max() <= bounds.error
    assert 7 in bounds.above(exact.max())
    tight = Bounds(
        bounds.rows, bounds.sums, bounds.odd, bounds.step, bounds.offset, off.max() * 0.9
    )
    assert 7 not in tight.above(exact.max())


def test_what_a_query_loses_by_rounding_is_in_the_bound():
    grid = Grid(np.zeros(2), np.eye(2), np.eye(2))
    vectors = np.array([[0.0, 100.0], [0.0, -100.0]], np.float32)
    group = Group.of(1, np.arange(2), {0: Coded.of(grid, vectors, np.arange(2), lambda: True)})
    query = np.array([[127.0, 0.49]])  # whose second number is lost beside the first
    [[bounds]] = Sieve((grid,), (group,)).sift([query], ONE_SIDE, [None])
    assert bounds.sums.tolist() == [0, 0]
    assert bounds.error == pytest.approx(49.0)
    assert bounds.above(49.0).tolist() == [0, 1]
    assert bounds.above(49.0 + 2 * bounds.step).tolist() == []


def test_rows_beyond_the_codes_are_looked_at_once_and_always():
    rng = np.random.default_rng(3)
    vectors = unit(rng.normal(size=(COUNT, DIM)))
    vectors[[5, 4000]] *= 30.0
    sieve = Sieve.of([(vectors, np.ones(COUNT, bool))])
    [group] = sieve.groups
    assert {5, 4000} <= {*group.rows[group.odd].tolist()}
    [[bounds]] = sieve.sift([rng.normal(size=(1, DIM))], ONE_SIDE, [None])
    for rows in (bounds.above(-np.inf), bounds.above(0.0), bounds.above(1e9)):
        assert (np.bincount(rows, minlength=COUNT)[[5, 4000]] == 1).all()
    assert not {5, 4000} & {*bounds.leading(10).tolist()}
    assert len(bounds.above(-np.inf)) == COUNT


def test_filtered_rows_are_never_given():
    vectors, queries = drawn("even")
    sieve = Sieve.of([(vectors, np.ones(COUNT, bool))])
    allowed = np.random.default_rng(1).uniform(size=COUNT) < 0.3
    sifted = sieve.sift([queries[:2]], coefficients_for(2), [allowed, None])
    assert sorted(sifted[0][0].above(-np.inf).tolist()) == np.flatnonzero(allowed).tolist()
    assert allowed[sifted[0][0].leading(20)].all()
    assert len(sifted[1][0].above(-np.inf)) == COUNT
    exact = scores_of(vectors, queries[0])
    rows = Sifted(sifted[0], lambda rows: exact[rows], 1e-9).best(10)
    assert {*best_of(np.where(allowed, exact, -np.inf), 10)} <= {*rows.tolist()}


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.2, -3.0), (0.0, 1.0), (1.0, 0.0)])
def test_two_sides_are_bounded_together(weights):
    """Rows have sight, sound or both, each with coefficients of its own; those of neither are left."""
    rng = np.random.default_rng(4)
    sight, asked_sight = drawn("cone", seed=5)
    sound, asked_sound = drawn("even", seed=6)
    pattern = rng.integers(0, 4, COUNT)
    pattern[:2000] = 3
    seen, heard = pattern % 2 == 1, pattern >= 2
    sight, sound = sight * seen[:, None], sound * heard[:, None]
    coefficients = np.zeros((3, 6, 4))
    coefficients[0] = np.array([0.0, 1.3, 0.0, 0.8]) * weights[0]
    coefficients[1] = np.array([0.0, 0.0, 1.1, 0.7]) * weights[1]
    coefficients[2] = rng.normal(size=(6, 4))
    nothing = ~coefficients[:2].any(axis=0)
    coefficients[2][nothing] = -np.inf
    sieve = Sieve.of([(sight, seen), (sound, heard)])
    sifted = sieve.sift([asked_sight, asked_sound], coefficients, [None] * 6)
    for i, bounds in enumerate(sifted):
        factors = coefficients[:, i, pattern]
        exact = (
            factors[0] * scores_of(sight, asked_sight[i])
            + factors[1] * scores_of(sound, asked_sound[i])
            + factors[2]
        )
        for k in (1, 30):
            rows = Sifted(bounds, lambda rows, exact=exact: exact[rows], 1e-9).best(k)
            assert {*best_of(exact, k)} <= {*rows.tolist()}
            assert (exact[rows] > -np.inf).all()


def test_a_row_without_a_vector_is_not_found_whatever_its_memory_holds():
    vectors, queries = drawn("even")
    has = np.arange(COUNT) % 3 > 0
    [[bounds]] = Sieve.of([(vectors, has)]).sift([queries[:1]], ONE_SIDE, [None])
    assert sorted(bounds.above(-np.inf).tolist()) == np.flatnonzero(has).tolist()


def test_a_query_of_nothing_says_nothing():
    vectors, _ = drawn("even")
    sieve = Sieve.of([(vectors, np.ones(COUNT, bool))])
    [[bounds]] = sieve.sift([np.zeros((1, DIM))], ONE_SIDE, [None])
    assert bounds.offset == bounds.error == 0.0
    assert len(bounds.above(0.0)) == COUNT


def test_galleries_without_rows_have_no_bounds():
    none = np.zeros((0, DIM), np.float32), np.zeros(0, bool)
    assert Sieve.of([none]).sift([np.ones((1, DIM))], ONE_SIDE, [None]) == [[]]
    bare = np.zeros((9, DIM), np.float32), np.zeros(9, bool)
    assert Sieve.of([bare]).sift([np.ones((1, DIM))], ONE_SIDE, [None]) == [[]]


def test_no_bounds_no_rows():
    assert Sifted([], lambda rows: np.zeros(len(rows)), 1e-9).best(3).tolist() == []


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_codes_do_not_overflow(sign):
    codes = np.full((70, 1024), sign * MOST, np.int8)
    queries = np.full((17, 1024), MOST, np.int8)
    assert (multiplied(queries, packed(codes)) == sign * 1024 * MOST**2).all()


@pytest.mark.parametrize("count", [1, 3, 16, 33])
@pytest.mark.parametrize("rows", [1, 2, 77])
def test_products_of_codes_are_those_of_whole_numbers(count, rows):
    rng = np.random.default_rng(count * rows)
    codes = rng.integers(-MOST, MOST + 1, (rows, 40)).astype(np.int8)
    queries = rng.integers(-MOST, MOST + 1, (count, 40)).astype(np.int8)
    expected = queries.astype(np.int64) @ codes.astype(np.int64).T
    assert np.array_equal(multiplied(queries, packed(codes)), expected)


def test_a_sieve_that_is_not_wanted_is_left():
    vectors, _ = drawn("even")
    left = iter([True])
    with pytest.raises(NotWantedError):
        Sieve.of([(vectors, np.ones(COUNT, bool))], lambda: next(left, False))


def test_answers_do_not_depend_on_the_batch():
    vectors, queries = drawn("cone")
    sieve = Sieve.of([(vectors, np.ones(COUNT, bool))])
    together = sieve.sift([queries], coefficients_for(6), [None] * 6)
    for i, [bounds] in enumerate(together):
        [[alone]] = sieve.sift([queries[i : i + 1]], ONE_SIDE, [None])
        assert np.array_equal(bounds.sums, alone.sums)
        assert alone.error == pytest.approx(bounds.error, rel=1e-9)
