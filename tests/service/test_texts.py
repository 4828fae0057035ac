"""What is said and shown in files, over HTTP."""

import pytest

from trichord.search.text_table import FileTexts
from trichord.service.catalogue import file_id
from trichord.speech.transcript import SpokenSegment, Word

EXACT = '"turn left"'
LINES = (
    SpokenSegment(
        start=0.5,
        end=1.8,
        text="Turn left & stop.",
        words=tuple(
            Word(text=text, start=start, end=start + 0.25)
            for text, start in (("Turn", 0.5), ("left", 0.75), ("&", 1.0), ("stop.", 1.25))
        ),
        language="en",
        speaker="Ann",
    ),
    SpokenSegment(start=2.5, end=3.5, text="Left, then turn.", language="en", speaker="Bob"),
)


@pytest.fixture
def collection(collection):
    """The archive, with words in its film and its sound."""
    collection.texts.put(
        [
            FileTexts(
                signature="red.mp4", kind="speech", lines=LINES, status="recognised", language="en"
            )
        ]
    )
    title = (SpokenSegment(start=1.0, end=4.0, text="TURN LEFT"),)
    collection.texts.put(
        [FileTexts(signature="red.mp4", kind="screen", lines=title, status="read")]
    )
    german = (SpokenSegment(start=0.0, end=1.0, text="Links abbiegen", language="de"),)
    collection.texts.put(
        [FileTexts(signature="tone.wav", kind="speech", lines=german, status="recognised")]
    )
    return collection


@pytest.fixture
def film(root):
    return file_id(str(root / "red.mp4"))


def starts(hits):
    return [(hit["name"], hit["start"]) for hit in hits]


def test_the_collection_says_what_words_it_has(ask):
    told = ask("GET", "/api/collection").json()
    assert (told["texts"], told["languages"]) == (["screen", "speech"], ["de", "en"])


def test_lines_of_a_file_have_words_and_times(ask, film, root):
    told = ask("GET", f"/api/files/{film}/texts").json()
    first, second = told["speech"]
    assert (first["text"], first["start"], first["end"]) == ("Turn left & stop.", 0.5, 1.8)
    assert (first["language"], first["speaker"]) == ("en", "Ann")
    assert first["words"] == [
        {"word": "Turn", "start": 0.5}, {"word": "left", "start": 0.75},
        {"word": "&", "start": 1.0}, {"word": "stop.", "start": 1.25},
    ]  # fmt: skip
    assert (second["text"], second["words"]) == ("Left, then turn.", [])
    assert [one["text"] for one in told["screen"]] == ["TURN LEFT"]
    silent = ask("GET", f"/api/files/{file_id(str(root / 'still.png'))}/texts").json()
    assert silent == {"speech": [], "screen": []}


@pytest.mark.parametrize("path", ["texts", "subtitles.vtt", "subtitles.srt"])
def test_an_unknown_file_has_no_lines(ask, path):
    response = ask("GET", f"/api/files/{'0' * 24}/{path}")
    assert response.status_code == 404
    assert response.json()["error"].startswith("This file is not in the archive")


def test_what_is_said_in_a_file_is_subtitles(ask, film):
    vtt = ask("GET", f"/api/files/{film}/subtitles.vtt")
    assert vtt.headers["content-type"].startswith("text/vtt")
    assert vtt.text == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.800\nTurn left &amp; stop.\n\n"
        "00:00:02.500 --> 00:00:03.500\nLeft, then turn.\n"
    )
    srt = ask("GET", f"/api/files/{film}/subtitles.srt")
    assert srt.headers["content-type"].startswith("application/x-subrip")
    assert srt.text == (
        "1\n00:00:00,500 --> 00:00:01,800\nTurn left & stop.\n\n"
        "2\n00:00:02,500 --> 00:00:03,500\nLeft, then turn.\n"
    )
    assert ask("GET", f"/api/files/{film}/subtitles.ass").status_code == 422


def test_quoted_words_find_only_where_they_are_said_or_shown_exactly_so(found):
    hits = found(EXACT, fold=False)
    assert starts(hits) == [("red.mp4", 0.0)]
    [said, shown] = hits[0]["texts"]
    assert said == {
        "kind": "speech", "start": 0.5, "end": 1.8, "text": "Turn left & stop.",
        "words": [{"word": "Turn", "start": 0.5}, {"word": "left", "start": 0.75}],
    }  # fmt: skip
    assert (shown["kind"], shown["text"]) == ("screen", "TURN LEFT")
    assert hits[0]["play"] == 0.5
    assert found('"left turn"', fold=False) == []


def test_weights_say_which_words_count(found):
    [said] = found(EXACT, fold=False, screen_weight=0)
    assert [text["kind"] for text in said["texts"]] == ["speech"]
    [shown] = found(EXACT, fold=False, speech_weight=0)
    assert [text["kind"] for text in shown["texts"]] == ["screen"]
    assert shown["play"] == 1.0
    none = found("turn left", fold=False, speech_weight=0, screen_weight=0, k=100)
    assert len(none) == 4
    assert not any(hit["texts"] for hit in none)
    # With a weight any of the words counts, without one all must be said.
    assert not any(hit["texts"] for hit in found("turn back", fold=False, screen_weight=0, k=100))
    loose = found("turn back", fold=False, screen_weight=0, speech_weight=1.0, k=100)
    assert sum(bool(hit["texts"]) for hit in loose) == 2


def test_words_alone_are_searched_if_neither_picture_nor_sound_counts(ask, found):
    nothing = {"visual_weight": 0, "audio_weight": 0, "fold": False}
    assert starts(found("turn left", **nothing, screen_weight=0)) == [
        ("red.mp4", 0.0),
        ("red.mp4", 2.0),
    ]
    assert starts(found("turn left", **nothing, speech_weight=0)) == [("red.mp4", 0.0)]
    assert found("giraffe", **nothing) == []
    grouped = ask(
        "POST", "/api/search", json={"parts": [{"text": "turn left"}], **nothing, "group": True}
    ).json()
    assert [group["name"] for group in grouped["groups"]] == ["red.mp4"]
    moment = found("turn left", fold=False)[0]["id"]
    for body in (
        {"parts": [{"moment": moment}], **nothing},
        {"parts": [{"text": "x"}], **nothing, "speech_weight": 0, "screen_weight": 0},
    ):
        refused = ask("POST", "/api/search", json=body)
        assert refused.status_code == 400
        assert refused.json()["error"].startswith(
            "Only words count in this search, and it has none"
        )


def test_filters_by_language_and_speaker(found, ask):
    def names(**where):
        return set(starts(found("x", k=100, fold=False, where=where)))

    assert names(language="en") == {("red.mp4", 0.0), ("red.mp4", 2.0)}
    assert names(language="de") == {("more/tone.wav", 0.0)}
    assert names(speaker="Bob") == {("red.mp4", 2.0)}
    assert names(language="fr") == set()
    refused = ask(
        "POST", "/api/search", json={"parts": [{"text": "x"}], "where": {"language": "en\n"}}
    )
    assert refused.status_code == 422


def test_files_are_filtered_by_what_is_said_too(ask):
    def names(**asked):
        return {file["name"] for file in ask("GET", "/api/files", params=asked).json()["files"]}

    assert names(language="de") == {"more/tone.wav"}
    assert names(speaker="Ann") == {"red.mp4"}
    assert names(has_speech=True) == {"more/tone.wav", "red.mp4"}
