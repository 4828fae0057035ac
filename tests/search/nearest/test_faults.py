"""Backends that somebody wrote with a mistake in them."""

from dataclasses import dataclass

import pytest

from trichord.search.nearest import AnnIndexes, Exact, Settings


@dataclass(frozen=True)
class Mistaken:
    error: Exception

    def library(self):
        return "none"

    def search_budgets(self, rows):
        return (1,)

    def build(self, vectors, rows, path, threads, should_continue):
        raise self.error

    def open(self, path):
        raise AssertionError("there is nothing to open")


@pytest.mark.parametrize("error", [ValueError("kth(=64) out of bounds (40)"), KeyError("planes")])
def test_a_mistake_while_building_is_told_and_moments_are_searched_exactly(
    error, gallery, texts, tmp_path
):
    settings = Settings(backend=Mistaken(error), exact_up_to=2200)
    made = AnnIndexes(tmp_path, gallery, 1, {"text→sight": texts}, settings)
    assert made.wait(60.0)
    assert isinstance(made.nearest("vision"), Exact)
    assert str(error) in made.report("vision").why
