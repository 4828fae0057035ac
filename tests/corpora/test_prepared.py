import pytest

from trichord.corpora import CORPORA
from trichord.corpora.prepared import Tally, tidy, train_or_val
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


def test_a_name_with_a_line_end_does_not_break_the_line():
    tally = Tally()
    for name in ("a\nb", "c  é", "\udcff"):
        tally.add("blank captions dropped", name)
    assert tally.prepared([]).lines() == [r"3 blank captions dropped: 'a\nb', c  é, '\udcff'"]


@pytest.mark.parametrize(
    ("raw", "clean", "counted"),
    [
        ("a dog", "a dog", {}),
        ("  a   dog\n", "a dog", {}),
        ("1. a dog\n2. barks\r\n", "1. a dog 2. barks", {"multi-line captions joined": 1}),
        (" \n\t", None, {"blank captions dropped": 1}),
        ("", None, {"blank captions dropped": 1}),
        (" NaN ", None, {"captions dropped, being nan, N/A, null or None": 1}),
        ("null and void", "null and void", {}),
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


def test_what_lacks_its_media_is_counted_apart():
    tally = Tally()
    tally.lack("rows left out for want of a file", "a")
    tally.add("blank captions dropped", "b")
    tally.lack("rows left out for want of a file", "c")
    tally.lack("clips left out for want of a file", "d")
    prepared = tally.prepared([])
    assert prepared.missing == 3
    assert prepared.lacking == (
        "rows left out for want of a file",
        "clips left out for want of a file",
    )
    assert prepared.lines()[0] == "2 rows left out for want of a file: a, c"
    assert Tally().prepared([]).missing == 0


def test_a_share_of_names_validates_wherever_they_stand():
    names = [f"video{n}" for n in range(10_000)]
    val = {name for name in names if train_or_val(name, val=0.05) == "val"}
    assert 400 < len(val) < 600
    assert val < {name for name in names if train_or_val(name, val=0.1) == "val"}
    # Outside this code: the first ids whose 8-byte BLAKE2b digest is below 5 % of the range.
    assert [name for name in names if name in val][:4] == [
        "video9",
        "video30",
        "video36",
        "video44",
    ]
    assert {train_or_val(name, val=0.0) for name in (*names, "\ud800")} == {"train"}
    assert {train_or_val(name, val=1.0) for name in names} == {"val"}


def test_the_corpora_by_name():
    assert list(CORPORA) == [
        "avcaps",
        "folder",
        "grid",
        "esc50",
        "ucf101",
        "msrvtt-9k",
        "msrvtt-7k",
        "msrvtt-full",
        "vatex",
        "audiocaps",
        "clotho",
        "howto100m",
        "audioset",
        "mteb",
    ]
    assert all(corpus.description for corpus in CORPORA.values())
