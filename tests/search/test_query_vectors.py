import numpy as np
import pytest

from trichord.search.query import Query
from trichord.search.query_vectors import embed_query
from trichord.search.reading import Cut
from trichord.types import UserError

CUT = Cut(2.0, 2.0)


def test_a_text_searches_sight_and_sound(tiny_model, untrained_model, decoder):
    aligned = embed_query(Query.of("a low bell"), tiny_model, decoder, CUT)
    assert aligned.kind == "text"
    np.testing.assert_array_equal(aligned.sight, aligned.sound)
    apart = embed_query(Query.of("a low bell"), untrained_model, decoder, CUT)
    assert not np.allclose(apart.sight, apart.sound)


def test_where_a_space_is_shared_a_picture_searches_sound_too(tiny_model, decoder, rendered):
    query = embed_query(Query.of(image=rendered / "still.png"), tiny_model, decoder, CUT)
    assert query.kind == "vision"
    np.testing.assert_array_equal(query.sight, query.sound)


def test_where_it_is_not_each_searches_its_own(untrained_model, decoder, rendered):
    image = embed_query(Query.of(image=rendered / "still.png"), untrained_model, decoder, CUT)
    assert (image.kind, image.sight is None, image.sound is None) == ("vision", False, True)
    audio = embed_query(Query.of(audio=rendered / "tone.wav"), untrained_model, decoder, CUT)
    assert (audio.kind, audio.sight is None, audio.sound is None) == ("audio", True, False)


def test_a_video_searches_sight_by_its_picture_and_sound_by_its_sound(
    tiny_model, decoder, rendered
):
    red = rendered / "red.mp4"
    video = embed_query(Query.of(video=red), tiny_model, decoder, CUT)
    image = embed_query(Query.of(image=red), tiny_model, decoder, CUT)
    audio = embed_query(Query.of(audio=red), tiny_model, decoder, CUT)
    assert video.kind == "both"
    np.testing.assert_array_equal(video.sight, image.sight)
    np.testing.assert_array_equal(video.sound, audio.sound)


def test_a_video_without_sound_searches_as_a_picture(tiny_model, decoder, rendered):
    query = embed_query(Query.of(video=rendered / "mute.mp4"), tiny_model, decoder, CUT)
    assert query.kind == "vision"
    np.testing.assert_array_equal(query.sound, query.sight)


def test_a_long_file_is_searched_for_by_the_mean_of_its_moments(tiny_model, decoder, rendered):
    tone = Query.of(audio=rendered / "tone.wav")
    query = embed_query(tone, tiny_model, decoder, CUT)
    whole = embed_query(tone, tiny_model, decoder, Cut(2.0, 1.0))
    assert np.linalg.norm(query.sound) == pytest.approx(1.0, abs=1e-6)
    assert not np.array_equal(query.sound, whole.sound)


def test_a_sound_is_listened_to_at_the_sound_token_itself(clip4vla, decoder, rendered):
    red = Query.of(audio=rendered / "red.mp4")
    asked = embed_query(red, clip4vla(0.5), decoder, CUT, 0.3)
    exact = embed_query(red, clip4vla(0.3), decoder, CUT)
    np.testing.assert_allclose(asked.sound, exact.sound, atol=1e-5)
    other = embed_query(red, clip4vla(0.5), decoder, CUT)
    assert np.abs(asked.sound - other.sound).max() > 1e-3


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
