import json
import os
import zipfile
from pathlib import Path

import pytest

from trichord.corpora import avcaps
from trichord.types import Caption, Clip, UserError


@pytest.fixture
def corpus(touch, tmp_path):
    """Write captions as JSON, and videos as files under `<split>_videos/`."""

    def made(videos=(), **captions):
        touch(*videos)
        for split, content in captions.items():
            (tmp_path / f"{split}_captions.json").write_text(json.dumps(content))
        return tmp_path

    return made


@pytest.fixture
def packed(tmp_path):
    def made(split, **members):
        with zipfile.ZipFile(
            tmp_path / f"{split}_videos.zip", "w", zipfile.ZIP_DEFLATED
        ) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return tmp_path / f"{split}_videos.zip"

    return made


def everything_under(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_the_four_kinds_of_captions_become_four_kinds(corpus):
    root = corpus(
        ["train_videos/7.mp4"],
        train={
            "7": {
                "GPT_AV_captions": ["a bell rings while a man waits"],
                "audio_captions": ["a bell", "a bell"],
                "visual_captions": ["a man"],
                "audio_visual_captions": ["a man and a bell"],
            }
        },
    )
    prepared = avcaps.clips(root)
    assert prepared.clips == (
        Clip(
            id="7",
            path=str(root / "train_videos" / "7.mp4"),
            captions=(
                Caption(text="a bell", about="audio"),
                Caption(text="a bell", about="audio"),
                Caption(text="a man", about="visual"),
                Caption(text="a man and a bell", about="audio_visual"),
                Caption(text="a bell rings while a man waits", about="audio_visual", source="llm"),
            ),
            split="train",
        ),
    )
    assert prepared.counts == {}


def test_dirt_is_mended_and_every_kind_of_it_counted(corpus):
    root = corpus(
        ["val_videos/1.mp4", "val_videos/2.mp4", "val_videos/4.mp4"],
        val={
            "1.mp4": {"audio_captions": [" a dog ", "", "1. a dog\n2. barks"], "mood": ["calm"]},
            "2": {"audio_captions": [], "visual_captions": None},
            "3": {"audio_captions": ["a cat"]},
        },
    )
    prepared = avcaps.clips(root)
    assert [[c.text for c in clip.captions] for clip in prepared.clips] == [
        ["a dog", "1. a dog 2. barks"],
        [],
        [],
    ]
    assert prepared.examples == {
        "ids with an extension shortened": ("1.mp4",),
        'lists "mood" passed over': ("1.mp4",),
        "blank captions dropped": ("1",),
        "multi-line captions joined": ("1",),
        "clips left out for want of a video": ("3",),
        "videos without captions": ("2", "4"),
    }


def test_captions_of_several_lines_can_be_dropped(corpus):
    root = corpus(["val_videos/1.mp4"], val={"1": {"audio_captions": ["a\nb", "c"]}})
    prepared = avcaps.clips(root, drop_multiline=True)
    assert [c.text for c in prepared.clips[0].captions] == ["c"]
    assert prepared.counts == {"multi-line captions dropped": 1}


def test_splits_are_read_in_order_and_an_id_of_an_earlier_split_is_left_out(corpus):
    root = corpus(
        ["train_videos/b.mp4", "train_videos/a.mp4", "test_videos/c.mp4", "test_videos/a.mp4"],
        train={},
        test={},
    )
    prepared = avcaps.clips(root)
    assert [(c.id, c.split) for c in prepared.clips] == [
        ("a", "train"),
        ("b", "train"),
        ("c", "test"),
    ]
    assert prepared.counts["clips left out, their id being one of an earlier split"] == 1


def test_two_videos_of_one_id_give_one_clip(corpus):
    prepared = avcaps.clips(corpus(["val_videos/1.mp4", "val_videos/1.webm"], val={}))
    assert [Path(c.path).name for c in prepared.clips] == ["1.mp4"]
    assert prepared.counts["videos passed over, their id being taken"] == 1


def test_zips_are_unpacked_beside_them_by_basename_without_what_macs_add(corpus, packed):
    root = corpus(test={"1": {}, "2": {}})
    packed(
        "test",
        **{
            "test_videos/": "",
            "test_videos/1.mp4": b"one",
            "other/2.mp4": b"two",
            "__MACOSX/test_videos/._1.mp4": b"x",
            "__MACOSX/test_videos/3.mp4": b"x",
            "test_videos/.DS_Store": b"x",
            "test_videos/readme.txt": b"x",
        },
    )
    prepared = avcaps.clips(root)
    assert [c.path for c in prepared.clips] == [str(root / f"test_videos/{n}.mp4") for n in (1, 2)]
    assert (root / "test_videos" / "2.mp4").read_bytes() == b"two"
    assert everything_under(root / "test_videos") == ["1.mp4", "2.mp4"]


def test_no_member_of_a_zip_can_leave_the_folder(corpus, packed):
    root = corpus(test={})
    packed("test", **{"../../evil.mp4": b"x", "/abs.mp4": b"y", "..\\win.mp4": b"z"})
    avcaps.clips(root)
    assert everything_under(root / "test_videos") == ["abs.mp4", "evil.mp4", "win.mp4"]
    assert not (root.parent / "evil.mp4").exists()


def test_unpacking_goes_on_where_it_stopped_and_keeps_what_the_user_changed(corpus, packed):
    root = corpus(["test_videos/2.mp4"], test={})
    packed("test", **{"1.mp4": b"one", "2.mp4": b"two", "again/1.mp4": b"uno"})
    (root / "test_videos" / "2.mp4").write_bytes(b"re-encoded")
    prepared = avcaps.clips(root)
    assert (root / "test_videos" / "1.mp4").read_bytes() == b"one"
    assert (root / "test_videos" / "2.mp4").read_bytes() == b"re-encoded"
    assert prepared.examples["zip members passed over, their name being taken"] == ("again/1.mp4",)
    kept = "videos kept that differ in size from the zip's; delete to unpack anew"
    assert prepared.examples[kept] == ("2.mp4",)


def test_what_is_unpacked_is_not_unpacked_again(corpus, packed):
    root = corpus(test={})
    packed("test", **{"1.mp4": b"one"})
    avcaps.clips(root)
    (root / "test_videos" / "1.mp4").write_bytes(b"two")  # of the same size
    avcaps.clips(root)
    assert (root / "test_videos" / "1.mp4").read_bytes() == b"two"


def test_a_damaged_member_is_named_and_leaves_no_half_file(corpus, packed):
    root = corpus(test={})
    archive = packed("test", **{"1.mp4": os.urandom(4000)})
    content = bytearray(archive.read_bytes())
    content[2000] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"test_videos\.zip: 1\.mp4 cannot be unpacked"):
        avcaps.clips(root)
    assert everything_under(root / "test_videos") == []


def test_a_member_shorter_than_the_zip_says_is_refused(corpus, packed):
    root = corpus(test={})
    archive = packed("test", **{"1.mp4": b"one"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 24] = 4  # bytes, as the directory has it
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"1\.mp4 cannot be unpacked \(3 bytes instead of 4\)"):
        avcaps.clips(root)
    assert everything_under(root / "test_videos") == []


def test_a_truncated_zip_is_one_line_and_nothing_is_unpacked(corpus, packed):
    root = corpus(train={}, test={})
    packed("train", **{"1.mp4": b"one"})
    archive = packed("test", **{"2.mp4": b"two" * 1000})
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"test_videos\.zip: not a whole zip .*; load it again"):
        avcaps.clips(root)
    assert not (root / "train_videos").exists()


def test_videos_that_do_not_fit_the_disk_are_refused_before_unpacking(corpus, packed):
    root = corpus(test={})
    archive = packed("test", **{f"{n}.mp4": b"" for n in range(10_000)})
    # The directory at a zip's end says how large each file is: 4 GB here, 43 TB together.
    content = archive.read_bytes()
    first = content.index(b"PK\x01\x02")
    entries = content[first:].split(b"PK\x01\x02")
    sized = [entry[:20] + b"\xfe\xff\xff\xff" + entry[24:] for entry in entries[1:]]
    archive.write_bytes(b"PK\x01\x02".join([content[:first], *sized]))
    with pytest.raises(UserError, match=r"unpacking the videos needs 42949\.7 GB, but .* are free"):
        avcaps.clips(root)
    assert not (root / "test_videos").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (["1"], "must hold a JSON object"),
        ({"1": ["a dog"]}, '"1" must be an object of caption lists'),
        ({"1": {"audio_captions": "a dog"}}, '"1": "audio_captions" must be a list of texts'),
        ({"1": {"GPT_AV_captions": ["a", 2]}}, '"1": "GPT_AV_captions" must be a list of texts'),
    ],
)
def test_a_wrong_shape_names_file_and_key_and_nothing_is_unpacked(corpus, packed, content, says):
    root = corpus(train={}, test=content)
    packed("train", **{"1.mp4": b"one"})
    with pytest.raises(UserError) as caught:
        avcaps.clips(root)
    assert str(caught.value) == f"{root / 'test_captions.json'}: {says}"
    assert not (root / "train_videos").exists()


def test_no_captions_and_no_videos_are_one_line_each(corpus, tmp_path):
    with pytest.raises(UserError, match=r"holds none of train_captions\.json, val_captions\.json"):
        avcaps.clips(tmp_path)
    with pytest.raises(UserError, match=r"holds no videos; add <split>_videos\.zip"):
        avcaps.clips(corpus(train={"1": {"audio_captions": ["a dog"]}}))
