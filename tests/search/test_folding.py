import numpy as np
import pytest

from trichord.search import engine as module
from trichord.search.engine import SearchEngine
from trichord.search.folding import COPY_FROM, fold
from trichord.search.gallery import Gallery
from trichord.search.nearest.ann_indexes import Settings
from trichord.search.query import Query
from trichord.types import Hit, Moment

DIM = 64


def gallery_of(spans, like=None, silent=()):
    """Moments with random vectors; `like` gives a moment the vectors of another, turned by a cosine."""
    rng = np.random.default_rng(0)
    count = len(spans)
    sides = [rng.normal(size=(count, DIM)).astype(np.float32) for _ in range(2)]
    sides = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in sides]
    for row, (other, cosine) in (like or {}).items():
        for rows in sides:
            away = rows[row] - (rows[row] @ rows[other]) * rows[other]
            away /= np.linalg.norm(away)
            rows[row] = cosine * rows[other] + np.sqrt(1 - cosine**2) * away
    has_audio = np.array([row not in silent for row in range(count)])
    return Gallery.of(
        tuple(Moment(file=file, start=start, end=end) for file, start, end in spans),
        vision=sides[0],
        has_vision=np.ones(count, bool),
        audio=sides[1] * has_audio[:, None],
        has_audio=has_audio,
    )


def folded(gallery, order, k=10, **how):
    """Rows of the first hit of each scene with those of the others."""
    moments = gallery.moments
    place = {moment: row for row, moment in enumerate(moments)}
    hits = [
        Hit(moment=moments[row], score=1.0 - rank / 100, visual=None, audio=None)
        for rank, row in enumerate(order)
    ]
    found, complete = fold(hits, gallery, k, **{"adjoining": True, **how})
    rows = [(place[hit.moment], *(place[other.moment] for other in hit.more)) for hit in found]
    return rows, complete


WINDOWS = [("a", 5.0 * i, 5.0 * i + 10) for i in range(6)] + [("b", 0.0, 10.0)]


def test_windows_that_overlap_or_adjoin_the_best_of_them_are_one_hit():
    gallery = gallery_of(WINDOWS)
    # From 10 s: what begins before its end or ends after its start, up to 20 s from 0 s on.
    assert folded(gallery, [2, 6, 1, 4, 5, 0, 3]) == ([(2, 1, 4, 0, 3), (6,), (5,)], False)


def test_a_scene_does_not_grow_along_a_file():
    gallery = gallery_of([("a", 10.0 * i, 10.0 * i + 10) for i in range(6)])
    assert folded(gallery, [0, 1, 2, 3, 4, 5])[0] == [(0, 1), (2, 3), (4, 5)]


def test_shots_that_adjoin_are_different_scenes():
    gallery = gallery_of([("a", 0.0, 4.0), ("a", 4.0, 9.0), ("a", 6.0, 11.0)])
    assert folded(gallery, [0, 1, 2], adjoining=False)[0] == [(0,), (1, 2)]
    assert folded(gallery, [0, 1, 2])[0] == [(0, 1), (2,)]


def test_copies_are_one_hit_by_both_modalities():
    spans = [(name, 0.0, 10.0) for name in "abcdef"]
    like = {1: (0, 1.0), 2: (0, COPY_FROM + 0.01), 3: (0, COPY_FROM - 0.01), 4: (0, 1.0)}
    gallery = gallery_of(spans, like, silent=[4])  # the picture of a copy, without its sound
    assert folded(gallery, range(6))[0] == [(0, 1, 2), (3,), (4,), (5,)]
    assert folded(gallery, range(6), copies=False)[0] == [(row,) for row in range(6)]
    gallery.audio[1] = gallery.audio[5]  # the same picture with another sound
    assert folded(gallery, range(5))[0] == [(0, 2), (1,), (3,), (4,)]


def test_hits_are_read_until_another_scene_begins():
    gallery = gallery_of(WINDOWS)
    assert folded(gallery, [2, 1, 6, 5, 0], k=2) == ([(2, 1), (6,)], True)
    # What comes after that changes nothing.
    assert folded(gallery, [2, 1, 6, 5, 0, 3], k=2) == folded(gallery, [2, 1, 6, 5], k=2)
    assert folded(gallery, [2, 1, 6, 0], k=2) == ([(2, 1, 0), (6,)], False)
    assert folded(gallery, [], k=2) == ([], False)


@pytest.fixture
def engine(collection, tiny_model, decoder):
    return SearchEngine(collection, tiny_model, decoder)


@pytest.mark.parametrize("text", ["a low bell", "a red ball -blue"])
@pytest.mark.parametrize("k", [1, 3, 4, 50])
def test_a_search_reads_as_deep_as_its_scenes_need(engine, monkeypatch, text, k):
    monkeypatch.setattr(module, "FOLDED", 1)  # one at first, so that it has to go on
    everything = engine.search(Query.of(text), k=100)
    hits = engine.search(Query.of(text, fold=True), k)
    expected, _ = fold(everything, engine.gallery, k, adjoining=True)
    assert hits == expected
    assert len(hits) == min(k, len(fold(everything, engine.gallery, 99, adjoining=True)[0]))
    assert 4 <= len({hit.moment.file for hit in everything}) < len(everything)


def test_scenes_are_those_of_exact_search_with_an_index_and_in_a_batch(
    collection, tiny_model, decoder, engine
):
    settings = Settings(exact_up_to=3, target=0.0)
    other = SearchEngine(collection, tiny_model, decoder, settings=settings)
    assert other._snapshot(None).indexes.wait(60.0)
    queries = [Query.of("a low bell", fold=True), Query.of("a low bell -siren", fold=True)]
    alone = [engine.search(query, k) for query, k in zip(queries, (2, 4), strict=True)]
    for one in (engine, other):
        assert one.search_batch([one.plan(query) for query in queries], [2, 4]) == alone


def test_a_least_score_ends_the_search(engine):
    everything = engine.search(Query.of("a low bell"), k=100)
    least = everything[3].score
    query = Query.of("a low bell", min_score=least)
    assert engine.search(query, k=100) == everything[:4]
    scenes = engine.search(Query.of("a low bell", min_score=least, fold=True), k=100)
    assert scenes == fold(everything[:4], engine.gallery, 100, adjoining=True)[0]
    assert engine.search(Query.of("a low bell", min_score=99.0, fold=True)) == []


def test_groups_fold_within_their_files(engine):
    query = Query.of("a low bell", fold=True)
    groups = engine.grouped(query, k=100)
    plain = engine.grouped(Query.of("a low bell"), k=100)
    assert [group.file for group in groups] == [group.file for group in plain]
    for group, before in zip(groups, plain, strict=True):
        whole = [hit.moment for hit in before.hits]
        assert sorted(
            m.start for hit in group.hits for m in (hit.moment, *(o.moment for o in hit.more))
        ) == sorted(moment.start for moment in whole)
    assert any(hit.more for group in groups for hit in group.hits)
