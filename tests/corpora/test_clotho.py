import csv
import shutil
import unicodedata

import pytest

from trichord.corpora import clotho
from trichord.types import Caption, Clip, UserError

HEADER = "file_name,caption_1,caption_2\n"


def test_the_three_parts_are_the_three_splits(touch):
    root = touch("development/a, b.wav", "validation/c.wav", "evaluation/d.e.wav")
    for part, row in (
        ("development", '"a, b.wav",One.,"Two, too."'),
        ("validation", "c.wav,x,y"),
        ("evaluation", "d.e.wav,x,y"),
    ):
        (root / f"clotho_captions_{part}.csv").write_text(HEADER + row + "\n")
    prepared = clotho.clips(root)
    assert prepared.clips[0] == Clip(
        id="a, b",
        path=str(root / "development" / "a, b.wav"),
        captions=(Caption(text="One.", about="audio"), Caption(text="Two, too.", about="audio")),
        audio_type="nonverbal",
        split="train",
    )
    assert [(c.id, c.split) for c in prepared.clips[1:]] == [("c", "val"), ("d.e", "test")]
    assert prepared.counts == {}


def test_a_row_a_caption_does_as_well(touch):
    root = touch("a.wav")
    (root / "train.csv").write_text("file_name,caption\na.wav,x\na.wav,y\n")
    (clip,) = clotho.clips(root).clips
    assert [caption.text for caption in clip.captions] == ["x", "y"]


def test_the_official_table_goes_before_another(touch):
    root = touch("a.wav", "csv/x")
    (root / "csv" / "clotho_captions_validation.csv").write_text(HEADER + "a.wav,x,y\n")
    (root / "val.csv").write_text(HEADER + "b.wav,x,y\n")
    assert [clip.id for clip in clotho.clips(root).clips] == ["a"]


@pytest.mark.parametrize(
    ("written", "named"),
    [
        (" e ieio ieai.wav", " e ieio ieai.wav"),
        (" e ieio ieai.wav", "e ieio ieai.wav"),
        ("métro #2 (größe).wav", unicodedata.normalize("NFD", "métro #2 (größe).wav")),
        ("雨 “rain”.WAV", "雨 “rain”.wav"),
        ("no extension", "no extension.wav"),
    ],
)
def test_odd_names_find_their_file(touch, written, named):
    root = touch(named)
    (root / "test.csv").write_text(HEADER + f'"{written.replace(chr(34), chr(34) * 2)}",x,y\n')
    assert len(clotho.clips(root).clips) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("name,caption_1\na,b\n", r"val\.csv: its first line names no column of file_name"),
        ("file_name,keywords\na.wav,b\n", r"val\.csv:2: needs a column caption, or caption_1"),
        (
            "file_name,caption_1\n,b\n",
            r"val\.csv: holds no rows but broken ones, val\.csv:2 \(names no file_name",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(touch, content, says):
    root = touch("a.wav")
    (root / "val.csv").write_text(content)
    with pytest.raises(UserError, match=says):
        clotho.clips(root)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"holds none of clotho_captions_development\.csv, "):
        clotho.clips(tmp_path)


def test_the_real_captions_with_half_of_the_sounds(shared, touch):
    table = shared / "annotations" / "clotho" / "val.csv"
    with table.open(newline="", encoding="utf-8") as file:
        real = list(csv.DictReader(file))
    root = touch(*(f"sounds/{row['file_name']}" for row in real[::2]))
    shutil.copy(table, root)
    prepared = clotho.clips(root)
    assert len(real) == 1045
    assert [clip.id for clip in prepared.clips] == [
        row["file_name"].removesuffix(".wav").strip() for row in real[::2]
    ]
    assert {len(clip.captions) for clip in prepared.clips} == {5}
    assert prepared.clips[3].captions[4].text == real[6]["caption_5"]
    assert prepared.missing == 522
    assert prepared.counts == {"clips left out for want of a file": 522}
