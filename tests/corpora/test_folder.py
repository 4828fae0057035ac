import json
from collections import Counter

import pytest

from trichord.corpora import folder
from trichord.types import Caption, Clip, UserError


@pytest.fixture
def with_table(touch):
    def made(content, *media, name="captions.csv"):
        root = touch(*media, name)
        (root / name).write_text(content)
        return root

    return made


def test_media_alone_are_clips_without_captions_named_by_their_path(touch):
    root = touch("b.mp4", "a/c.wav", "readme.txt")
    assert folder.clips(root).clips == (
        Clip(id="a/c.wav", path=str(root / "a/c.wav")),
        Clip(id="b.mp4", path=str(root / "b.mp4")),
    )


def test_each_caption_column_says_what_its_texts_are_about(with_table):
    root = with_table(
        "file,audio_caption,visual_caption,audio_visual_caption,caption,label,split\n"
        "a.mp4,heard,seen,both,plain,dog,validation\n",
        "a.mp4",
    )
    (clip,) = folder.clips(root).clips
    assert clip.captions == (
        Caption(text="heard", about="audio"),
        Caption(text="seen", about="visual"),
        Caption(text="both", about="audio_visual"),
        Caption(text="plain", about="audio_visual"),
    )
    assert (clip.labels, clip.split) == (("dog",), "val")


def test_several_rows_of_a_file_are_several_captions_of_one_clip(with_table):
    root = with_table("file,caption,label,split\na,one,x,\na,two,y,test\na,one,x,test\n", "a.mp4")
    (clip,) = folder.clips(root).clips
    assert [c.text for c in clip.captions] == ["one", "two", "one"]
    assert (clip.labels, clip.split) == (("x", "y"), "test")


def test_rows_that_differ_in_start_or_end_are_several_clips(with_table):
    rows = "a.mp4,10,12.5,late\na.mp4,0,10,early\na.mp4,,,all\na.mp4,10,,rest\n"
    prepared = folder.clips(with_table("file,start,end,caption\n" + rows, "a.mp4"))
    assert [(c.id, c.start, c.end, c.captions[0].text) for c in prepared.clips] == [
        ("a.mp4@0-10", 0.0, 10.0, "early"),
        ("a.mp4", 0.0, None, "all"),
        ("a.mp4@10-12.5", 10.0, 12.5, "late"),
        ("a.mp4@10-", 10.0, None, "rest"),
    ]


def test_ids_of_spans_that_differ_by_microseconds_differ(with_table):
    root = with_table("file,start\na.mp4,1234.56781\na.mp4,1234.56782\n", "a.mp4")
    assert [c.id for c in folder.clips(root).clips] == ["a.mp4@1234.56781-", "a.mp4@1234.56782-"]


def test_json_lines_may_hold_lists_and_numbers(with_table):
    row = {"video": "a.mp4", "caption": ["one", "two"], "label": ["x"], "start": 1, "split": None}
    (clip,) = folder.clips(with_table(json.dumps(row), "a.mp4", name="metadata.jsonl")).clips
    assert [c.text for c in clip.captions] == ["one", "two"]
    assert (clip.start, clip.end, clip.split) == (1.0, None, None)


def test_a_text_file_beside_a_file_holds_a_caption_a_line(touch):
    root = touch("a.mp4", "b.mp4", "b.txt")
    (root / "a.txt").write_text("first  one\n\nsecond\n")
    (root / "b.txt").write_text("\n")
    prepared = folder.clips(root)
    assert prepared.clips[0].captions == (
        Caption(text="first one", about="audio_visual"),
        Caption(text="second", about="audio_visual"),
    )
    assert prepared.examples == {"text files without a text": ("b.txt",)}


def test_what_does_not_match_is_counted_and_an_empty_cell_is_no_caption(with_table):
    root = with_table(
        'file,caption,mood,name\na.mp4,"two\nlines",x,n\ngone.mp4,c,x,n\na.mp4,,x,n\n',
        "a.mp4",
        "b.mp4",
    )
    prepared = folder.clips(root)
    assert [[c.text for c in clip.captions] for clip in prepared.clips] == [["two lines"], []]
    assert prepared.examples == {
        "multi-line captions joined": ("captions.csv:2",),
        "rows left out for want of their file": ("gone.mp4",),
        "columns passed over": ("mood", "name"),
        "files without a row in captions.csv": ("b.mp4",),
    }


def test_captions_come_before_metadata_before_the_only_table(with_table, tmp_path):
    for name in ("any.csv", "metadata.csv", "captions.csv"):
        root = with_table(f"file,caption\na.mp4,{name}\n", "a.mp4", name=name)
        assert folder.clips(root).clips[0].captions[0].text == name


def test_a_table_can_be_named_and_lie_elsewhere_as_can_its_files(with_table, touch, tmp_path):
    root = with_table(
        "file,caption\na.mp4,no\n", "media/a.mp4", "far/b.xyz", name="media/captions.csv"
    )
    table = root / "own.csv"
    table.write_text(f"path,caption\na.mp4,yes\n{root}/far/b.xyz,far\n")
    found = {c.id: c.captions[0].text for c in folder.clips(root / "media", captions=table).clips}
    assert found == {"a.mp4": "yes", f"{root}/far/b.xyz": "far"}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("file,split\na.mp4,holdout\n", ":2: split must be train, val or test, not 'holdout'"),
        ("file,start\na.mp4,0:10\n", ":2: start must be seconds from 0 on, not '0:10'"),
        ("file,end\na.mp4,-3\n", ":2: end must be seconds from 0 on, not '-3'"),
        ("file,end\na.mp4,nan\n", ":2: end must be seconds from 0 on, not 'nan'"),
        ("file,start,end\na.mp4,5,4\n", ":2: end (4) must be after start (5)"),
        (
            "file,split\na.mp4,val\na.mp4,test\n",
            ":3: split test, but an earlier row of the file says val",
        ),
        (
            "file,caption\n,lost\n",
            ": holds no rows but broken ones, captions.csv:2 (names no file)",
        ),
        ("text,caption\na,b\n", ": its first line names no column of file, path"),
        ("", ": is empty"),
    ],
)
def test_a_wrong_value_is_named_by_line(with_table, rows, says):
    root = with_table(rows, "a.mp4")
    with pytest.raises(UserError) as caught:
        folder.clips(root)
    assert str(caught.value).startswith(f"{root / 'captions.csv'}{says}")


def test_a_caption_that_is_no_text_is_named_by_line(with_table):
    root = with_table('{"file": "a.mp4", "caption": 7}', "a.mp4", name="captions.jsonl")
    with pytest.raises(UserError, match=r'captions\.jsonl:1: "caption" must be a text or a list'):
        folder.clips(root)


def test_several_tables_of_other_names_need_a_choice(with_table):
    root = with_table("file\na.mp4\n", "a.mp4", "b.csv", name="a.csv")
    with pytest.raises(
        UserError, match=r"several tables \(a\.csv, b\.csv\); name one with --captions"
    ):
        folder.clips(root)


def test_a_folder_without_media_or_no_folder_is_one_line(touch, tmp_path):
    with pytest.raises(UserError, match="holds no media"):
        folder.clips(touch("readme.txt"))
    with pytest.raises(UserError, match="nowhere: no such folder"):
        folder.clips(tmp_path / "nowhere")


def test_the_real_clips_have_a_label_and_a_caption_each(shared):
    prepared = folder.clips(shared / "avclips")
    assert len(prepared.clips) == 30
    assert all(len(c.captions) == 1 and len(c.labels) == 1 for c in prepared.clips)
    assert prepared.clips[0].labels == ("chopping_food",)
    assert prepared.counts == {}


def test_the_real_photographs_have_a_class_each(shared):
    prepared = folder.clips(shared / "imagehear")
    assert len(prepared.clips) == 101
    assert len(Counter(c.labels for c in prepared.clips)) == 30
