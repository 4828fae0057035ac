import numpy as np
import pytest

from trichord.search.backdrop import calibrate_for
from trichord.search.engine import SearchEngine
from trichord.search.indexing import index
from trichord.search.query import Query
from trichord.types import UserError


@pytest.fixture
def engine(collection, tiny_model, decoder):
    return SearchEngine(collection, tiny_model, decoder)


@pytest.mark.parametrize(
    ("asked", "name"), [("video", "blue.mp4"), ("audio", "half.wav"), ("image", "still.png")]
)
def test_a_file_finds_itself_first(engine, archive, asked, name):
    weights = {"audio": {"sight": 0.0}, "image": {"sound": 0.0}}.get(asked, {})
    hits = engine.search(Query.of(**{asked: archive / name}, **weights))
    assert hits[0].moment.file == str(archive / name)


def test_the_order_is_that_of_an_exact_search(engine, archive, tiny_model):
    hits = engine.search(Query.of("a low bell", sound=0.0), k=100)
    cosines = engine.gallery.vision @ tiny_model.embed_text(["a low bell"])[0]
    rows = [i for i in np.argsort(-cosines, kind="stable") if engine.gallery.has_vision[i]]
    exact = [float(cosines[i]) for i in rows]
    place = {m: i for i, m in enumerate(engine.gallery.moments)}
    found = [float(cosines[place[hit.moment]]) for hit in hits]
    assert found == pytest.approx(exact, abs=1e-6)


def test_a_hit_says_how_much_came_from_sight_and_from_sound(engine):
    hits = engine.search(Query.of("a low bell", sight=2.0), k=100)
    assert len(hits) == len(engine.gallery) == 10
    for hit in hits:
        row = engine.gallery.moments.index(hit.moment)
        assert (hit.sight is None) == (not engine.gallery.has_vision[row])
        assert (hit.sound is None) == (not engine.gallery.has_audio[row])
        assert hit.score == (hit.sight or 0.0) + (hit.sound or 0.0)
        assert np.isfinite(hit.score)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_only_the_ratio_of_weights_matters(engine):
    one = engine.search(Query.of("a low bell", sight=1.0, sound=3.0))
    ten = engine.search(Query.of("a low bell", sight=10.0, sound=30.0))
    assert one == ten


def test_with_all_weight_on_sound_moments_without_sound_are_not_found(engine):
    hits = engine.search(Query.of("a low bell", sight=0.0), k=100)
    assert {hit.moment.file.rsplit("/", 1)[-1] for hit in hits} == {
        "red.mp4", "blue.mp4", "half.wav", "it's a tone.wav",
    }  # fmt: skip
    assert all(hit.sight in (None, 0.0) for hit in hits)


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
    assert all(hit.sight is not None and not hit.sound for hit in hits)
    assert len(hits) == 7
    with pytest.raises(UserError, match="says nothing of sound"):
        engine.search(Query.of(image=archive / "still.png", sight=0.0))
    with pytest.raises(UserError, match="says nothing of sight"):
        engine.search(Query.of(audio=archive / "half.wav", sound=0.0))


@pytest.fixture
def steered(start, clip4vla, archive, decoder):
    """An engine of a model with a sound token."""
    model = clip4vla()
    collection = start(model)
    list(index(collection, model, decoder, [archive]))
    return SearchEngine(collection, model, decoder)


def test_the_sound_token_decides_what_is_heard_and_not_what_is_seen(steered, clip4vla):
    asked = Query.of("a low bell", sound_token=0.25)
    hits = steered.search(asked, k=100)
    neighbours = [steered.collection.table.gallery(token).audio for token in (0.0, 0.5)]
    mixed = np.mean(neighbours, axis=0)[steered.gallery.has_audio]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    np.testing.assert_allclose(steered.gallery.audio[steered.gallery.has_audio], mixed, atol=1e-6)
    usual = steered.search(Query.of("a low bell"), k=100)
    both = {hit.moment: hit for hit in usual}
    for hit in hits:
        if hit.sound is None:
            assert hit == both[hit.moment]
    assert any(hit.sound and hit.sound != both[hit.moment].sound for hit in hits)


def test_without_a_sound_token_the_runs_own_is_heard(steered):
    other = steered.search(Query.of("a low bell", sound_token=1.0))
    own = steered.search(Query.of("a low bell", sound_token=0.5))
    assert steered.search(Query.of("a low bell")) == own != other


def test_each_sound_token_has_its_own_scales(steered):
    kept = steered.calibration
    assert kept == steered.collection.description.calibration
    steered.search(Query.of("a low bell", sound_token=0.25))
    assert steered.calibration == calibrate_for(steered.model, steered.gallery)
    assert steered.calibration.text.sight == pytest.approx(kept.text.sight)
    assert steered.calibration.text.sound != kept.text.sound
    steered.search(Query.of("a low bell"))
    assert steered.calibration == kept


def test_loading_at_a_sound_token_is_as_turning_to_it(steered):
    asked = Query.of("a low bell", sound_token=0.8)
    there = SearchEngine(steered.collection, steered.model, steered.decoder, 0.8)
    np.testing.assert_array_equal(there.gallery.audio, steered.collection.table.gallery(0.8).audio)
    assert there.search(asked) == steered.search(asked)


@pytest.mark.parametrize("token", [0.0, 0.5, 0.8])
def test_a_sound_finds_itself_at_every_sound_token(steered, archive, token):
    query = Query.of(audio=archive / "half.wav", sight=0.0, sound_token=token)
    assert steered.search(query)[0].moment.file == str(archive / "half.wav")


def test_a_sound_token_where_none_is_stored_is_refused(engine):
    with pytest.raises(UserError, match="--sound-token"):
        engine.search(Query.of("a low bell", sound_token=0.5))


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
