from itertools import cycle

import numpy as np
import pytest

from trichord.search.nearest import sieving
from trichord.search.nearest.sieve import multiplied, packed
from trichord.search.nearest.sieving import ROUNDS, Sieving, quick


@pytest.fixture
def column(gallery):
    return gallery.audio, gallery.has_audio


@pytest.fixture
def can(monkeypatch):
    """A machine that multiplies bytes quickly, or not."""
    return lambda answer: monkeypatch.setattr(sieving, "quick", lambda: answer)


@pytest.fixture
def fresh():
    quick.cache_clear()
    yield
    quick.cache_clear()


def test_nothing_is_made_before_it_is_asked_for(column, can):
    can(True)
    made = Sieving([column])
    made.wait()
    assert made.sieve is None
    made.begin()
    made.wait()
    assert made.sieve is not None
    [group] = made.sieve.groups
    assert np.array_equal(group.rows, np.flatnonzero(column[1]))


def test_it_is_made_once(column, can):
    can(True)
    made = Sieving([column])
    made.begin()
    made.wait()
    first = made.sieve
    made.begin()
    made.wait()
    assert made.sieve is first


def test_what_is_not_wanted_is_not_made(column, can):
    can(True)
    made = Sieving([column])
    made.close()
    made.begin()
    made.wait()
    assert made.sieve is None


def test_none_is_made_where_it_would_be_slower(column, can):
    can(False)
    made = Sieving([column])
    made.begin()
    made.wait()
    assert made.sieve is None


def test_where_it_cannot_be_made_searches_do_without(column, can, monkeypatch):
    can(True)

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(sieving.Sieve, "of", full)
    made = Sieving([column])
    made.begin()
    made.wait()
    assert made.sieve is None


@pytest.mark.parametrize(
    ("times", "taken"),
    [([0.5, 1.0], True), ([2.0, 1.0] * ROUNDS, False), ([2.0, 1.0, 0.5, 1.0], True)],
)
def test_the_quicker_way_is_taken(fresh, monkeypatch, times, taken):
    left = iter(times)  # bytes and floats in turn
    monkeypatch.setattr(sieving, "_seconds", lambda work: next(left))
    assert quick() == taken
    assert next(left, None) is None


def test_a_machine_that_adds_in_16_bits_is_not_used(fresh, monkeypatch):
    def saturating(queries, codes):
        pairs = queries[:, None].astype(np.int32) * codes[None]
        halves = (pairs[..., ::2] + pairs[..., 1::2]).clip(-(2**14), 2**14 - 1)
        return halves.sum(axis=-1, dtype=np.int32).astype(np.float32)

    monkeypatch.setattr(sieving, "TRIED", 32)
    monkeypatch.setattr(sieving, "packed", lambda codes: codes)
    monkeypatch.setattr(sieving, "multiplied", saturating)
    times = cycle([0.0, 1.0])
    monkeypatch.setattr(sieving, "_seconds", lambda work: next(times))
    assert not quick()
    quick.cache_clear()
    monkeypatch.setattr(sieving, "packed", packed)
    monkeypatch.setattr(sieving, "multiplied", multiplied)
    assert quick()


def test_a_library_without_such_products_is_not_used(fresh, monkeypatch):
    def missing(*_):
        raise AttributeError("qlinear_prepack")

    monkeypatch.setattr(sieving, "packed", missing)
    assert not quick()
