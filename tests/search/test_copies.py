"""Equal copies of what is searched by are never weak hits."""

import shutil

import pytest

from trichord.search import hits as scored
from trichord.search.engine import SearchEngine
from trichord.search.indexing import index
from trichord.search.query import Query
from trichord.types import Moment


@pytest.fixture
def engine(collection, tiny_model, decoder, archive, monkeypatch):
    """All hits of a search are weak: nothing fits better than chance."""
    shutil.copy(archive / "blue.mp4", archive / "copy.mp4")
    list(index(collection, tiny_model, decoder, [archive]))
    monkeypatch.setattr(scored, "WEAK_FROM", 0.0)
    return SearchEngine(collection, tiny_model, decoder)


def strong(hits):
    """File and start of the hits that are not weak."""
    every = [one for hit in hits for one in (hit, *hit.more)]
    return {(one.moment.file.rpartition("/")[2], one.moment.start) for one in every if not one.weak}


@pytest.mark.parametrize("fold", [False, True])
def test_a_copy_of_the_file_that_is_searched_by_is_not_weak(engine, archive, tmp_path, fold):
    asked = tmp_path / "outside.mp4"
    shutil.copy(archive / "blue.mp4", asked)
    hits = engine.search(Query.of(video=asked, fold=fold), k=100)
    moments = {(name, start) for name in ("blue.mp4", "copy.mp4") for start in (0.0, 2.0)}
    assert strong(hits) == moments
    groups = engine.grouped(Query.of(video=asked, fold=fold), k=100)
    assert strong(hit for group in groups for hit in group.hits) == moments


def test_of_a_moment_only_the_same_moment_of_a_copy_is_not_weak(engine, archive):
    asked = Moment(file=str(archive / "blue.mp4"), start=2.0, end=4.0)
    (archive / "blue.mp4").unlink()  # a missing file is known by what the archive has of it
    assert strong(engine.search(Query.of(like=asked), k=100)) == {("copy.mp4", 2.0)}


def test_a_copy_is_weak_where_it_is_only_a_part_of_what_is_asked(engine, archive):
    film = archive / "blue.mp4"
    assert strong(engine.search(Query.of("a low bell", video=film), k=100)) == set()
    assert strong(engine.search(Query.of("a low bell"), k=100)) == set()
