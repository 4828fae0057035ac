import unicodedata
from pathlib import Path

import pytest

from trichord.corpora.prepared import Tally
from trichord.corpora.recordings import Recordings, cut_names
from trichord.types import Clip, UserError

CLIP = Clip(id="c", path="", start=30.0, end=40.0)


def recordings(touch, *names):
    return Recordings(touch(*names), Tally())


def test_a_cut_out_file_is_the_whole_clip_and_a_whole_video_gives_its_span(touch, tmp_path):
    found = recordings(touch, "a/cut.mp4", "b/whole.mkv")
    assert found.place(CLIP, ("cut",), ("whole",)) == Clip(
        id="c", path=str(tmp_path / "a" / "cut.mp4")
    )
    assert found.place(CLIP, ("other",), ("whole",)) == Clip(
        id="c", path=str(tmp_path / "b" / "whole.mkv"), start=30.0, end=40.0
    )


def test_a_clip_without_a_file_is_lacking(touch):
    found = recordings(touch, "a.mp4")
    assert found.place(CLIP, ("b",), ("c",)) is None
    prepared = found.prepared([found.place(Clip(id="a", path=""), ("a",))])
    assert prepared.missing == 1
    assert prepared.lines() == ["1 clips left out for want of a file: c"]


def test_a_video_wins_over_the_sound_of_its_name_and_pictures_do_not_count(touch):
    found = recordings(touch, "audio/x.wav", "frames/x.jpg", "video/x.MP4", "frames/y.jpg")
    placed = found.place(CLIP, ("x",))
    assert placed
    assert Path(placed.path).name == "x.MP4"
    assert found.place(CLIP, ("y",)) is None
    assert found.tally.counts == {"clips left out for want of a file": 1}


def test_a_video_wins_whatever_the_order_of_the_names(touch):
    placed = recordings(touch, "Yx.wav", "x.mp4").place(CLIP, ("Yx", "x"))
    assert placed
    assert Path(placed.path).name == "x.mp4"


def test_of_two_videos_of_one_name_the_first_is_taken_and_the_other_counted(touch):
    found = recordings(touch, "b/x.mp4", "a/x.webm")
    placed = found.place(CLIP, ("x",))
    assert placed
    assert Path(placed.path).name == "x.webm"
    assert found.tally.examples == {"files passed over, their name being taken": ["x.mp4"]}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a, b (1).wav", "a, b (1)"),
        (" e ieio.wav", "e ieio"),
        ("dots.in.name.wav", "dots.in.name"),
        (unicodedata.normalize("NFD", "Métro.wav"), unicodedata.normalize("NFC", "Métro")),
        (unicodedata.normalize("NFC", "Ångström.wav"), unicodedata.normalize("NFD", "Ångström")),
    ],
)
def test_names_are_found_whatever_the_form_of_accents_and_outer_blanks(touch, file, name):
    assert recordings(touch, file).place(CLIP, (name,))


def test_case_is_part_of_a_name(touch):
    assert recordings(touch, "abC.mp4").place(CLIP, ("abc",)) is None


@pytest.mark.parametrize("name", ["", "../x", "/etc/hosts", "a\0b", "x" * 5000, "\ud800"])
def test_a_name_that_no_file_can_have_is_only_missing(touch, name):
    assert recordings(touch, "x.mp4").place(CLIP, (name,)) is None


@pytest.mark.parametrize(
    ("file", "whole", "span"),
    [
        ("abc_30_40.mp4", True, (0.0, None)),
        ("abc_000030_000040.mp4", True, (0.0, None)),
        ("abc_30.0_40.0.mp4", True, (0.0, None)),
        ("abc_30.000_40.000.flac", True, (0.0, None)),
        ("abc_30000_40000.mp4", True, (0.0, None)),
        ("abc_30.wav", True, (0.0, None)),
        ("abc_30000.wav", True, (0.0, None)),
        ("Yabc.wav", True, (0.0, None)),
        ("abc.mp4", False, (0.0, None)),
        ("abc.mp4", True, (30.0, 40.0)),
        ("abc_31_41.mp4", True, None),
        ("abcd.mp4", False, None),
    ],
)
def test_files_of_youtube_videos_by_name(touch, file, whole, span):
    placed = recordings(touch, file).place_youtube(CLIP, "abc", whole=whole)
    assert (placed and (placed.start, placed.end)) == span


def test_a_cut_out_file_goes_before_the_whole_video(touch):
    placed = recordings(touch, "abc.mp4", "abc_30.wav").place_youtube(CLIP, "abc", whole=True)
    assert placed
    assert Path(placed.path).name == "abc_30.wav"


def test_names_of_a_span():
    assert cut_names("v", 122.5, 132.0) == [
        "v_122.5_132",
        "v_000122_000132",
        "v_122.5_132.0",
        "v_122.500_132.000",
        "v_122500_132000",
        "v_122.5",
        "v_000122",
        "v_122.5",
        "v_122.500",
        "v_122500",
    ]
    assert cut_names("v", 0.0, None) == []


def test_clips_of_one_id_are_one_clip(touch):
    found = recordings(touch, "a.mp4")
    first, second = Clip(id="a", path="1"), Clip(id="a", path="2")
    prepared = found.prepared([first, None, second])
    assert prepared.clips == (first,)
    assert prepared.counts == {"clips left out, their id being taken": 1}


def test_a_folder_without_media_or_without_those_annotated_is_one_line(touch, tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        Recordings(tmp_path / "nowhere", Tally())
    with pytest.raises(UserError, match="holds no videos or sounds"):
        recordings(touch, "x.jpg")
    with pytest.raises(UserError, match="holds none of the videos or sounds that are annotated"):
        recordings(touch, "a.mp4").prepared([None])
