from collections import Counter

import pytest

from trichord.corpora import ucf101
from trichord.types import Caption, Clip, UserError

VIDEOS = ("Archery", "HandstandPushups")
NAMES = {"Archery": "v_Archery", "HandstandPushups": "v_HandStandPushups"}
"""As published, the file names of one class are spelt differently from its folder."""


def entries(wanted):
    """Lines of a list: two classes, every video, one clip of each."""
    return [
        (category, f"{NAMES[category]}_g{video:02}_c01")
        for category in VIDEOS
        for video in range(1, 26)
        if wanted(video)
    ]


def written(touch, *, place="ucfTrainTestlist", missing=(), numbers=(1, 2, 3)):
    """A folder in the official layout."""
    media = [
        f"UCF-101/{category}/{name}.avi"
        for category, name in entries(lambda _: True)
        if name not in missing
    ]
    root = touch(*media)
    lists = root / place
    lists.mkdir(exist_ok=True)
    classes = {category: i + 1 for i, category in enumerate(VIDEOS)}
    (lists / "classInd.txt").write_text("".join(f"{i} {c}\r\n" for c, i in classes.items()))
    for number in numbers:
        tested = range(7 * number - 6, 7 * number + 1)
        test = [f"{c}/{n}.avi\n" for c, n in entries(lambda video, t=tested: video in t)]
        train = [
            f"{c}/{n}.avi {classes[c]}\r\n" for c, n in entries(lambda v, t=tested: v not in t)
        ]
        (lists / f"testlist0{number}.txt").write_text("".join(test))
        (lists / f"trainlist0{number}.txt").write_text("".join(train))
    return root


def test_the_official_layout_gives_label_caption_and_the_split_of_list_1(touch):
    root = written(touch)
    prepared = ucf101.clips(root)
    assert len(prepared.clips) == 50
    assert prepared.counts == {}
    by_id = {clip.id: clip for clip in prepared.clips}
    assert by_id["v_HandStandPushups_g03_c01"] == Clip(
        id="v_HandStandPushups_g03_c01",
        path=str(root / "UCF-101/HandstandPushups/v_HandStandPushups_g03_c01.avi"),
        captions=(Caption(text="handstand pushups", about="visual", source="label"),),
        labels=("HandstandPushups",),
        split="test",
    )
    tested = {clip.id for clip in prepared.clips if clip.split == "test"}
    assert tested == {f"{name}_g{video:02}_c01" for name in NAMES.values() for video in range(1, 8)}


def test_an_id_says_which_list_tests_it():
    folds = [ucf101.fold(f"v_YoYo_g{video:02}_c04") for video in range(1, 26)]
    assert folds == [1] * 7 + [2] * 7 + [3] * 7 + [None] * 4
    assert ucf101.group("v_YoYo_g08_c04") == "v_YoYo_g08"
    for name in ("1-100032-A-0", "v_YoYo_g00_c01", "v_YoYo_g26_c01", "g08_c01"):
        with pytest.raises(ValueError, match="no id of UCF101"):
            ucf101.fold(name)
        with pytest.raises(ValueError, match="no id of UCF101"):
            ucf101.group(name)


def test_clips_of_one_video_stay_in_one_split(touch):
    lines = [f"Surfing/v_Surfing_g{v:02}_c{c:02}.avi 1" for v in range(8, 26) for c in range(1, 8)]
    root = touch(*(line.split()[0] for line in lines))
    (root / "trainlist01.txt").write_text("\n".join(lines))
    splits = {}
    for clip in ucf101.clips(root).clips:
        splits.setdefault(ucf101.group(clip), set()).add(clip.split)
    assert all(len(found) == 1 for found in splits.values())
    assert set.union(*splits.values()) <= {"train", "val"}


def test_flat_videos_and_one_list_suffice_and_what_is_missing_is_counted(touch):
    names = [name for _, name in entries(lambda _: True)]
    root = touch(*(f"{name}.avi" for name in names if name != "v_Archery_g09_c01"))
    lines = [f"{c}/{n}.avi" for c, n in entries(lambda v: 8 <= v <= 14)]
    (root / "testlist02.txt").write_text("\n".join(lines))
    prepared = ucf101.clips(root)
    assert len(prepared.clips) == 13
    assert prepared.missing == 1
    assert prepared.lines() == ["1 clips left out for want of a file: v_Archery_g09_c01"]
    assert {ucf101.fold(clip) for clip in prepared.clips} == {2}
    assert "test" not in Counter(clip.split for clip in prepared.clips)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("testlist02.txt", "Archery/v_Archery_g07_c01.avi"),
        ("testlist03.txt", "Archery/v_Archery_g22_c01.avi"),
        ("trainlist01.txt", "Archery/v_Archery_g01_c01.avi 1"),
    ],
)
def test_lists_that_are_not_the_official_ones_are_refused_by_line(touch, name, line):
    root = touch("v_Archery_g01_c01.avi")
    (root / name).write_text(f"\n{line}\n")
    with pytest.raises(UserError, match=rf"{name}:2: v_Archery_g\d\d_c01 does not belong here"):
        ucf101.clips(root)


@pytest.mark.parametrize(
    "line",
    ["Archery", "v_Archery_g01_c01.avi", "Archery/v_Archery_g99_c01.avi", "Archery/clip.avi 1"],
)
def test_a_line_that_names_no_clip_is_named_by_its_number(touch, line):
    root = touch("v_Archery_g01_c01.avi")
    (root / "testlist01.txt").write_text(f"Archery/v_Archery_g01_c01.avi\n{line}\n")
    with pytest.raises(UserError, match=r"testlist01\.txt:2: must be Class/v_Class_gNN_cNN\.avi"):
        ucf101.clips(root)


def test_no_list_or_no_video_is_one_line(touch, tmp_path):
    with pytest.raises(UserError, match=r"holds none of trainlist01\.txt to testlist03\.txt"):
        ucf101.clips(touch("v_Archery_g01_c01.avi"))
    (tmp_path / "testlist01.txt").write_text("Archery/v_Archery_g02_c01.avi\n")
    with pytest.raises(UserError, match="holds none of the videos or sounds that are annotated"):
        ucf101.clips(tmp_path)
