from collections import Counter
from pathlib import Path

import pytest

from trichord.corpora import grid
from trichord.types import Caption, UserError

ALIGNED = "0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 35500 sp\n35500 41000 at\n"


def texts(clip):
    return [caption.text for caption in clip.captions]


def test_a_table_gives_the_sentence_as_a_caption_of_speech(touch):
    root = touch("video/bbaf2n.mp4", "grid_s1.csv")
    (root / "grid_s1.csv").write_text("file,transcript\nbbaf2n.mp4,bin blue at f two now\n")
    (clip,) = grid.clips(root).clips
    assert clip.id == "bbaf2n"
    assert clip.captions == (Caption(text="bin blue at f two now", about="audio", source="speech"),)
    assert clip.audio_type == "verbal"


@pytest.mark.parametrize("align", ["align/bbaf2n.align", "s1/align/bbaf2n.align"])
def test_an_alignment_gives_its_words_without_the_pauses(touch, align):
    root = touch("s1/bbaf2n.mpg", align)
    (root / align).write_text(ALIGNED)
    prepared = grid.clips(root)
    assert [(clip.id, texts(clip)) for clip in prepared.clips] == [("s1/bbaf2n", ["bin blue at"])]
    assert prepared.counts == {}


def test_talkers_keep_the_same_sentence_apart(touch):
    root = touch("s1/bbaf2n.mpg", "s2.mpg_vcd/s2/bbaf2n.mpg")
    assert [clip.id for clip in grid.clips(root).clips] == ["s1/bbaf2n", "s2/bbaf2n"]


def test_a_video_wins_over_the_sound_file_beside_it(touch):
    root = touch("s1/bbaf2n.wav", "s1/bbaf2n.mpg")
    assert [Path(clip.path).name for clip in grid.clips(root).clips] == ["bbaf2n.mpg"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("bbaf2n", "bin blue at f two now"),
        ("lgwz9a", "lay green with z nine again"),
        ("srizzs", "set red in z zero soon"),
        ("pwbd8p", "place white by d eight please"),
        ("pwbw8p", None),
        ("video1", None),
        ("bbaf2", None),
    ],
)
def test_the_file_name_spells_the_sentence(name, sentence):
    assert grid.spoken(name) == sentence


def test_where_no_transcript_is_the_file_name_serves_and_is_counted(touch):
    prepared = grid.clips(touch("s1/bbaf2n.mpg", "s1/other.mpg"))
    assert [texts(clip) for clip in prepared.clips] == [["bin blue at f two now"], []]
    assert prepared.counts == {"transcripts read off file names": 1, "transcripts missing": 1}


def test_a_transcript_without_a_video_is_counted(touch):
    root = touch("video/bbaf2n.mp4", "t.csv")
    (root / "t.csv").write_text("file,transcript\nbbaf2n.mp4,a\nbbaf3s.mp4,b\n")
    prepared = grid.clips(root)
    assert prepared.examples == {"transcripts left out for want of a video": ("bbaf3s",)}


def test_the_splits_are_eighty_ten_ten_whatever_the_order_of_files(touch):
    root = touch(*(f"video/clip{n}.mp4" for n in range(20)))
    split = {clip.id: clip.split for clip in grid.clips(root).clips}
    assert Counter(split.values()) == {"train": 16, "val": 2, "test": 2}
    # Outside this code: the smallest and the largest BLAKE2b digest of the twenty ids.
    assert (split["clip2"], split["clip9"]) == ("train", "test")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv", "file,transcript\nbbaf2n.mp4,\n", r"t\.csv:2: needs a file and a transcript"),
        ("bbaf2n.align", "0 1 sil\nbin\n", r"bbaf2n\.align:2: must be a start, an end and a word"),
    ],
)
def test_a_wrong_annotation_is_named_by_line(touch, name, content, says):
    root = touch("bbaf2n.mpg", name)
    (root / name).write_text(content)
    with pytest.raises(UserError, match=says):
        grid.clips(root)


def test_a_folder_without_media_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no media"):
        grid.clips(tmp_path)


def test_the_real_talker_says_what_his_file_names_spell(shared):
    prepared = grid.clips(shared / "grid")
    assert all(texts(clip) == [grid.spoken(clip.id)] for clip in prepared.clips)
    assert Counter(clip.split for clip in prepared.clips) == {"train": 560, "val": 70, "test": 70}
    assert prepared.counts == {}
