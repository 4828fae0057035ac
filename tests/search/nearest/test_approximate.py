from dataclasses import dataclass, field

import numpy as np
import pytest

from trichord.search.nearest import Approximate, Exact, Nearest, approximate
from trichord.search.nearest.approximate import AT_LEAST, CANDIDATES_PER_HIT, recall


@dataclass
class ManifestNotes:
    """Proposes the same rows to every query, and notes what it was asked."""

    rows: np.ndarray
    asked: list = field(default_factory=list)

    def candidates(self, queries, count, budget):
        self.asked.append((count, budget))
        return np.tile(self.rows, (len(queries), 1))


@pytest.fixture
def over(gallery, monkeypatch):
    """Approximate search of pictures by rows that are told; filters are never answered exactly."""
    monkeypatch.setattr(approximate, "FEW", 0)

    def over(rows, budget=100):
        exact = Exact(gallery.vision, gallery.has_vision)
        return Approximate(ManifestNotes(np.asarray(rows)), budget, exact)

    return over


def test_what_is_proposed_is_scored_as_exactly_as_everything(over, gallery, texts, brute):
    search = over([*np.random.default_rng(0).permutation(3000), -1])
    rows, cosines = search.search(texts, 10)
    assert isinstance(search, Nearest)
    assert np.array_equal(rows, brute(gallery.vision, gallery.has_vision, texts, 10)[0])
    exact = search.exact.search(texts, 10)
    assert np.array_equal(rows, exact[0])
    assert np.array_equal(cosines, exact[1])


def test_only_what_is_proposed_is_found(over, texts):
    told = np.arange(1000, 1100)
    rows, _ = over(told).search(texts, 4)
    assert set(rows.ravel()) <= set(told)


def test_more_is_proposed_than_is_wanted(over, texts):
    search = over(np.arange(3000))
    search.search(texts, 10)
    search.search(texts, 400)
    few = AT_LEAST + CANDIDATES_PER_HIT * 10
    assert search.index.asked[0] == (few, 100)
    many = AT_LEAST + CANDIDATES_PER_HIT * 400
    assert search.index.asked[1] == (many, int(100 * (many / few) ** 0.5))


def test_more_is_proposed_the_more_a_filter_throws_away(over, gallery, texts, brute):
    search = over(np.arange(3000))
    allowed = np.arange(3000) % 10 == 1
    rows, _ = search.search(texts, 5, allowed)
    assert np.array_equal(rows, brute(gallery.vision, gallery.has_vision, texts, 5, allowed)[0])
    assert search.index.asked[0][0] == (AT_LEAST + CANDIDATES_PER_HIT * 5) * 2400 // 300


@pytest.mark.parametrize("left", [2, 40])  # 40: more than are wanted, but few of what was proposed
def test_where_a_filter_leaves_little_of_what_is_proposed_search_is_exact(
    over, gallery, texts, brute, left
):
    search = over(np.arange(1000))
    allowed = np.arange(3000) >= 1000 - left  # a fifth of them have no picture
    rows, _ = search.search(texts, 5, allowed)
    assert search.index.asked
    assert np.array_equal(rows, brute(gallery.vision, gallery.has_vision, texts, 5, allowed)[0])


@pytest.mark.parametrize("left", [0, 3, 100])
def test_where_a_filter_leaves_few_rows_nothing_is_proposed(over, gallery, texts, brute, left):
    search = over([1, 2])
    allowed = np.zeros(3000, bool)
    allowed[np.flatnonzero(gallery.has_vision)[:left]] = True
    rows, _ = search.search(texts, 5, allowed)
    assert not search.index.asked
    assert np.array_equal(rows, brute(gallery.vision, gallery.has_vision, texts, 5, allowed)[0])
    assert ((rows >= 0).sum(axis=1) == min(left, 5)).all()


def test_a_structure_that_has_less_than_is_wanted_is_completed(over, gallery, texts, brute):
    rows, _ = over([7, -1]).search(texts, 5)
    assert np.array_equal(rows, brute(gallery.vision, gallery.has_vision, texts, 5)[0])


def test_a_query_that_is_not_finite_is_refused(over, texts):
    with pytest.raises(ValueError, match="not finite"):
        over([1]).search(texts * np.float32(np.nan), 5)


def test_recall_counts_what_is_as_near_as_the_true_best():
    truth = np.array([[0.9, 0.8], [0.7, 0.7]])
    assert recall(truth, truth) == 1.0
    assert recall(np.array([[0.9, 0.7], [0.7, 0.7]]), truth) == 0.75
    assert recall(np.array([[0.8, 0.5], [0.7, -np.inf]]), truth) == 0.5
    assert recall(np.full((2, 2), -np.inf), truth) == 0.0


def test_recall_among_fewer_moments_than_are_counted():
    truth = np.array([[0.9, -np.inf], [-np.inf, -np.inf]])
    assert recall(truth, truth) == 1.0
    assert recall(np.array([[0.3, -np.inf], [-np.inf, -np.inf]]), truth) == 0.0
