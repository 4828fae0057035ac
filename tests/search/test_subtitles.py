import pytest

from trichord.search.subtitles import webvtt
from trichord.speech.transcript import SpokenSegment, escaped, timestamp
from trichord.types import Moment


def moment(start, end):
    return Moment(file="a.mp4", start=start, end=end)


def test_cues_are_in_order_of_time_and_pictures_have_none():
    told = [
        (moment(10.0, 19.5), "a dog"),
        (moment(0.0, 10.0), "a cat"),
        (moment(0.0, 0.0), "still"),
    ]
    assert webvtt(told) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:10.000\na cat\n\n00:00:10.000 --> 00:00:19.500\na dog\n"
    )
    assert webvtt([]) == "WEBVTT\n"


@pytest.mark.parametrize(
    ("seconds", "stamp"),
    [
        (0.0, "00:00:00.000"),
        (59.9996, "00:01:00.000"),
        (3599.999, "00:59:59.999"),
        (3661.5, "01:01:01.500"),
        (400 * 3600.0, "400:00:00.000"),
    ],
)
def test_times_have_hours_minutes_seconds_and_thousandths(seconds, stamp):
    assert timestamp(seconds) == stamp


def test_nothing_in_a_text_is_markup_or_ends_its_cue():
    assert escaped("a <b> & c --> d\n\ne\u2028f") == "a &lt;b&gt; &amp; c --&gt; d e f"
    assert "\n\n" not in webvtt([(moment(0.0, 1.0), "one\n\ntwo")]).removeprefix("WEBVTT\n\n")
    assert webvtt([(moment(0.0, 1.0), " \n ")]) == "WEBVTT\n"


def test_what_is_said_stands_beside_captions_in_brackets():
    spoken = [
        SpokenSegment(start=1.0, end=2.0, text="hello"),
        SpokenSegment(start=0.0, end=1.0, text="oh"),
    ]
    assert webvtt([(moment(0.0, 10.0), "a cat")], spoken) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\noh\n\n00:00:00.000 --> 00:00:10.000\n[a cat]\n\n"
        "00:00:01.000 --> 00:00:02.000\nhello\n"
    )
