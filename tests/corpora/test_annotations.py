import pytest

from trichord.corpora.annotations import (
    annotation,
    captions,
    captions_of,
    joined,
    listed,
    refuse_pickles,
    required,
    seconds,
    timed,
)
from trichord.corpora.prepared import Tally
from trichord.types import Caption, Clip, UserError


def test_an_annotation_lies_in_the_folder_or_one_below_in_order_of_names(touch, tmp_path):
    root = touch("b/two.csv", "three.csv", "x/y/deep.csv", ".hidden/four.csv", "v1_a.json")
    assert annotation(root, "one.csv", "two.csv", "three.csv") == tmp_path / "b" / "two.csv"
    assert annotation(root, "three.csv", "two.csv") == tmp_path / "three.csv"
    assert annotation(root, "v1*.json") == tmp_path / "v1_a.json"
    assert annotation(root, "deep.csv") is None
    assert annotation(root, "four.csv") is None


def test_the_folder_itself_goes_before_those_below_and_two_below_are_ambiguous(touch, tmp_path):
    root = touch("a/t.csv", "b/t.csv")
    with pytest.raises(UserError, match=r"holds several t\.csv \(a/t\.csv, b/t\.csv\); keep one"):
        annotation(root, "t.csv")
    touch("t.csv")
    assert annotation(root, "t.csv") == tmp_path / "t.csv"


@pytest.mark.parametrize("name", ["caption.pickle", "x/y.pkl"])
def test_a_pickle_is_refused_with_the_remedy(touch, name):
    with pytest.raises(UserError, match=rf"{name}: pickles can run code and are never read; do so"):
        refuse_pickles(touch(name), "do so")


def test_without_a_pickle_nothing_is_said(touch):
    refuse_pickles(touch("x.json"), "do so")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n", r"t\.csv: its first line names no column of id, text"),
        ("id,b\n1,2\n", r"t\.csv:2: needs the columns id, text"),
        ("id,text\n1,x\n2\n", r"t\.csv:3: needs the columns id, text"),
        ("id,text\n ,x\n", r"t\.csv:2: names no id"),
    ],
)
def test_a_table_without_the_columns_is_one_line(tmp_path, content, says):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=says):
        list(required(tmp_path / "t.csv", "id", "text"))


def test_rows_come_with_their_place_and_foreign_columns(tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufeffkey;ID;text\r\n7;1;é\r\n".encode())
    path = tmp_path / "t.csv"
    assert list(required(path, "id", "text")) == [
        (f"{path}:2", {"key": "7", "id": "1", "text": "é"})
    ]


def test_lists_name_the_splits_of_ids_and_the_first_naming_counts(tmp_path):
    (tmp_path / "train.csv").write_text("video_id,feature_file\na,1\nb,2\na,3\n")
    (tmp_path / "val.csv").write_text("video_id\nb\nc\n")
    tally = Tally()
    names = {"train.csv": "train", "val.csv": "val", "test.csv": "test"}
    assert listed(tmp_path, names, tally, val=1.0) == {"a": "train", "b": "train", "c": "val"}
    assert tally.examples == {"listed videos passed over, being named before": ["a", "b"]}
    (tmp_path / "val.csv").unlink()
    assert listed(tmp_path, names, tally, val=1.0) == {"a": "val", "b": "val"}
    assert listed(tmp_path, names, tally) == {"a": "train", "b": "train"}
    assert listed(tmp_path, {"gone.csv": "test"}, tally) == {}


def test_captions_come_from_one_column_or_several(tmp_path):
    tally = Tally()
    row = {"caption_2": "b", "caption": "a", "caption_10": " ", "caption_by": "x", "file": "y"}
    assert captions_of(row, "t.csv:2", "audio", tally, "clip") == (
        Caption(text="b", about="audio"),
        Caption(text="a", about="audio"),
    )
    assert tally.counts == {"blank captions dropped": 1}
    with pytest.raises(UserError, match=r"t\.csv:2: needs a column caption, or caption_1"):
        captions_of({"caption_by": "x"}, "t.csv:2", "audio", tally, "clip")


def test_what_is_no_text_is_no_caption():
    tally = Tally()
    assert captions(["a\nb", None, 3], "visual", tally, "c") == (
        Caption(text="a b", about="visual"),
    )
    assert tally.counts == {
        "multi-line captions joined": 1,
        "captions passed over, being no text": 2,
    }


def test_rows_of_a_clip_are_joined_unless_their_span_differs():
    def clip(clip_id, text, start=0.0):
        return Clip(id=clip_id, path="", start=start, captions=(Caption(text=text, about="audio"),))

    tally = Tally()
    found = joined([clip("a", "1"), clip("b", "2"), clip("a", "3"), clip("a", "4", 5.0)], tally)
    assert [(c.id, [t.text for t in c.captions]) for c in found] == [
        ("a", ["1", "3"]),
        ("b", ["2"]),
    ]
    assert tally.examples == {"rows passed over, their clip beginning elsewhere before": ["a"]}


@pytest.mark.parametrize(("value", "expected"), [("30.000", 30.0), (" 5 ", 5.0), (0, 0.0)])
def test_seconds(value, expected):
    assert seconds(value, "t", "start") == expected


@pytest.mark.parametrize("value", ["", "x", "-1", "nan", "inf", None, [], 10**400])
def test_what_is_no_time_is_one_line(value):
    with pytest.raises(UserError, match="t:2: start must be seconds from 0 on, not"):
        seconds(value, "t:2", "start")


def test_timed_lists_may_be_named_in_the_plural():
    assert timed({"start": [1], "end": [2], "text": ["a"]}, "p") == [(1, 2, "a")]
    assert timed({"starts": [1], "ends": [2], "text": ["a"]}, "p") == [(1, 2, "a")]
    assert timed({"start": [], "end": [], "text": []}, "p") == []


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"start": [1], "end": [2]},
        {"start": [1], "end": [2], "text": []},
        {"start": [1], "end": 2, "text": ["a"]},
    ],
)
def test_lists_that_do_not_fit_together_are_one_line(value):
    with pytest.raises(UserError, match='p: needs lists "start", "end" and "text" of one length'):
        timed(value, "p")
