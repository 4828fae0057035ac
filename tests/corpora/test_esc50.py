from collections import Counter

import pytest

from trichord.corpora import esc50
from trichord.types import Caption, Clip, UserError

HEADER = "filename,fold,target,category,esc10,src_file,take\n"


def official(touch, *rows, media=("1-1-A-14.wav", "4-2-A-3.wav", "5-3-B-3.wav")):
    root = touch(*(f"audio/{name}" for name in media), "meta/esc50.csv")
    (root / "meta" / "esc50.csv").write_text(HEADER + "\n".join(rows))
    return root


def test_the_official_layout_gives_label_caption_and_split_by_fold(touch):
    root = official(
        touch,
        "1-1-A-14.wav,1,14,chirping_birds,False,1,A",
        "4-2-A-3.wav,4,3,dog,True,2,A",
        "5-3-B-3.wav,5,3,dog,True,3,B",
    )
    prepared = esc50.clips(root)
    assert prepared.clips[0] == Clip(
        id="1-1-A-14",
        path=str(root / "audio" / "1-1-A-14.wav"),
        captions=(Caption(text="chirping birds", about="audio", source="label"),),
        labels=("chirping_birds",),
        audio_type="nonverbal",
        split="train",
    )
    assert [clip.split for clip in prepared.clips] == ["train", "val", "test"]
    assert [esc50.fold(clip) for clip in prepared.clips] == [1, 4, 5]
    assert prepared.counts == {}


def test_classes_stand_in_the_order_of_the_official_targets():
    assert len(set(esc50.CLASSES)) == 50
    # Of the official table: an id ends with the target.
    for name, ending in {
        "dog": 0, "crow": 9, "rain": 10, "chirping_birds": 14, "thunderstorm": 19, "sneezing": 21,
        "drinking_sipping": 29, "can_opening": 34, "vacuum_cleaner": 36, "glass_breaking": 39,
        "engine": 44, "hand_saw": 49,
    }.items():  # fmt: skip
        assert esc50.CLASSES[ending] == name


@pytest.mark.parametrize("name", ["kitchen", "6-1-A-0", "2024-05-17", "1", "-1-A", ""])
def test_other_ids_tell_no_fold(name):
    with pytest.raises(ValueError, match="no id of ESC-50"):
        esc50.fold(Clip(id=name, path="/a.wav"))


def test_missing_and_repeated_recordings_are_counted(touch):
    root = official(
        touch,
        "1-1-A-14.wav,1,14,rain,False,1,A",
        "1-1-A-14.wav,1,14,rain,False,1,A",
        "2-9-A-14.wav,2,14,rain,False,9,A",
    )
    prepared = esc50.clips(root)
    assert len(prepared.clips) == 1
    assert prepared.counts == {
        "rows passed over, their recording being named before": 1,
        "rows left out for want of a recording": 1,
    }


@pytest.mark.parametrize("row", ["1-1-A-14.wav,6,14,rain", "1-1-A-14.wav,1,14,", ",1,14,rain"])
def test_a_row_without_file_class_or_fold_is_named_by_line(touch, row):
    with pytest.raises(UserError, match=r"esc50\.csv:2: needs a file, a class and a fold"):
        esc50.clips(official(touch, row))


def test_no_table_or_no_recording_is_one_line(touch, tmp_path):
    with pytest.raises(UserError, match=r"holds none of meta/esc50\.csv"):
        esc50.clips(tmp_path)
    with pytest.raises(UserError, match=r"none of the recordings that esc50\.csv names"):
        esc50.clips(official(touch, "1-7-A-14.wav,1,14,rain,False,7,A", media=()))


def test_the_real_esc10_has_ten_classes_in_five_even_folds(shared):
    prepared = esc50.clips(shared / "esc10")
    assert Counter(esc50.fold(clip) for clip in prepared.clips) == dict.fromkeys(range(1, 6), 80)
    assert set(Counter(clip.labels for clip in prepared.clips).values()) == {40}
    assert Counter(clip.split for clip in prepared.clips) == {"train": 240, "val": 80, "test": 80}
    assert prepared.clips[0].captions[0].text == "dog bark"
    assert prepared.counts == {}
