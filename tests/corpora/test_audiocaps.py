import csv
import shutil

import pytest

from trichord.corpora import audiocaps
from trichord.types import Caption, Clip, UserError

HEADER = "audiocap_id,youtube_id,start_time,caption\n"


def official(touch, rows, *media, name="test.csv"):
    root = touch(*media)
    (root / name).write_text(HEADER + rows)
    return root


def test_rows_of_a_clip_are_its_captions(touch):
    rows = '1,vfY_TJq7n_U,130,"Ducks quack, and water"\n2,tdWhHV3X25Q,60,Applause\n'
    rows += "3,vfY_TJq7n_U,130,Ducks\n"
    root = official(touch, rows, "wav/YvfY_TJq7n_U.wav", "wav/tdWhHV3X25Q.flac")
    prepared = audiocaps.clips(root)
    assert prepared.clips == (
        Clip(
            id="vfY_TJq7n_U",
            path=str(root / "wav" / "YvfY_TJq7n_U.wav"),
            captions=(
                Caption(text="Ducks quack, and water", about="audio"),
                Caption(text="Ducks", about="audio"),
            ),
            audio_type="nonverbal",
            split="test",
        ),
        Clip(
            id="tdWhHV3X25Q",
            path=str(root / "wav" / "tdWhHV3X25Q.flac"),
            captions=(Caption(text="Applause", about="audio"),),
            audio_type="nonverbal",
            split="test",
        ),
    )
    assert prepared.counts == {}


@pytest.mark.parametrize(
    ("file", "whole", "span"),
    [
        ("vfY_TJq7n_U.mp4", False, (0.0, None)),
        ("vfY_TJq7n_U.mp4", True, (130.0, 140.0)),
        ("YvfY_TJq7n_U.wav", True, (0.0, None)),
        ("vfY_TJq7n_U_130.wav", True, (0.0, None)),
        ("vfY_TJq7n_U_000130_000140.mp4", True, (0.0, None)),
    ],
)
def test_files_are_cut_or_whole(touch, file, whole, span):
    root = official(touch, "1,vfY_TJq7n_U,130,Ducks\n", file)
    (clip,) = audiocaps.clips(root, whole=whole).clips
    assert (clip.start, clip.end) == span


def test_files_of_the_wide_form_name_the_same_ids(touch):
    root = touch("YvfY_TJq7n_U.wav", "other.wav")
    (root / "val.csv").write_text(
        "file_name,caption_1,caption_2\nYvfY_TJq7n_U.wav,Ducks,Quack\nother.wav,One,\n"
    )
    prepared = audiocaps.clips(root)
    assert [(c.id, [t.text for t in c.captions], c.split) for c in prepared.clips] == [
        ("vfY_TJq7n_U", ["Ducks", "Quack"], "val"),
        ("other", ["One"], "val"),
    ]
    assert prepared.counts == {"blank captions dropped": 1}
    with pytest.raises(UserError, match="'vfY_TJq7n_U' has no start_time, so that --whole cannot"):
        audiocaps.clips(root, whole=True)


def test_a_clip_of_another_split_or_start_is_counted(touch):
    root = official(touch, "1,aaaaaaaaaaa,30,a\n2,aaaaaaaaaaa,50,b\n", "aaaaaaaaaaa.wav")
    (root / "train.csv").write_text(HEADER + "9,aaaaaaaaaaa,30,c\n")
    prepared = audiocaps.clips(root)
    assert [(c.split, [t.text for t in c.captions]) for c in prepared.clips] == [("train", ["c"])]
    assert prepared.counts == {
        "rows passed over, their clip beginning elsewhere before": 1,
        "clips left out, their id being taken": 1,
    }


def test_foreign_columns_line_ends_and_marks_do_not_matter(touch):
    root = touch("dataset/notes.txt", "aaaaaaaaaaa.wav")
    rows = "\ufeffWho;YouTube_ID;caption;START_TIME\r\n\r\nme;aaaaaaaaaaa;naïve, “quoted”;5\r\n"
    (root / "dataset" / "train.csv").write_bytes(rows.encode())
    (clip,) = audiocaps.clips(root).clips
    assert clip.captions[0].text == "naïve, “quoted”"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n", "names no column of youtube_id, file_name"),
        ("youtube_id,x\naaaaaaaaaaa,2\n", "train.csv:2: needs a column caption, or caption_1"),
        (
            "youtube_id,caption\n ,x\n",
            r"no rows but broken ones, train.csv:2 \(names no youtube_id\)",
        ),
        (HEADER + "1,aaaaaaaaaaa,x,y\n", r"train.csv:2 \(start_time must be seconds from 0 on"),
        (HEADER + "1,aaaaaaaaaaa,5,y,z\n", r"train.csv:2 \(has 5 values for 4 columns"),
        (HEADER, "train.csv: holds no rows"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(touch, content, says):
    root = touch("a.wav")
    (root / "train.csv").write_text(content)
    with pytest.raises(UserError, match=says):
        audiocaps.clips(root)


def test_broken_rows_of_version_2_are_left_out_and_counted(touch):
    rows = (
        "39899,IAosP90cdsE,30,an engine with muffled\nspeech in the background\n"
        '7,aaaaaaaaaaa,0,"a dog\n8,bbbbbbbbbbb,x,no start\n9,bbbbbbbbbbb,5,a bird\n10,ccccccccccc\n'
    )
    media = ("IAosP90cdsE.wav", "aaaaaaaaaaa.wav", "bbbbbbbbbbb.wav", "ccccccccccc.wav")
    prepared = audiocaps.clips(official(touch, rows, *media, name="train.csv"))
    assert [(c.id, [t.text for t in c.captions]) for c in prepared.clips] == [
        ("IAosP90cdsE", ["an engine with muffled"]),
        ("bbbbbbbbbbb", ["a bird"]),
    ]
    assert prepared.counts == {"broken rows left out": 4}
    assert prepared.lines()[0].startswith(
        "4 broken rows left out: train.csv:3 (names no youtube_id), train.csv:4 (not CSV"
    )


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"holds none of train\.csv, val\.csv, test\.csv"):
        audiocaps.clips(tmp_path)


@pytest.mark.parametrize(("name", "clips"), [("val", 494), ("test", 957)])
def test_the_real_captions_with_half_of_the_sounds(shared, touch, name, clips):
    table = shared / "annotations" / "audiocaps" / f"{name}.csv"
    with table.open(newline="", encoding="utf-8") as file:
        real = list(csv.DictReader(file))
    assert len(real) == clips
    root = touch(*(row["file_name"] for row in real[::2]))
    shutil.copy(table, root)
    prepared = audiocaps.clips(root)
    assert [clip.id for clip in prepared.clips] == [row["file_name"][1:-4] for row in real[::2]]
    assert [[c.text for c in clip.captions] for clip in prepared.clips] == [
        [" ".join(row[f"caption_{n}"].split()) for n in range(1, 6)] for row in real[::2]
    ]
    assert prepared.missing == clips // 2
    assert prepared.counts == {"clips left out for want of a file": clips // 2}
    assert {clip.split for clip in prepared.clips} == {name}
