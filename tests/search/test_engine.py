from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from trichord.search.background import calibrate_by
from trichord.search.collection import StoredCollection
from trichord.search.engine import SearchEngine
from trichord.search.filters import Filter
from trichord.search.hits import group_by_file
from trichord.search.indexing import index
from trichord.search.nearest.ann_indexes import Settings
from trichord.search.query import Query, QueryPart
from trichord.search.query_vectors import TextVectors
from trichord.types import Moment, UserError


@pytest.fixture
def engine(collection, tiny_model, decoder):
    return SearchEngine(collection, tiny_model, decoder)


def without_chance(hit):
    """A hit whatever else was searched."""
    return replace(hit, chance=None, weak=False)


@pytest.mark.parametrize(
    ("asked", "name"), [("video", "blue.mp4"), ("audio", "half.wav"), ("image", "still.png")]
)
def test_a_file_finds_itself_first(engine, archive, asked, name):
    weights = {"audio": {"visual_weight": 0.0}, "image": {"audio_weight": 0.0}}.get(asked, {})
    hits = engine.search(Query.of(**{asked: archive / name}, **weights))
    assert hits[0].moment.file == str(archive / name)


def test_the_order_is_that_of_an_exact_search(engine, archive, tiny_model):
    hits = engine.search(Query.of("a low bell", audio_weight=0.0), k=100)
    cosines = engine.gallery.vision @ tiny_model.embed_text(["a low bell"])[0]
    rows = [i for i in np.argsort(-cosines, kind="stable") if engine.gallery.has_vision[i]]
    exact = [float(cosines[i]) for i in rows]
    place = {m: i for i, m in enumerate(engine.gallery.moments)}
    found = [float(cosines[place[hit.moment]]) for hit in hits]
    assert found == pytest.approx(exact, abs=1e-6)


def test_a_hit_says_how_much_came_from_sight_and_from_sound(engine):
    hits = engine.search(Query.of("a low bell", visual_weight=2.0), k=100)
    assert len(hits) == len(engine.gallery) == 10
    for hit in hits:
        row = engine.gallery.moments.index(hit.moment)
        assert (hit.visual is None) == (not engine.gallery.has_vision[row])
        assert (hit.audio is None) == (not engine.gallery.has_audio[row])
        assert hit.score == (hit.visual or 0.0) + (hit.audio or 0.0)
        assert np.isfinite(hit.score)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_only_the_ratio_of_weights_matters(engine):
    one = engine.search(Query.of("a low bell", visual_weight=1.0, audio_weight=3.0))
    ten = engine.search(Query.of("a low bell", visual_weight=10.0, audio_weight=30.0))
    assert one == ten


def test_with_all_weight_on_sound_moments_without_sound_are_not_found(engine):
    hits = engine.search(Query.of("a low bell", visual_weight=0.0), k=100)
    assert {hit.moment.file.rsplit("/", 1)[-1] for hit in hits} == {
        "red.mp4", "blue.mp4", "half.wav", "it's a tone.wav",
    }  # fmt: skip
    assert all(hit.visual in (None, 0.0) for hit in hits)


def test_equal_scores_are_ordered_by_file_and_time(
    collection, engine, archive, tiny_model, decoder
):
    copy = archive / "a copy.mp4"
    copy.write_bytes((archive / "blue.mp4").read_bytes())
    list(index(collection, tiny_model, decoder, [archive]))
    again = SearchEngine(collection, tiny_model, decoder)
    hits = again.search(Query.of(video=archive / "blue.mp4"), k=100)
    order = [
        (hit.score, hit.moment.file.rsplit("/", 1)[-1], hit.moment.start)
        for hit in hits
        if hit.moment.file in (str(copy), str(archive / "blue.mp4"))
    ]
    assert order == sorted(order, key=lambda one: (-one[0], one[1], one[2]))
    assert [name for _, name, _ in order[:2]].count("a copy.mp4") >= 1


def test_k_bounds_the_hits(engine):
    assert len(engine.search(Query.of("a low bell"), k=3)) == 3
    with pytest.raises(UserError, match="at least 1"):
        engine.search(Query.of("a low bell"), k=0)


def test_the_untrained_pair_searches_pictures_by_picture_only(
    start, archive, untrained_model, decoder
):
    collection = start(untrained_model)
    list(index(collection, untrained_model, decoder, [archive]))
    engine = SearchEngine(collection, untrained_model, decoder)
    hits = engine.search(Query.of(image=archive / "still.png"), k=100)
    assert all(hit.visual is not None and not hit.audio for hit in hits)
    assert len(hits) == 7
    with pytest.raises(UserError, match="says nothing of the sound"):
        engine.search(Query.of(image=archive / "still.png", visual_weight=0.0))
    with pytest.raises(UserError, match="says nothing of the picture"):
        engine.search(Query.of(audio=archive / "half.wav", audio_weight=0.0))


@pytest.fixture
def steered(start, clip4vla, archive, decoder):
    """An engine of a model with an audio type token."""
    model = clip4vla()
    collection = start(model)
    list(index(collection, model, decoder, [archive]))
    return SearchEngine(collection, model, decoder)


def test_the_sound_token_decides_what_is_heard_and_not_what_is_seen(steered, clip4vla):
    asked = Query.of("a low bell", audio_type=0.25)
    hits = steered.search(asked, k=100)
    neighbours = [steered.collection.table.gallery(token).audio for token in (0.0, 0.5)]
    mixed = np.mean(neighbours, axis=0)[steered.gallery.has_audio]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    np.testing.assert_allclose(steered.gallery.audio[steered.gallery.has_audio], mixed, atol=1e-6)
    usual = steered.search(Query.of("a low bell"), k=100)
    both = {hit.moment: hit for hit in usual}
    for hit in hits:
        if hit.audio is None:
            assert without_chance(hit) == without_chance(both[hit.moment])
    assert any(hit.audio and hit.audio != both[hit.moment].audio for hit in hits)


def test_without_a_sound_token_the_runs_own_is_heard(steered):
    other = steered.search(Query.of("a low bell", audio_type=1.0))
    own = steered.search(Query.of("a low bell", audio_type=0.5))
    assert steered.search(Query.of("a low bell")) == own != other


def test_each_sound_token_has_its_own_scales(steered):
    kept = steered.calibration
    assert kept == steered.collection.description.calibration
    steered.search(Query.of("a low bell", audio_type=0.25))
    assert steered.calibration == calibrate_by(TextVectors(steered.model), steered.gallery)
    assert steered.calibration.text.vision == pytest.approx(kept.text.vision)
    assert steered.calibration.text.audio != kept.text.audio
    steered.search(Query.of("a low bell"))
    assert steered.calibration == kept


def test_loading_at_a_sound_token_is_as_turning_to_it(steered):
    asked = Query.of("a low bell", audio_type=0.8)
    there = SearchEngine(steered.collection, steered.model, steered.decoder, 0.8)
    np.testing.assert_array_equal(there.gallery.audio, steered.collection.table.gallery(0.8).audio)
    assert there.search(asked) == steered.search(asked)


@pytest.mark.parametrize("token", [0.0, 0.5, 0.8])
def test_a_sound_finds_itself_at_every_sound_token(steered, archive, token):
    query = Query.of(audio=archive / "half.wav", visual_weight=0.0, audio_type=token)
    assert steered.search(query)[0].moment.file == str(archive / "half.wav")


def test_a_sound_token_where_none_is_stored_is_refused(engine):
    with pytest.raises(UserError, match="--audio-type"):
        engine.search(Query.of("a low bell", audio_type=0.5))


def test_vectors_of_another_model_are_refused(collection, untrained_model, decoder):
    with pytest.raises(UserError, match="other weights"):
        SearchEngine(collection, untrained_model, decoder)


def test_a_collection_whose_indexing_was_interrupted_can_be_searched(
    start, archive, tiny_model, decoder
):
    collection = start(tiny_model)
    indexing = index(collection, tiny_model, decoder, [archive])
    next(indexing)
    indexing.close()
    assert collection.description.calibration is None
    assert SearchEngine(collection, tiny_model, decoder).search(Query.of("a low bell"))


def test_nothing_is_found_in_an_empty_collection(start, tiny_model, decoder):
    engine = SearchEngine(start(tiny_model), tiny_model, decoder)
    assert engine.search(Query.of("a low bell")) == []


def names(hits):
    return [(hit.moment.file.rsplit("/", 1)[-1], hit.moment.start) for hit in hits]


def test_several_queries_at_once_find_what_each_finds_alone(engine, archive):
    queries = [
        Query.of("a low bell"),
        Query.of("a low bell -someone", audio_weight=3.0),
        Query.of(image=archive / "still.png"),
        Query.of("a low bell", where=Filter(path="red.mp4")),
        Query.of("a red ball", like=engine.gallery.moment(0)),
    ]
    batch = engine.search_batch([engine.plan(query) for query in queries], 7)
    assert batch == [engine.search(query, 7) for query in queries]
    assert engine.search_batch([], 7) == []


def test_threads_find_what_one_finds(engine):
    queries = [Query.of(f"a bell number {i}") for i in range(24)]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(engine.search, queries))
    assert found == [engine.search(query) for query in queries]


def test_a_minus_demotes_what_fits_it_and_leaves_the_order_of_the_others(engine, monkeypatch):
    monkeypatch.setattr("trichord.search.query_plan.EXCLUDED_FROM", 0.3)  # of seven moments, some
    for text, away in (("a low bell", "someone"), ("a red ball", "red"), ("noise", "voice")):
        plain = engine.search(Query.of(text), k=100)
        hits = engine.search(Query.of(f"{text} -{away}"), k=100)
        demoted = [hit for hit in hits if hit.demoted]
        kept = hits[: len(hits) - len(demoted)]
        assert demoted
        assert not any(hit.demoted for hit in kept)
        gone = {hit.moment for hit in demoted}
        left = [hit for hit in plain if hit.moment not in gone]
        assert [(h.moment, h.score) for h in kept] == [(h.moment, h.score) for h in left]
        before = {hit.moment: hit.score for hit in plain}
        assert all(hit.score < before[hit.moment] for hit in demoted)
        assert all(hit.score <= -0.3 for hit in demoted)
        few = engine.search(Query.of(f"{text} -{away}"), k=2)
        assert few == hits[:2]


def test_captions_do_not_lift_what_is_to_be_avoided(collection, tiny_model, decoder, monkeypatch):
    monkeypatch.setattr("trichord.search.query_plan.EXCLUDED_FROM", 0.3)
    query = Query.of("zither -voice", caption_weight=5.0)
    before = SearchEngine(collection, tiny_model, decoder).search(query, k=100)
    away = next(hit for hit in before if hit.demoted)
    span = (away.moment.start, away.moment.end, "an old zither", ())
    collection.annotate(away.moment.file, [span])
    hits = SearchEngine(collection, tiny_model, decoder).search(query, k=100)
    demoted = [hit.demoted for hit in hits]
    assert demoted == sorted(demoted)
    first = hits[demoted.index(True)]  # of those to be avoided, the words are of the first
    assert (first.moment, first.caption) == (away.moment, "an old zither")


def test_parts_share_the_spread_of_one(engine):
    """With k parts of equal weight each gives 1 / √k of what it gives alone."""

    def given(number, *texts):
        parts = tuple(QueryPart(kind="text", value=text) for text in texts)
        hits = engine.search(Query(parts=parts, audio_weight=0.0), k=99)
        return np.array([hit.parts[number][0] for hit in sorted(hits, key=lambda h: str(h.moment))])

    bell, siren = given(0, "a bell"), given(0, "siren")
    both = "a bell", "siren"
    np.testing.assert_allclose(given(0, *both), bell / np.sqrt(2), rtol=0, atol=2e-6)
    np.testing.assert_allclose(given(1, *both), siren / np.sqrt(2), rtol=0, atol=2e-6)


def test_more_like_a_moment_leaves_out_it_and_what_overlaps_it(
    collection, tiny_model, decoder, archive
):
    (archive / "copy.mp4").write_bytes((archive / "red.mp4").read_bytes())
    list(index(collection, tiny_model, decoder, [archive]))
    engine = SearchEngine(collection, tiny_model, decoder)
    moments = [one for one in engine.gallery.moments if one.file == str(archive / "red.mp4")]
    (archive / "red.mp4").unlink()  # stored vectors are compared: nothing is decoded
    for by in ("visual", "audio", "both"):
        where = Filter(missing=True)
        hits = engine.search(Query.of(like=moments[0], by=by, where=where), k=100)
        assert moments[0] not in [hit.moment for hit in hits]
        assert moments[1] in [hit.moment for hit in hits]  # begins where the other ends
        assert names(hits)[0] == ("copy.mp4", 0.0)
        if by != "both":
            assert all(hit.parts[0][by == "visual"] is None for hit in hits)
    wide = Moment(file=moments[0].file, start=moments[0].start, end=moments[0].end)
    rows = engine.gallery.rows_of(wide.file)
    overlapping = replace(engine.gallery, end=engine.gallery.end + 0.5)
    mask = engine._allowed(Query.of(like=wide), overlapping)
    assert not mask[rows].any()
    assert mask.sum() == len(mask) - 2


def test_only_what_a_filter_lets_through_is_found_with_the_same_scores(engine):
    whole = {hit.moment: hit for hit in engine.search(Query.of("a low bell"), k=100)}
    hits = engine.search(Query.of("a low bell", where=Filter(has_audio=False)), k=100)
    assert {hit.moment for hit in hits} == {m for m, hit in whole.items() if hit.audio is None}
    assert all(without_chance(hit) == without_chance(whole[hit.moment]) for hit in hits)
    # Fewer moments were searched: one of them scores so high more rarely.
    assert all(hit.chance < whole[hit.moment].chance for hit in hits)
    assert engine.search(Query.of("a low bell", where=Filter(path="nowhere"))) == []


def test_captions_join_in_and_find_moments_by_themselves(collection, tiny_model, decoder, archive):
    tone, red = archive / "more" / "it's a tone.wav", archive / "red.mp4"
    spans = {m.file: m for m in reversed(collection.table.gallery().moments)}
    for file, said in ((tone, "an old zither"), (red, "a kite")):
        moment = spans[str(file)]
        collection.annotate(file, [(moment.start, moment.end, said, ("mine",))])
    engine = SearchEngine(collection, tiny_model, decoder)
    # A sound alone is nothing to see: only its caption can bring it in.
    plain = engine.search(Query.of("zither", audio_weight=0.0), k=100)
    assert spans[str(tone)] not in [hit.moment for hit in plain]
    hits = engine.search(Query.of("zither", audio_weight=0.0, caption_weight=2.0), k=100)
    assert hits[0].moment == spans[str(tone)]
    assert (hits[0].score, hits[0].caption, hits[0].tags) == (0.0, "an old zither", ("mine",))
    assert [hit for hit in hits[1:] if hit.caption is None] == [
        hit for hit in plain if hit.caption is None
    ]
    assert {hit.caption for hit in plain} == {None, "a kite"}
    filtered = Query.of(
        "zither", audio_weight=0.0, caption_weight=2.0, where=Filter(path="red.mp4")
    )
    assert set(names(engine.search(filtered))) == {("red.mp4", 0.0), ("red.mp4", 2.0)}
    # An example has no words.
    example = Query.of(like=spans[str(red)], caption_weight=2.0)
    assert engine.search(example) == engine.search(replace(example, caption_weight=0.0))


def test_refreshing_brings_in_what_was_indexed_since(collection, tiny_model, decoder, archive):
    engine = SearchEngine(collection, tiny_model, decoder)
    assert not engine.refresh()
    before = engine.plan(Query.of("a low bell"))
    (archive / "new.mp4").write_bytes((archive / "blue.mp4").read_bytes())
    list(index(collection, tiny_model, decoder, [archive]))
    assert len(engine.search(Query.of("a low bell"), k=100)) == 10
    assert engine.refresh()
    assert not engine.refresh()
    assert ("new.mp4", 0.0) in names(engine.search(Query.of("a low bell"), k=100))
    # What was begun before ends as it began.
    [hits] = engine.search_batch([before], k=100)
    assert len(hits) == 10
    mixed = engine.search_batch([before, engine.plan(Query.of("a low bell"))], k=100)
    assert [len(one) for one in mixed] == [10, 12]


def test_a_query_by_text_that_does_not_say_is_weighted_as_was_learnt(
    collection, tiny_model, decoder, archive
):
    collection.weigh(0.5, 1.5)
    engine = SearchEngine(StoredCollection.open(collection.path), tiny_model, decoder)
    assert engine.weighting == (0.5, 1.5)
    learnt = engine.search(Query.of("a low bell"), k=100)
    assert learnt == engine.search(
        Query.of("a low bell", visual_weight=0.5, audio_weight=1.5), k=100
    )
    assert learnt != engine.search(
        Query.of("a low bell", visual_weight=1.0, audio_weight=1.0), k=100
    )
    like = engine.gallery.moment(0)
    even = Query.of(like=like, visual_weight=1.0, audio_weight=1.0)
    assert engine.search(Query.of(like=like)) == engine.search(even)


def test_groups_are_files_with_their_best_moments_first(engine):
    query = Query.of("a low bell")
    hits = engine.search(query, k=100)
    for k in (1, 3, 100):
        assert engine.grouped(query, k, each=2) == group_by_file(hits, k, each=2)


def test_a_curve_says_of_each_moment_what_its_hit_says(engine, archive):
    query = Query.of("a low bell -siren", visual_weight=0.0, where=Filter(path="nowhere"))
    hits = {hit.moment: hit for hit in engine.search(replace(query, where=Filter()), k=100)}
    for name in ("red.mp4", "mute.mp4", "half.wav"):
        curve = engine.timeline(query, str(archive / name))
        columns = zip(curve.start, curve.end, curve.visual, curve.audio, curve.score, strict=True)
        for start, end, sight, sound, score in columns:
            hit = hits.get(Moment(file=curve.file, start=start, end=end))
            assert score == (hit and hit.score)
            assert hit is None or (sight, sound) == (hit.visual, hit.audio)
            assert (sound is None) == (name == "mute.mp4" or hit is None)
    with pytest.raises(UserError, match="no moments of such a file"):
        engine.timeline(query, "/nowhere.mp4")


def test_structures_that_propose_all_find_what_exact_search_finds(
    collection, tiny_model, decoder, engine
):
    settings = Settings(exact_up_to=3, target=0.0)
    other = SearchEngine(collection, tiny_model, decoder, settings=settings)
    indexes = other._snapshot(None).indexes
    assert indexes.wait(60.0)
    assert indexes.report("vision").moments == 7
    for query in (Query.of("a low bell"), Query.of("a bell -siren", visual_weight=0.0)):
        assert other.search(query, k=100) == engine.search(query, k=100)


def test_a_collection_that_became_small_keeps_no_structures_of_its_past(
    collection, tiny_model, decoder
):
    cache = collection.storage.cache / "nearest"
    cache.mkdir(parents=True)
    for suffix in (".index", ".json"):
        (cache / f"vision-0-before{suffix}").write_text("x")
    SearchEngine(collection, tiny_model, decoder)
    assert list(cache.iterdir()) == []
