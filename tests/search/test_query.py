import pytest

from trichord.search.filters import Filter
from trichord.search.query import Query, QueryPart
from trichord.types import Moment, UserError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "  "}, "text to search for is empty"),
        ({"text": "a", "image": " "}, "image to search for is empty"),
        ({}, "at least one of .*not 0"),
        ({"text": "-leash"}, "only says what to avoid"),
        ({"text": "a", "visual_weight": 0.0, "audio_weight": 0.0}, "both 0"),
        ({"text": "a", "visual_weight": -1.0}, "--visual-weight -1"),
        ({"text": "a", "audio_weight": float("nan")}, "--audio-weight nan"),
        ({"text": "a", "audio_weight": float("inf")}, "--audio-weight inf"),
        ({"text": "a", "caption_weight": -0.5}, "--caption-weight -0.5"),
        ({"text": "a", "audio_type": 1.01}, "--audio-type 1.01"),
        ({"text": "a", "audio_type": -0.5}, "--audio-type -0.5"),
        ({"text": "a", "audio_type": float("nan")}, "--audio-type nan"),
    ],
)
def test_impossible_queries_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Query.of(**arguments)


def test_a_weight_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="weight nan"):
        QueryPart(kind="text", value="a", weight=float("nan"))


def test_a_text_is_parted_at_its_minuses():
    query = Query.of('a dog −leash -"red car"')
    assert [(part.value, part.weight) for part in query.parts] == [
        ("a dog", 1.0), ("leash", -1.0), ("red car", -1.0),
    ]  # fmt: skip
    assert query.words == "a dog"
    assert query.title == "a dog −leash −red car"


def test_a_query_may_be_of_everything_at_once(tmp_path):
    like = Moment(file="/films/one.mp4", start=5.0, end=15.0)
    query = Query.of(
        "a dog", image=tmp_path / "b.png", audio="c.wav", video="d.mp4", like=like, by="audio",
        where=Filter(path="films"),
    )  # fmt: skip
    assert [(part.kind, part.value) for part in query.parts] == [
        ("text", "a dog"), ("image", str(tmp_path / "b.png")), ("audio", "c.wav"),
        ("video", "d.mp4"), ("moment", "/films/one.mp4"),
    ]  # fmt: skip
    assert (query.parts[-1].start, query.parts[-1].by) == (5.0, "audio")
    assert query.where.path == "films"
    assert query.title == "a dog b.png c.wav d.mp4 like one.mp4 at 5 s"


def test_a_minus_goes_with_something_else_that_is_looked_for():
    query = Query.of("-leash", image="dog.png")
    assert [(part.kind, part.weight) for part in query.parts] == [("text", -1.0), ("image", 1.0)]
    assert query.words == ""


def test_a_text_without_minus_is_asked_for_as_it_is():
    assert Query.of("a  low bell ").parts[0].value == "a  low bell "
