import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import ipc

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


def test_a_text_named_captions_is_a_table_as_excel_writes_it(touch):
    root = touch("a.mp4", "captions.txt", "notes.txt")
    (root / "captions.txt").write_text("File Name\tCaption\nC:\\Videos\\a.mp4\tone\n", "utf-16")
    (clip,) = folder.clips(root).clips
    assert [caption.text for caption in clip.captions] == ["one"]


def test_a_spreadsheet_is_named_not_passed_over_in_silence(touch):
    prepared = folder.clips(touch("a.mp4", "captions.xlsx"))
    assert prepared.counts == {"spreadsheets passed over: save them as CSV": 1}


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


def texts(prepared):
    return {c.id: [t.text for t in c.captions] for c in prepared.clips}


def test_columns_get_roles_and_sources_by_hand(with_table):
    root = with_table(
        "Video ID,sound text,sentence,GPT: one,subset,Fold,start_s\na,heard,seen,both,dev,2,1.5\n",
        "a.mp4",
    )
    given = (
        "file=video id", "audio_caption=sound_text", "visual_caption=sentence:label",
        "audio_visual_caption=GPT: one:llm", "split=subset", "fold=FOLD", "start=start_s",
    )  # fmt: skip
    prepared = folder.clips(root, columns=given)
    (clip,) = prepared.clips
    assert clip.captions == (
        Caption(text="heard", about="audio"),
        Caption(text="seen", about="visual", source="label"),
        Caption(text="both", about="audio_visual", source="llm"),
    )
    assert (clip.split, clip.fold, clip.start) == ("val", "2", 1.5)
    assert prepared.counts == {}


def test_a_role_may_have_several_columns_and_replaces_its_own_names_alone(with_table):
    root = with_table("file,one,two,caption,label\na,x,y,no,dog\n", "a.mp4")
    prepared = folder.clips(root, columns=("caption=one", "caption=two"))
    assert texts(prepared) == {"a.mp4": ["x", "y"]}
    assert prepared.clips[0].labels == ("dog",)
    assert prepared.examples == {"columns passed over": ("caption",)}


def test_a_column_of_one_role_is_not_also_of_another(with_table):
    root = with_table("file,caption,text\na,x,y\n", "a.mp4")
    (clip,) = folder.clips(root, columns=("audio_caption=caption",)).clips
    assert [(c.text, c.about) for c in clip.captions] == [("x", "audio"), ("y", "audio_visual")]


def test_a_column_that_is_empty_everywhere_is_not_passed_over(with_table):
    prepared = folder.clips(with_table("file,caption,start,split,fold\na,x,,,\n", "a.mp4"))
    assert prepared.counts == {}


@pytest.mark.parametrize("column", ["text", "sentence", "caption_1", "Caption 2", "description"])
def test_usual_names_of_captions_are_known(with_table, column):
    root = with_table(f"file_name,{column}\na.mp4,x\n", "a.mp4")
    assert texts(folder.clips(root)) == {"a.mp4": ["x"]}


def test_numbered_captions_are_all_read(with_table):
    root = with_table("name,caption_1,caption_2,audio_caption1\na,x,y,z\n", "a.wav")
    assert texts(folder.clips(root)) == {"a.wav": ["z", "x", "y"]}


def test_transcripts_are_speech(with_table):
    root = with_table("file,transcription\na,hello\n", "a.wav")
    (clip,) = folder.clips(root).clips
    assert clip.captions == (Caption(text="hello", about="audio", source="speech"),)


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ("caption", "give ROLE=COLUMN"),
        ("caption=", "give ROLE=COLUMN"),
        ("captoin=x", "one of the roles file, audio_caption"),
        ("split=x:llm", r"give ROLE=COLUMN \(of captions also ROLE=COLUMN:SOURCE"),
        ("caption=x", r"captions\.csv has no such column, but file, text"),
        ("file=video", r"names no column of video, but file, text; say which one has the files"),
    ],
)
def test_a_wrong_column_is_one_line(with_table, column, says):
    root = with_table("file,text\na,b\n", "a.mp4")
    with pytest.raises(UserError, match=says):
        folder.clips(root, columns=(column,))


def test_a_table_whose_captions_are_not_recognised_is_refused_with_its_columns(with_table):
    root = with_table("file,beschreibung,split\na,ein Hund,train\n", "a.mp4")
    with pytest.raises(UserError, match="no caption was read; its columns are file, beschreibung"):
        folder.clips(root)
    (root / "a.txt").write_text("a dog")  # another source of captions
    assert texts(folder.clips(root)) == {"a.mp4": ["a dog"]}


def test_a_table_of_other_files_is_refused_with_its_columns(with_table):
    root = with_table("file,caption\nx.mp4,c\n", "a.mp4")
    with pytest.raises(UserError, match="no row names a file of the folder; its columns are file"):
        folder.clips(root)


@pytest.mark.parametrize("word", ["nan", "NaN", "N/A", "null", "NULL", "#N/A", "None", "<NA>"])
def test_words_for_nothing_are_no_captions_and_counted(with_table, word):
    root = with_table(f"file,caption,label\na,{word},n/a\na,a nan bread,dog\n", "a.mp4")
    prepared = folder.clips(root)
    assert texts(prepared) == {"a.mp4": ["a nan bread"]}
    assert prepared.clips[0].labels == ("dog",)
    assert prepared.examples == {
        "captions dropped, being nan, N/A, null or None": ("captions.csv:2",),
        "labels dropped, being nan, N/A or null": ("captions.csv:2",),
    }


def test_broken_rows_are_left_out_and_the_first_is_named(with_table):
    root = with_table(
        'file,caption\na,one\nb,two, more\n,lost\nc,"open\nd,four\n', "a.mp4", "b.mp4", "d.mp4"
    )
    prepared = folder.clips(root)
    assert texts(prepared) == {"a.mp4": ["one"], "b.mp4": [], "d.mp4": ["four"]}
    assert prepared.counts["broken rows left out"] == 3
    assert "captions.csv:3 (has 3 values for 2 columns" in prepared.lines()[0]
    assert prepared.examples["files without a row in captions.csv"] == ("b.mp4",)


def test_names_of_another_spelling_are_found_if_they_are_unique(with_table):
    root = with_table(
        "file,caption\n"
        "sub\\a.mp4,windows\nD:\\clips\\b.mp4,moved\ncafe\u0301.mp4,nfd\nUPPER.MP4,case\n"
        "twin.mp4,two\nTWIN.mp4,two\n",
        "sub/a.mp4", "b.mp4", "caf\u00e9.mp4", "upper.mp4", "x/twin.mp4", "y/twin.mp4",
    )  # fmt: skip
    prepared = folder.clips(root)
    found = {name: captions for name, captions in texts(prepared).items() if captions}
    assert found == {
        "sub/a.mp4": ["windows"], "b.mp4": ["moved"], "caf\u00e9.mp4": ["nfd"],
        "upper.mp4": ["case"],
    }  # fmt: skip
    assert prepared.counts == {
        "files found whose case or accents differ from the table's": 2,
        "rows left out, several files having their name": 2,
        "files without a row in captions.csv": 2,
    }
    assert prepared.missing == 2


@pytest.mark.parametrize(
    ("encoding", "counted"),
    [("utf-8", 0), ("utf-8-sig", 0), ("utf-16", 0), ("utf-32", 0), ("cp1252", 1)],
)
def test_every_encoding_of_excel_is_read(touch, encoding, counted):
    root = touch("a.mp4")
    (root / "captions.csv").write_text("file;caption\r\na;ein Bär – “laut”\r\n", encoding=encoding)
    prepared = folder.clips(root)
    assert texts(prepared) == {"a.mp4": ["ein Bär – “laut”"]}
    assert sum(prepared.counts.values()) == counted
    assert ("tables read as Windows text (cp1252), not being UTF-8" in prepared.counts) == counted


def test_text_with_a_broken_character_of_utf_8_is_not_taken_for_windows_text(touch):
    root = touch("a.mp4")
    (root / "captions.csv").write_bytes("file,caption\na,Bär\na,B".encode() + b"\xe4r\n")
    with pytest.raises(UserError, match=r"captions\.csv:3: not UTF-8"):
        folder.clips(root)


def test_parts_of_a_hub_dataset_say_their_splits(touch):
    root = touch("media/a.wav", "media/b.wav", "media/c.wav")
    for name, file, caption in (("train", "a", "x"), ("validation", "b", "y"), ("test", "c", "z")):
        rows_of = pa.table({"audio": [{"bytes": None, "path": f"{file}.wav"}], "text": [caption]})
        (root / "data").mkdir(exist_ok=True)
        pq.write_table(rows_of, root / "data" / f"{name}-00000-of-00001.parquet")
    prepared = folder.clips(root)
    assert [(c.id, c.split, c.captions[0].text) for c in prepared.clips] == [
        ("media/a.wav", "train", "x"), ("media/b.wav", "val", "y"), ("media/c.wav", "test", "z"),
    ]  # fmt: skip
    named = folder.clips(root / "media", captions=root / "data")
    assert [c.split for c in named.clips] == ["train", "val", "test"]


def test_an_arrow_folder_of_datasets_gives_names_of_classes(touch):
    root = touch("a.wav", "b.wav")
    features = {"label": {"_type": "ClassLabel", "names": ["dog", "rain"]}}
    schema = pa.schema(
        {"file": pa.string(), "label": pa.int64(), "caption": pa.string()},
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    (root / "saved" / "train").mkdir(parents=True)
    place = root / "saved" / "train"
    for name in ("data-00000-of-00001.arrow", "cache-12ab.arrow"):
        with pa.OSFile(str(place / name), "wb") as file, ipc.new_stream(file, schema) as stream:
            labels, captions = [1, None], ["x", "null"]
            rows_of = pa.table([["a.wav", "b.wav"], labels, captions], schema=schema)
            stream.write_table(rows_of)
    prepared = folder.clips(root, captions=root / "saved")
    assert [(c.labels, c.split) for c in prepared.clips] == [(("rain",), "train"), ((), "train")]
    assert texts(prepared) == {"a.wav": ["x"], "b.wav": []}


def test_metadata_of_splits_names_files_beside_it(touch):
    root = touch("train/a.png", "test/a.png")
    for split in ("train", "test"):
        row = {"file_name": "a.png", "text": split}
        (root / split / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    prepared = folder.clips(root)
    assert [(c.id, c.split, c.captions[0].text) for c in prepared.clips] == [
        ("test/a.png", "test", "test"),
        ("train/a.png", "train", "train"),
    ]


def test_media_inside_a_table_are_refused(touch):
    root = touch("a.wav")
    pq.write_table(
        pa.table({"audio": [{"bytes": b"RIFF", "path": "x.wav"}], "text": ["t"]}),
        root / "captions.parquet",
    )
    with pytest.raises(UserError, match=r"captions\.parquet:1: its media are bytes in the table"):
        folder.clips(root)


COCO = {
    "info": {},
    "images": [{"id": 7, "file_name": "a.jpg", "width": 3}, {"id": 8, "file_name": "b.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 7, "caption": "one"},
        {"id": 2, "image_id": 7, "caption": "two", "category_id": 3},
        {"id": 3, "image_id": 9, "caption": "of no image"},
    ],
    "categories": [{"id": 3, "name": "cat"}],
}


@pytest.mark.parametrize(
    "content",
    [
        [{"file": "a", "caption": "one", "label": "cat"}, {"file": "a", "caption": "two"}],
        {"version": 1, "data": [{"file": "a", "caption": ["one", "two"], "label": "cat"}]},
        {"a.jpg": {"caption": ["one", "two"], "label": "cat"}},
        {"test": [{"video": "a", "caption": ["one", "two"], "label": "cat"}], "val": []},
        COCO,
    ],
)
def test_every_form_of_json_gives_the_same_captions(touch, content):
    root = touch("a.jpg", "b.jpg")
    (root / "captions.json").write_text(json.dumps(content))
    prepared = folder.clips(root)
    assert texts(prepared) == {"a.jpg": ["one", "two"], "b.jpg": []}
    assert prepared.clips[0].labels == ("cat",)
    assert prepared.counts["files without a row in captions.json"] == 1
    broken = prepared.examples.get("broken rows left out", ())
    assert (broken == ("captions.json:3 (no medium has the image_id 9)",)) == (content is COCO)


def test_captions_by_file_name_alone(touch):
    root = touch("a.jpg")
    (root / "captions.json").write_text('{"a.jpg": ["one", "two"]}')
    assert texts(folder.clips(root)) == {"a.jpg": ["one", "two"]}


def test_msrvtts_json_is_read_too(touch):
    root = touch("video1.mp4")
    videos = [{"video_id": "video1", "split": "validate"}]
    sentences = [{"video_id": "video1", "caption": "x"}]
    (root / "captions.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    (clip,) = folder.clips(root).clips
    assert (clip.split, clip.captions[0].text) == ("val", "x")


def test_a_manifest_in_the_folder_is_no_table(touch):
    root = touch("a.mp4")
    (root / "clips.jsonl").write_text('{"id": "a", "path": "a.mp4"}\n')
    prepared = folder.clips(root)
    assert prepared.examples == {"manifests in the folder passed over": ("clips.jsonl",)}


def test_a_folder_of_tables_without_one_is_named(touch):
    root = touch("a.mp4", "b/readme")
    with pytest.raises(UserError, match=r"b: holds no table of captions"):
        folder.clips(root, captions=root / "b")


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


@pytest.mark.parametrize("text", ["nan", "", "N/A"])
def test_a_table_whose_captions_are_all_empty_is_refused(with_table, text):
    root = with_table(f"file,caption\na.mp4,{text}\n", "a.mp4")
    with pytest.raises(UserError, match="no caption was read; its columns are file, caption"):
        folder.clips(root)
