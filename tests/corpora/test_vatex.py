import json
import re
from pathlib import Path

import pytest

from trichord.corpora import vatex
from trichord.types import Caption, Clip, UserError

CUT = "Ptf_2VRj-V0_000122_000132"
WHOLE = "-a_b-c_d_e__000000_000010"  # YouTube ids hold blank marks of all kinds
TRAINING = "vatex_training_v1.0.json"


def official(*ids, texts=("one", "two")):
    return json.dumps(
        [{"videoID": i, "enCap": [f"{t} {i}" for t in texts], "chCap": ["一"]} for i in ids]
    )


def test_a_cut_clip_is_whole_and_a_whole_video_gives_the_span_of_the_id(touch):
    root = touch(f"videos/{CUT}.mp4", "youtube/-a_b-c_d_e_.mkv")
    (root / TRAINING).write_text(official(CUT, WHOLE))
    prepared = vatex.clips(root)
    assert prepared.clips == (
        Clip(
            id=CUT,
            path=str(root / "videos" / f"{CUT}.mp4"),
            captions=tuple(
                Caption(text=f"{t} {CUT}", about="audio_visual") for t in ("one", "two")
            ),
            audio_type="both",
            split="train",
        ),
        Clip(
            id=WHOLE,
            path=str(root / "youtube" / "-a_b-c_d_e_.mkv"),
            start=0.0,
            end=10.0,
            captions=tuple(
                Caption(text=f"{t} {WHOLE}", about="audio_visual") for t in ("one", "two")
            ),
            audio_type="both",
            split="train",
        ),
    )
    assert prepared.counts == {}


def test_two_clips_of_one_video_share_its_file(touch):
    root = touch("abc.mp4")
    ids = ("abc_000001_000011", "abc_000101_000111")
    (root / TRAINING).write_text(official(*ids))
    assert [(c.id, c.start, c.end) for c in vatex.clips(root).clips] == [
        (ids[0], 1.0, 11.0),
        (ids[1], 101.0, 111.0),
    ]


def test_official_files_name_the_splits(touch):
    root = touch("a.mp4", "b.mp4", "c.mp4")
    (root / TRAINING).write_text(official("a_000000_000010"))
    (root / "vatex_validation_v1.0.json").write_text(official("b_000000_000010"))
    (root / "vatex_public_test_english_v1.1.json").write_text(official("c_000000_000010"))
    (root / "vatex_private_test_without_annotations.json").write_text('[{"videoID": "d"}]')
    assert [clip.split for clip in vatex.clips(root).clips] == ["train", "val", "test"]


def test_lists_choose_clips_and_splits(touch):
    root = touch("a.mp4", "b.mp4", "c.mp4", "d.mp4")
    ids = {name: f"{name}_000000_000010" for name in "abcde"}
    (root / TRAINING).write_text(official(ids["a"], ids["d"]))
    (root / "vatex_validation_v1.0.json").write_text(official(ids["b"], ids["c"]))
    (root / "train.csv").write_text(f"video_id\n{ids['a']}\n{ids['e']}\n")
    (root / "val_retrieval.csv").write_text(f"video_id,x\n{ids['b']},1\n")
    (root / "test_retrieval.csv").write_text(f"video_id\n{ids['c']}\n")
    prepared = vatex.clips(root)
    assert [(clip.id[0], clip.split, len(clip.captions)) for clip in prepared.clips] == [
        ("a", "train", 2),
        ("b", "val", 2),
        ("c", "test", 2),
    ]
    assert prepared.examples == {
        "videos without captions": (ids["e"],),
        "clips left out for want of a file": (ids["e"],),
    }


def test_captions_may_be_in_a_json_by_id(touch):
    root = touch("a.mp4")
    captions = {"a_000000_000010": {"captions": ["x", "y"]}}
    (root / "caption.json").write_text(json.dumps(captions))
    (clip,) = vatex.clips(root).clips
    assert ([c.text for c in clip.captions], clip.split) == (["x", "y"], None)


def test_an_id_of_another_form_is_that_of_a_file(touch):
    root = touch("clip7.mp4")
    (root / TRAINING).write_text(official("clip7"))
    assert [(c.id, c.start, c.end) for c in vatex.clips(root).clips] == [("clip7", 0.0, None)]


def test_repeated_ids_and_what_is_no_text_are_counted(touch):
    root = touch("a.mp4")
    entry = {"videoID": "a", "enCap": ["x", None, " ", "two\nlines"]}
    (root / TRAINING).write_text(json.dumps([entry, entry]))
    prepared = vatex.clips(root)
    assert [c.text for c in prepared.clips[0].captions] == ["x", "two lines"]
    assert prepared.counts == {
        "captions passed over, being no text": 2,
        "blank captions dropped": 2,
        "multi-line captions joined": 2,
        "entries passed over, their id being taken": 1,
    }


@pytest.mark.parametrize(
    "content",
    ['["a"]', '[{"enCap": ["x"]}]', '[{"videoID": "a"}]', '[{"videoID": "a", "enCap": "x"}]'],
)
def test_an_entry_that_does_not_fit_is_one_line(touch, content):
    root = touch("a.mp4")
    (root / TRAINING).write_text(content)
    says = f"{TRAINING}: '0': needs a videoID and a list of texts"
    with pytest.raises(UserError, match=re.escape(says)):
        vatex.clips(root)


def test_a_pickle_is_never_read(touch):
    root = touch("a.mp4", "caption.pickle")
    with pytest.raises(
        UserError, match=r"caption\.pickle: pickles can run code and are never read"
    ):
        vatex.clips(root)


def test_what_is_not_there_is_named(touch, tmp_path):
    with pytest.raises(UserError, match=r"holds none of vatex_training\*\.json, .*caption\.json;"):
        vatex.clips(tmp_path)
    (tmp_path / TRAINING).write_text(official(CUT))
    with pytest.raises(UserError, match="holds no videos or sounds"):
        vatex.clips(tmp_path)
    touch("other.mp4")
    with pytest.raises(UserError, match="none of the videos or sounds that are annotated"):
        vatex.clips(tmp_path)


def test_half_of_a_large_corpus_missing_is_counted_and_named(touch):
    ids = [f"video{n:06}_{n:06}_{n + 10:06}" for n in range(400)]
    root = touch(*(f"{clip_id}.mp4" for clip_id in ids[::2]))
    (root / TRAINING).write_text(official(*ids, texts=[str(n) for n in range(10)]))
    prepared = vatex.clips(root)
    assert [clip.id for clip in prepared.clips] == ids[::2]
    assert {len(clip.captions) for clip in prepared.clips} == {10}
    assert prepared.missing == 200
    assert prepared.lines() == [
        f"200 clips left out for want of a file: {', '.join(ids[1:6:2])}, ..."
    ]
    assert Path(prepared.clips[0].path).parent == root
