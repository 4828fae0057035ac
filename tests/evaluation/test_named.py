from dataclasses import replace

import numpy as np
import pytest

from trichord.evaluation.named import (
    PROTOCOLS,
    clips_of,
    protocol_named,
    require_clips,
    require_gallery,
)
from trichord.types import Caption, Clip, UserError

ABOUT_BOTH = Caption(text="a dog barks on a beach", about="audio_visual")
COUNTS = {
    "msrvtt-1ka-1000": (1000, 1000, 1, "audio_visual"),
    "msrvtt-1ka-884": (1000, 884, 1, "audio_visual"),
    "vatex-1500": (1500, 1500, 10, "audio_visual"),
    "vatex-1421": (1500, 1421, 10, "audio_visual"),
    "audiocaps-a": (967, 967, 5, "audio"),
    "audiocaps-av": (967, 967, 5, "audio"),
    "avcaps-200": (200, 200, None, None),
    "msrvtt-captions-2617": (2990, 2617, 20, "audio_visual"),
    "vatex-captions-5698": (5698, 5698, 10, "audio_visual"),
    "audiocaps-captions-967": (967, 967, 5, "audio"),
}
OTHERS = {
    "audiocaps-a": {"train": 49_712, "val": 495},
    "audiocaps-av": {"train": 49_712, "val": 495},
    "audiocaps-captions-967": {"train": 49_712, "val": 495},
    "msrvtt-captions-2617": {"train": 5867, "val": 448},
    "vatex-captions-5698": {"train": 24_667, "val": 2845},
}


def manifest(count, captions=(ABOUT_BOTH,), split="test"):
    return [Clip(id=f"{split}{i}", path="/", captions=captions, split=split) for i in range(count)]


def test_clips_and_captions_are_as_many_as_the_paper_counts():
    found = {n: (p.listed, p.clips, p.captions, p.kind) for n, p in PROTOCOLS.items()}
    assert found == COUNTS
    assert {n: p.others for n, p in PROTOCOLS.items() if p.others} == OTHERS


def test_every_protocol_has_its_tasks_a_rule_and_a_source():
    for name, wanted in PROTOCOLS.items():
        assert wanted.writes == ("captions" in name)
        assert {task.query for task in wanted.asked()} - {"sound"} <= set(wanted.kinds)
        assert wanted.kinds == (
            (wanted.kind,) if wanted.kind else ("audio", "visual", "audio_visual")
        )
        assert (wanted.silent == "out") == (wanted.listed > wanted.clips or wanted.writes)
        assert wanted.source.startswith("SLAVA" if name == "avcaps-200" else "CLIP4VLA")
        assert wanted.fuses == (not wanted.writes and name not in ("audiocaps-a", "avcaps-200"))
        assert wanted.split == "test"


def test_avcaps_is_asked_the_seven_tasks_with_all_captions_by_people():
    wanted = PROTOCOLS["avcaps-200"]
    assert [task.number for task in wanted.asked()] == [1, 2, 3, 4, 5, 6, 7]
    several = (ABOUT_BOTH, replace(ABOUT_BOTH, about="audio"), replace(ABOUT_BOTH, source="llm"))
    held = [replace(clip, captions=several[: i % 4]) for i, clip in enumerate(manifest(200))]
    assert {clip.captions for clip in clips_of("avcaps-200", held)} == {
        (), several[:1], several[:2],
    }  # fmt: skip


def test_the_paper_borrows_sounds_where_all_clips_stay():
    assert PROTOCOLS["msrvtt-1ka-1000"].silent == PROTOCOLS["vatex-1500"].silent == "borrowed"
    assert PROTOCOLS["audiocaps-av"].silent == "masked"
    assert [task.name for task in PROTOCOLS["audiocaps-a"].asked()] == ["audio<-audio"]
    assert PROTOCOLS["audiocaps-av"].tasks[0] == "clip<-audio"


def test_a_slip_in_the_name_is_mended():
    with pytest.raises(UserError, match="did you mean 'msrvtt-1ka-884'"):
        protocol_named("msrvtt-1ka-84")
    with pytest.raises(UserError, match="choose one of msrvtt-1ka-1000, "):
        protocol_named("imagenet")


def test_the_test_clips_are_chosen_with_the_captions_that_are_asked():
    other = Caption(text="what is heard", about="audio")
    composed = Caption(text="composed", about="audio_visual", source="llm")
    held = manifest(1000, (other, ABOUT_BOTH, composed)) + manifest(3, split="train")
    chosen = clips_of("msrvtt-1ka-1000", held)
    assert len(chosen) == 1000
    assert {clip.split for clip in chosen} == {"test"}
    assert {clip.captions for clip in chosen} == {(ABOUT_BOTH,)}
    assert len(clips_of("msrvtt-1ka-884", held)) == 1000  # which are silent is found out later
    assert len(clips_of("msrvtt-1ka-884", manifest(884))) == 884


@pytest.mark.parametrize(
    ("name", "held", "told"),
    [
        ("msrvtt-1ka-1000", manifest(884), "is of 1000 test clips, the manifest has 884"),
        ("msrvtt-1ka-884", manifest(885), "is of 1000 test clips, the manifest has 885"),
        ("msrvtt-1ka-1000", manifest(9, split="val"), "split 'test'"),
        (
            "vatex-1500",
            manifest(1500),
            "of 10 audio_visual captions a clip, the manifest has another number in 1500 clips, "
            "such as 1 in 'test0'",
        ),
        ("avcaps-200", manifest(199), "is of 200 test clips, the manifest has 199"),
        (
            "msrvtt-captions-2617",
            manifest(2617, (ABOUT_BOTH,) * 20) + manifest(6513, split="train"),
            "msrvtt-captions-2617 is of 5867 train clips, the manifest has 6513: leave out what was",
        ),
        (
            "msrvtt-captions-2617",
            manifest(2617, (ABOUT_BOTH,) * 20) + manifest(447, split="val"),
            "is of 448 val clips, the manifest has 447: complete it",
        ),
        ("msrvtt-captions-2617", manifest(2616), "is of 2990 test clips, the manifest has 2616"),
        ("vatex-captions-5698", manifest(5697), "is of 5698 test clips, the manifest has 5697"),
        ("audiocaps-a", manifest(9) + manifest(9, split="train"), "is of 49712 train clips"),
        (
            "audiocaps-a",
            manifest(967, (ABOUT_BOTH,) * 5),
            "of 5 audio captions a clip, the manifest has another number in 967 clips, such as 0",
        ),
    ],
)
def test_another_manifest_is_refused_in_one_line_with_counts_and_remedy(name, held, told):
    with pytest.raises(UserError, match=told) as refused:
        clips_of(name, held)
    text = str(refused.value)
    assert "\n" not in text
    assert "split 'test'" in text or "measure what is there without --protocol" in text


def test_splits_that_a_manifest_lacks_are_not_counted():
    test = manifest(2617, (ABOUT_BOTH,) * 20)
    assert clips_of("msrvtt-captions-2617", test) == test
    listed = manifest(2990, (ABOUT_BOTH,) * 20)  # which are silent is found out later
    more = manifest(5867, split="train") + manifest(448, split="val")
    assert clips_of("msrvtt-captions-2617", listed + more) == listed
    require_clips("msrvtt-captions-2617", 2617)
    with pytest.raises(
        UserError, match="is of 2617 clips with sound, the manifest has 2990: leave"
    ):
        require_clips("msrvtt-captions-2617", 2990)


def test_a_gallery_of_another_size_is_refused(clips, monkeypatch):
    """Thirty clips, of which the first is dark and the second silent."""
    tiny = replace(PROTOCOLS["msrvtt-1ka-1000"], listed=30, clips=30)
    deaf = replace(PROTOCOLS["audiocaps-a"], listed=30, clips=29)
    some = replace(PROTOCOLS["vatex-1421"], listed=30, clips=28)
    known = {"whole": tiny, "deaf": deaf, "some": some}
    monkeypatch.setattr("trichord.evaluation.named.PROTOCOLS", known)
    vectors = clips()
    require_gallery("whole", vectors)
    require_gallery("deaf", vectors)
    with pytest.raises(UserError, match="28 clips with sound, the manifest has 30"):
        require_gallery("some", vectors)
    lost = replace(vectors, has_audio=np.arange(30) > 1)
    with pytest.raises(UserError, match="30 clips with picture or sound, the manifest has 29"):
        require_gallery("whole", lost)
    with pytest.raises(UserError, match="29 clips with sound, the manifest has 28"):
        require_gallery("deaf", lost)
