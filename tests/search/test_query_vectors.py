import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from trichord.search import query_vectors as module
from trichord.search.gallery import Gallery
from trichord.search.query import Query
from trichord.search.query_vectors import PartReader, TextVectors
from trichord.search.reading import Cut
from trichord.types import Moment, UserError

CUT = Cut(2.0, 2.0)
NOTHING = Gallery.of(
    (),
    vision=np.zeros((0, 24), np.float32),
    has_vision=np.zeros(0, bool),
    audio=np.zeros((0, 24), np.float32),
    has_audio=np.zeros(0, bool),
)


def embed_query(query, model, decoder, cut, token=None, gallery=None):
    """The vectors of a query of one part."""
    [part] = query.parts
    return PartReader(model, decoder, cut).embed(part, gallery or NOTHING, token)


def test_a_text_searches_sight_and_sound(tiny_model, untrained_model, decoder):
    aligned = embed_query(Query.of("a low bell"), tiny_model, decoder, CUT)
    assert aligned.kind == "text"
    np.testing.assert_array_equal(aligned.vision, aligned.audio)
    apart = embed_query(Query.of("a low bell"), untrained_model, decoder, CUT)
    assert not np.allclose(apart.vision, apart.audio)


def test_where_a_space_is_shared_a_picture_searches_sound_too(tiny_model, decoder, rendered):
    query = embed_query(Query.of(image=rendered / "still.png"), tiny_model, decoder, CUT)
    assert query.kind == "vision"
    np.testing.assert_array_equal(query.vision, query.audio)


def test_where_it_is_not_each_searches_its_own(untrained_model, decoder, rendered):
    image = embed_query(Query.of(image=rendered / "still.png"), untrained_model, decoder, CUT)
    assert (image.kind, image.vision is None, image.audio is None) == ("vision", False, True)
    audio = embed_query(Query.of(audio=rendered / "tone.wav"), untrained_model, decoder, CUT)
    assert (audio.kind, audio.vision is None, audio.audio is None) == ("audio", True, False)


def test_a_video_searches_sight_by_its_picture_and_sound_by_its_sound(
    tiny_model, decoder, rendered
):
    red = rendered / "red.mp4"
    video = embed_query(Query.of(video=red), tiny_model, decoder, CUT)
    image = embed_query(Query.of(image=red), tiny_model, decoder, CUT)
    audio = embed_query(Query.of(audio=red), tiny_model, decoder, CUT)
    assert video.kind == "both"
    np.testing.assert_array_equal(video.vision, image.vision)
    np.testing.assert_array_equal(video.audio, audio.audio)


def test_a_video_without_sound_searches_as_a_picture(tiny_model, decoder, rendered):
    query = embed_query(Query.of(video=rendered / "mute.mp4"), tiny_model, decoder, CUT)
    assert query.kind == "vision"
    np.testing.assert_array_equal(query.audio, query.vision)


def test_a_long_file_is_searched_for_by_the_mean_of_its_moments(tiny_model, decoder, rendered):
    tone = Query.of(audio=rendered / "tone.wav")
    query = embed_query(tone, tiny_model, decoder, CUT)
    whole = embed_query(tone, tiny_model, decoder, Cut(2.0, 1.0))
    assert np.linalg.norm(query.audio) == pytest.approx(1.0, abs=1e-6)
    assert not np.array_equal(query.audio, whole.audio)


def test_a_sound_is_listened_to_at_the_sound_token_itself(clip4vla, decoder, rendered):
    red = Query.of(audio=rendered / "red.mp4")
    asked = embed_query(red, clip4vla(0.5), decoder, CUT, 0.3)
    exact = embed_query(red, clip4vla(0.3), decoder, CUT)
    np.testing.assert_allclose(asked.audio, exact.audio, atol=1e-5)
    other = embed_query(red, clip4vla(0.5), decoder, CUT)
    assert np.abs(asked.audio - other.audio).max() > 1e-3


@pytest.fixture
def decoded(decoder, monkeypatch):
    """Names of the files that the decoder decodes, a while each."""
    names, decode_all = [], decoder.decode_all

    def noted(requests):
        for request in requests:
            names.append(Path(request.path).name)
            time.sleep(0.05)
            yield request

    monkeypatch.setattr(decoder, "decode_all", lambda requests: decode_all(noted(requests)))
    return names


def test_a_file_is_decoded_once_whatever_it_is_called(
    clip4vla, decoder, decoded, rendered, tmp_path
):
    reader = PartReader(clip4vla(0.5), decoder, CUT)

    def read(path, token=None, **asked):
        [part] = Query.of(**(asked or {"video": path})).parts
        return reader.embed(part, NOTHING, token)

    red = rendered / "red.mp4"
    first, before = read(red), len(decoded)
    (tmp_path / "copy").write_bytes(red.read_bytes())
    for path in (red, tmp_path / "copy"):
        again = read(path)
        assert (again.kind, len(decoded)) == (first.kind, before)
        np.testing.assert_array_equal(again.vision, first.vision)
        np.testing.assert_array_equal(again.audio, first.audio)
    # Whatever decides the vectors makes another of it.
    for token, asked, kind in (
        (0.3, {}, "both"),
        (None, {"audio": red}, "audio"),
        (None, {"image": red}, "vision"),
    ):
        assert read(red, token, **asked).kind == kind
        assert len(decoded) > before
        before = len(decoded)
    (tmp_path / "copy").write_bytes((rendered / "blue.mp4").read_bytes())
    assert not np.array_equal(read(tmp_path / "copy").vision, first.vision)
    assert len(decoded) > before


def test_only_so_many_files_are_remembered(tiny_model, decoder, decoded, rendered, monkeypatch):
    monkeypatch.setattr(module, "FILES", 2)
    reader = PartReader(tiny_model, decoder, CUT)
    for name in ("still.png", "mute.mp4", "still.png", "red.mp4", "still.png", "mute.mp4"):
        reader.embed(Query.of(image=rendered / name).parts[0], NOTHING)
    # That of `mute.mp4` was not asked for for longest when a third one came.
    names = [name for name, _ in groupby(decoded)]
    assert names == ["still.png", "mute.mp4", "red.mp4", "mute.mp4"]


def test_threads_that_ask_for_one_file_wait_for_the_first(tiny_model, decoder, decoded, rendered):
    reader = PartReader(tiny_model, decoder, CUT)
    [part] = Query.of(image=rendered / "still.png").parts
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: reader.embed(part, NOTHING), range(4)))
    assert decoded == ["still.png"]
    assert len({one.vision.tobytes() for one in found}) == 1


@pytest.mark.parametrize(
    ("asked", "name", "message"),
    [
        ("audio", "still.png", "has no sound"),
        ("image", "tone.wav", "has no picture"),
        ("audio", "mute.mp4", r"has no sound \(no_audio\)"),
        ("video", "broken.mp4", "cannot be searched with .corrupt: "),
        ("video", "missing.mp4", "no such file"),
    ],
)
def test_files_without_what_is_asked_are_refused(
    tiny_model, decoder, rendered, asked, name, message
):
    with pytest.raises(UserError, match=message) as caught:
        embed_query(Query.of(**{asked: rendered / name}), tiny_model, decoder, CUT)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def stored():
    """A gallery of a film, a silent one and a sound."""
    vision, audio = np.eye(3, 24, dtype=np.float32), np.eye(3, 24, 5, dtype=np.float32)
    names = ("film", "mute", "tone")
    has_vision, has_audio = np.array([True, True, False]), np.array([True, False, True])
    return Gallery.of(
        tuple(Moment(file=f"/{name}", start=0.0, end=2.0) for name in names),
        vision=vision * has_vision[:, None],
        has_vision=has_vision,
        audio=audio * has_audio[:, None],
        has_audio=has_audio,
    )


@pytest.mark.parametrize("by", ["visual", "audio", "both"])
def test_a_stored_moment_is_searched_for_by_what_is_asked_of_it(tiny_model, decoder, stored, by):
    like = Query.of(like=stored.moment(0), by=by)
    found = embed_query(like, tiny_model, decoder, CUT, gallery=stored)
    assert found.kind == {"visual": "vision", "audio": "audio", "both": "both"}[by]
    sight = None if by == "audio" else stored.vision[0].tolist()
    sound = None if by == "visual" else stored.audio[0].tolist()
    assert (found.vision if sight is None else found.vision.tolist()) == sight
    assert (found.audio if sound is None else found.audio.tolist()) == sound


def test_a_stored_moment_without_sound_is_as_a_video_without(
    tiny_model, untrained_model, decoder, stored
):
    like = Query.of(like=stored.moment(1))
    shared = embed_query(like, tiny_model, decoder, CUT, gallery=stored)
    assert shared.kind == "vision"
    np.testing.assert_array_equal(shared.audio, stored.vision[1])
    assert embed_query(like, untrained_model, decoder, CUT, gallery=stored).audio is None


def test_any_time_in_a_moment_names_it(tiny_model, decoder, stored):
    first = stored.moment(0)
    inside = replace(first, start=(first.start + first.end) / 2)
    named, exact = (
        embed_query(Query.of(like=moment), tiny_model, decoder, CUT, gallery=stored)
        for moment in (inside, first)
    )
    np.testing.assert_array_equal(named.vision, exact.vision)
    np.testing.assert_array_equal(named.audio, exact.audio)


def test_a_moment_that_is_not_there_or_lacks_what_is_asked_is_refused(tiny_model, decoder, stored):
    for moment, by, message in (
        (Moment(file="/film", start=100.0, end=101.0), "both", "/film has no moment at 100 s"),
        (stored.moment(2), "visual", "/tone has no picture at 0 s"),
        (stored.moment(1), "audio", "/mute has no sound at 0 s"),
    ):
        with pytest.raises(UserError, match=message):
            embed_query(Query.of(like=moment, by=by), tiny_model, decoder, CUT, gallery=stored)


def test_texts_are_read_once_and_the_oldest_forgotten(tiny_model):
    asked = []
    read = tiny_model.embed_text
    tiny_model.embed_text = lambda texts, toward: (asked.append(list(texts)), read(texts, toward))[
        1
    ]
    texts = TextVectors(tiny_model, size=2)
    one, two = texts.of(["one", "two"], "vision")
    np.testing.assert_array_equal(np.stack([one, two]), read(["one", "two"], "vision"))
    # Sight and sound share a space: a text has one vector.
    np.testing.assert_array_equal(texts.of(["one"], "audio")[0], one)
    texts.of(["three", "one", "three"], "vision")
    assert asked == [["one", "two"], ["three"]]
    texts.of(["two"], "vision")
    assert asked[-1] == ["two"]


def test_a_pair_of_spaces_has_two_vectors_a_text(untrained_model):
    texts = TextVectors(untrained_model)
    for toward in ("vision", "audio", "vision"):
        expected = untrained_model.embed_text(["a bell"], toward)[0]
        np.testing.assert_array_equal(texts.of(["a bell"], toward)[0], expected)
