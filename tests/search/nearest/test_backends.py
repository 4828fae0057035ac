import sys

import numpy as np
import pytest

from trichord.search.nearest import Backend, FaissScan
from trichord.search.nearest.backends import CHUNK, BuildCancelledError
from trichord.types import UserError

BACKENDS = [FaissScan()]
every = pytest.mark.parametrize("backend", BACKENDS, ids=lambda one: type(one).__name__)


@pytest.fixture
def build(gallery, tmp_path):
    """Builds a structure of the moments that have a picture and opens it."""
    pytest.importorskip("faiss")

    def build(backend, name="structure", should_continue=lambda: True):
        rows = np.flatnonzero(gallery.has_vision)
        backend.build(gallery.vision, rows, tmp_path / name, 1, should_continue)
        return backend.open(tmp_path / name)

    return build


@every
def test_almost_all_of_the_best_are_proposed_at_the_highest_effort(
    build, gallery, texts, brute, backend
):
    candidate_count = build(backend).candidates(texts, 64, backend.search_budgets(2400)[-1])
    best = brute(gallery.vision, gallery.has_vision, texts, 10)[0]
    found = [len({*row} & {*wanted}) for row, wanted in zip(candidate_count, best, strict=True)]
    assert sum(found) / best.size > 0.98


@every
def test_only_rows_that_were_given_are_proposed_and_each_once(build, gallery, texts, backend):
    for candidate_count in build(backend).candidates(texts, 200, 64):
        rows = candidate_count[candidate_count >= 0]
        assert gallery.has_vision[rows].all()
        assert len(set(rows)) == len(rows)
        assert len(rows) > 100


@every
def test_more_effort_finds_no_less(build, gallery, texts, brute, backend):
    index = build(backend)
    best = brute(gallery.vision, gallery.has_vision, texts, 10)[0]
    search_budgets = backend.search_budgets(2400)
    found = [
        sum(
            len({*row} & {*wanted})
            for row, wanted in zip(index.candidates(texts, 10, budget), best, strict=True)
        )
        for budget in (search_budgets[0], search_budgets[-1])
    ]
    assert found[0] <= found[1]


@every
def test_a_structure_of_fewer_rows_than_asked_for_proposes_them_all(
    columns, texts, backend, tmp_path
):
    pytest.importorskip("faiss")
    few = columns(40)
    rows = np.flatnonzero(few.has_vision)
    backend.build(few.vision, rows, tmp_path / "few", 1, lambda: True)
    for queries in (texts[:1], texts[:3]):
        for candidate_count in backend.open(tmp_path / "few").candidates(queries, 64, 64):
            assert set(candidate_count[candidate_count >= 0]) == set(rows)


@every
def test_building_stops_when_nobody_wants_it_any_more(build, backend):
    with pytest.raises(BuildCancelledError):
        build(backend, should_continue=lambda: False)


@every
def test_the_same_vectors_make_the_same_file(build, tmp_path, backend):
    for name in ("one", "two"):
        build(backend, name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@every
def test_efforts_rise(backend):
    assert isinstance(backend, Backend)
    for rows in (1, 100, 1_000_000):
        search_budgets = backend.search_budgets(rows)
        assert search_budgets[0] >= 1
        assert list(search_budgets) == sorted(set(search_budgets))


def test_a_million_vectors_are_given_in_portions():
    assert CHUNK < 100_000


def test_a_missing_library_is_named_with_its_extra(monkeypatch, gallery, tmp_path):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r'faiss.* pip install "trichord\[search\]"'):
        FaissScan().build(gallery.vision, np.arange(9), tmp_path / "x", 1, lambda: True)
