import sys
from dataclasses import dataclass

import numpy as np
import pytest

from trichord.search.nearest import AnnIndexes, Approximate, Exact, FaissScan, Settings
from trichord.search.nearest.backends import OpenIndex


def test_few_moments_are_searched_exactly(structured, built):
    made = structured(exact_up_to=2400)
    assert isinstance(made.nearest("vision"), Exact)
    assert not built
    report = made.report("vision")
    assert (report.moments, report.used) == (2400, False)
    assert report.why == "so few are searched exactly as quickly"


def test_many_moments_are_searched_by_a_structure_that_reaches_the_target(
    structured, tmp_path, built
):
    made = structured()
    assert built == ["2400 rows"]
    assert isinstance(made.nearest("vision"), Approximate)
    report = made.report("vision")
    assert report.used
    assert report.budget == 1
    assert report.bytes == len("structure")
    assert report.recall == {"text→sight": 1.0}
    assert isinstance(made.nearest("audio"), Exact)
    names = sorted(path.suffix for path in (tmp_path / "cache").iterdir())
    assert names == [".index", ".json"]


def test_effort_is_raised_until_every_kind_of_query_finds_enough(structured, fake):
    made = structured(fake(enough=4))
    assert made.report("vision").budget == 4
    assert made.report("vision").recall == {"text→sight": 1.0}


def test_a_structure_that_misses_too_much_is_not_used_and_said_so(
    structured, texts, tmp_path, built, fake
):
    made = structured(fake(enough=9))
    assert isinstance(made.nearest("vision"), Exact)
    report = made.report("vision")
    assert (report.used, report.budget, report.recall) == (False, 8, {"text→sight": 0.0})
    assert report.why.startswith("an index of this kind does not reach recall@10 of 0.95")
    assert not list((tmp_path / "cache").glob("*.index"))
    # The verdict is kept, so that the next start does not build in vain.
    built.clear()
    assert structured(fake(enough=9)).report("vision") == report
    assert not built


def test_one_kind_of_query_that_misses_too_much_is_enough(structured, texts, gallery, fake, opened):
    @dataclass
    class Biased(opened):
        def candidates(self, queries, count, budget):
            rows = super().candidates(queries, count, budget)
            rows[queries[:, 1] > queries[:, 0]] = 1  # texts lie in the other cone
            return rows

    @dataclass(frozen=True)
    class Partial(fake):
        def open(self, path):
            return Biased("", 1)

    asked = {"text→sight": texts, "picture→sight": gallery.vision[1:3]}
    made = structured(Partial(), held_out=asked)
    recall = made.report("vision").recall
    assert recall["picture→sight"] == 1.0
    assert recall["text→sight"] < 0.95
    assert isinstance(made.nearest("vision"), Exact)


def test_without_held_out_queries_nothing_is_built(structured, texts, built):
    made = structured(held_out={"text→sound": texts, "text→sight": texts[:0]})
    assert not built
    assert "no held-out queries" in made.report("vision").why


def test_search_is_exact_while_a_structure_is_built(gallery, texts, tmp_path, later, fake, opened):
    opened.gallery = gallery.vision
    later.clear()
    settings = Settings(backend=fake(), exact_up_to=2200)
    made = AnnIndexes(tmp_path, gallery, 1, {"text→sight": texts}, settings)
    assert not made.wait(0.0)
    assert isinstance(made.nearest("vision"), Exact)
    assert made.report("vision").why == "an index is being built"
    later.set()
    assert made.wait(60.0)
    assert isinstance(made.nearest("vision"), Approximate)


def test_what_nobody_wants_any_more_is_not_built(gallery, texts, tmp_path, later, fake):
    later.clear()
    settings = Settings(backend=fake(), exact_up_to=2200)
    made = AnnIndexes(tmp_path, gallery, 1, {"text→sight": texts}, settings)
    made.close()
    later.set()
    assert made.wait(60.0)
    assert isinstance(made.nearest("vision"), Exact)
    assert not list(tmp_path.iterdir())


def test_a_build_that_fails_leaves_exact_search_and_says_why(structured, tmp_path, fake):
    made = structured(fake(fails="no space\nleft"))
    assert isinstance(made.nearest("vision"), Exact)
    assert "no index could be built (no space)" in made.report("vision").why
    assert not list((tmp_path / "cache").iterdir())


def test_without_the_library_search_is_exact_and_the_extra_is_named(structured, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    made = structured(FaissScan())
    assert isinstance(made.nearest("vision"), Exact)
    assert 'pip install "trichord[search]"' in made.report("vision").why


def test_a_cache_that_cannot_be_written_leaves_exact_search(structured, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    made = structured()
    assert isinstance(made.nearest("vision"), Exact)
    assert "cannot be written" in made.report("vision").why


def test_a_real_structure_is_built_measured_mapped_and_searched(structured, gallery, texts, brute):
    pytest.importorskip("faiss")
    for _ in ("built", "opened"):
        made = structured(FaissScan(), target=0.5)
        search = made.nearest("vision")
        assert isinstance(search, Approximate)
        rows, cosines = search.search(texts, 10)
        truth = brute(gallery.vision, gallery.has_vision, texts, 10)
        found = [len({*row} & {*best}) for row, best in zip(rows, truth[0], strict=True)]
        measured = sum(found) / rows.size
        assert measured == pytest.approx(made.report("vision").recall["text→sight"], abs=1e-9)
        exact = (gallery.vision[rows] * texts[:, None].astype(np.float64)).sum(axis=2)
        assert cosines == pytest.approx(exact, abs=1e-12)


@dataclass(frozen=True)
class Lists:
    """Inverted lists around forty of the vectors, of which those around four are searched."""

    def library(self):
        return "numpy"

    def search_budgets(self, rows):
        return (4,)

    def build(self, vectors, rows, path, threads, should_continue):
        centres = vectors[rows[:: len(rows) // 40]]
        with path.open("wb") as file:
            owners = (vectors[rows] @ centres.T).argmax(axis=1)
            np.savez(file, centres=centres, rows=rows, owners=owners)

    def open(self, path):
        stored = dict(np.load(path))

        def search(queries, count, budget):
            lists = (queries @ stored["centres"].T).argsort(axis=1)[:, -budget:]
            found = np.full((len(queries), len(stored["rows"])), -1)
            for place, some in enumerate(lists):
                rows = stored["rows"][np.isin(stored["owners"], some)]
                found[place, : len(rows)] = rows
            return found

        return OpenIndex(search)


def test_a_structure_of_texts_from_another_cone_is_measured_by_them(structured, gallery, texts):
    """Four lists of forty searched: fine for pictures, too little for texts."""
    pictures = {"picture→sight": gallery.vision[gallery.has_vision][:50]}
    both = {**pictures, "text→sight": texts}
    recalls = structured(Lists(), held_out=both, target=0.0).report("vision").recall
    assert recalls["text→sight"] < recalls["picture→sight"] - 0.1
    assert isinstance(structured(Lists(), held_out=both).nearest("vision"), Exact)
