import pytest

from trichord.corpora import CORPORA
from trichord.corpora.prepared import Tally, tidy
from trichord.types import Clip


def test_lines_count_everything_and_name_the_first_three():
    tally = Tally()
    for name in ("a", "b", "b", "c", "d"):
        tally.add("blank captions dropped", name)
    tally.add("videos without captions", "e")
    prepared = tally.prepared([Clip(id="a", path="a")])
    assert prepared.counts == {"blank captions dropped": 5, "videos without captions": 1}
    assert prepared.lines() == [
        "5 blank captions dropped: a, b, c, ...",
        "1 videos without captions: e",
    ]


@pytest.mark.parametrize(
    ("raw", "clean", "counted"),
    [
        ("a dog", "a dog", {}),
        ("  a   dog\n", "a dog", {}),
        ("1. a dog\n2. barks\r\n", "1. a dog 2. barks", {"multi-line captions joined": 1}),
        (" \n\t", None, {"blank captions dropped": 1}),
        ("", None, {"blank captions dropped": 1}),
        ("a \ud800dog", "a dog", {"captions with broken characters mended": 1}),
    ],
)
def test_a_caption_becomes_one_clean_line_and_what_was_done_is_counted(raw, clean, counted):
    tally = Tally()
    assert tidy(raw, tally, "clip") == clean
    assert tally.counts == counted


def test_multi_line_captions_can_be_dropped_instead():
    tally = Tally()
    assert tidy("a\nb", tally, "clip", drop_multiline=True) is None
    assert tidy("a b\n", tally, "clip", drop_multiline=True) == "a b"
    assert tally.counts == {"multi-line captions dropped": 1}


def test_the_corpora_by_name():
    assert sorted(CORPORA) == ["avcaps", "esc50", "folder", "grid"]
    assert all(corpus.description for corpus in CORPORA.values())
