import io
import json
import math
import wave
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from trichord.corpora.diagnosis import tables
from trichord.corpora.doctor import (
    MACHINE,
    READ,
    READ_PICTURE,
    TRANSCRIBED,
    Cost,
    examine,
    examine_path,
)
from trichord.corpora.manifest import write_manifest
from trichord.media.decoder import Decoder
from trichord.media.plan import FramePlan
from trichord.types import Caption, Clip, UserError


def write_sound(path, seconds, loudness=0.5, tone=440):
    times = np.arange(int(8000 * seconds)) / 8000
    samples = (loudness * 32767 * np.sin(2 * math.pi * tone * times)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


def write_video(path, seconds):
    """A video without a sound track, five frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        for grey in range(seconds * 5):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), grey * 5, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def decoder():
    with Decoder(workers=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A long tone and its copy, a shorter silence, a video without sound, a still, and rubbish."""
    folder = tmp_path_factory.mktemp("media")
    write_sound(folder / "tone.wav", 25.0)
    (folder / "again.wav").write_bytes((folder / "tone.wav").read_bytes())
    write_sound(folder / "silence.wav", 5.0, loudness=0.0)
    write_video(folder / "video.mp4", 6)
    Image.new("RGB", (40, 30), "red").save(folder / "still.png")
    (folder / "rubbish.mp4").write_text("this is no video")
    return folder


@pytest.fixture
def clip(media):
    def made(name, clip_id="", captions=(), **fields):
        path = str(media / name)
        return Clip(id=clip_id or name, path=path, captions=tuple(captions), **fields)

    return made


def said(text, about="audio", source="crowd"):
    return Caption(text=text, about=about, source=source)


def printed(diagnosis, rows=40):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(tables(diagnosis, rows))
    return console.export_text()


def test_every_file_has_a_status_and_what_it_holds(media, decoder):
    found = examine_path(media, decoder)
    assert {
        (f.path.removeprefix(f"{media}/"), f.status, f.picture, f.sound) for f in found.files
    } == {
        ("again.wav", "no_video", False, True),
        ("rubbish.mp4", "unsupported", False, False),
        ("silence.wav", "silent", False, False),
        ("still.png", "no_audio", True, False),
        ("tone.wav", "no_video", False, True),
        ("video.mp4", "no_audio", True, False),
    }
    assert found.statuses == {"no_audio": 2, "silent": 1, "no_video": 2, "unsupported": 1}
    lengths = {f.path.removeprefix(f"{media}/"): f.seconds for f in found.files}
    assert lengths["rubbish.mp4"] is None
    assert lengths["still.png"] == 0
    assert lengths["tone.wav"] == pytest.approx(25.0)


def test_hours_silence_and_work_are_summed_over_clips_that_can_be_read(media, decoder):
    found = examine_path(
        media, decoder, cost=Cost(frame=1.0, chunk=10.0, caption=100.0, of="a test")
    )
    assert found.hours == pytest.approx((25 + 25 + 5 + 6 + 0) / 3600)
    assert found.silent_share == 2 / 4  # the silence and the video; a still is not asked
    assert (found.work.frames, found.work.chunks, found.work.captions) == (6 + 1, 3 + 3, 0)
    assert found.work.seconds == 67
    assert found.uncaptioned == 6


def test_spans_are_cut_to_their_file_and_those_outside_are_named(clip, decoder):
    clips = [
        clip("tone.wav", "first", start=0.0, end=10.0),
        clip("tone.wav", "last", start=20.0, end=99.0),
        clip("tone.wav", "beyond", start=30.0, end=31.0),
        clip("video.mp4", "seen", start=1.0, end=3.0),
    ]
    found = examine(clips, decoder, frames=FramePlan(per_second=2.0), chunk_seconds=5.0)
    assert found.outside == ("beyond",)
    assert found.hours == pytest.approx((10 + 5 + 2) / 3600)
    assert (found.work.frames, found.work.chunks) == (4, 2 + 1)
    assert [f.clips for f in found.files] == [3, 1]


def test_coverage_counts_clips_and_captions_by_kind(clip, decoder):
    clips = [
        clip("tone.wav", captions=[said("a"), said("b"), said("c", "audio_visual", "llm")]),
        clip("again.wav", captions=[said("d")]),
        clip("video.mp4"),
    ]
    found = examine(clips, decoder)
    assert [(c.kind, c.source, c.clips, c.captions) for c in found.coverage] == [
        ("audio", "crowd", 2, 3),
        ("composed", "llm", 1, 1),
    ]
    assert found.uncaptioned == 1


def test_copies_across_splits_are_leaks_and_within_one_are_not(clip, media, decoder):
    both = (str(media / "tone.wav"), str(media / "again.wav"))
    apart = [clip("tone.wav", split="train"), clip("again.wav", split="test")]
    together = [replace(c, split="train") for c in apart]
    assert [(g.files, g.splits) for g in examine(apart, decoder).leaks] == [
        (both, ("test", "train"))
    ]
    assert examine(together, decoder).leaks == ()
    assert [g.files for g in examine(together, decoder).copies] == [both]


def test_two_spans_of_one_file_in_two_splits_are_a_leak(clip, media, decoder):
    clips = [
        clip("tone.wav", "a", end=5.0, split="train"),
        clip("tone.wav", "b", start=5.0, split="val"),
        clip("video.mp4", split="val"),
    ]
    found = examine(clips, decoder)
    assert [g.files for g in found.leaks] == [(str(media / "tone.wav"),)]
    assert found.copies == ()
    assert found.splits == {"train": 1, "val": 2}


def test_files_that_cannot_be_read_are_no_copies_of_each_other(tmp_path, decoder):
    clips = []
    for name, split in (("a.mp4", "train"), ("b.mp4", "test")):
        (tmp_path / name).write_bytes(b"")
        clips.append(Clip(id=name, path=str(tmp_path / name), split=split))
    clips.append(Clip(id="gone", path=str(tmp_path / "gone.mp4")))
    found = examine(clips, decoder)
    assert (found.copies, found.leaks, found.hours, found.silent_share) == ((), (), 0.0, None)
    assert sum(found.statuses.values()) == 3
    assert all(f.reason for f in found.files)


def test_captions_that_stand_in_several_splits_are_counted_case_apart(clip, decoder):
    clips = [
        clip("tone.wav", captions=[said("A man speaks"), said("rain")], split="train"),
        clip("again.wav", captions=[said("rain")], split="train"),
        clip("video.mp4", captions=[said("a man speaks")], split="test"),
        clip("silence.wav", captions=[said("rain")]),
    ]
    assert examine(clips, decoder).shared_texts == ("a man speaks",)


def test_a_manifest_or_one_file_can_be_examined(clip, media, tmp_path, decoder):
    write_manifest(tmp_path / "m.jsonl", [clip("tone.wav", split="val")])
    assert examine_path(tmp_path / "m.jsonl", decoder).splits == {"val": 1}
    assert examine_path(media / "video.mp4", decoder).statuses == {"no_audio": 1}


def test_what_tables_and_manifests_lack_is_counted(tmp_path, decoder):
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "captions.csv").write_text("video,txt\na,one\nc,two\na,null\n")
    notes = examine_path(tmp_path, decoder, columns=("caption=txt",)).notes
    assert notes[:3] == (
        "1 rows left out for want of their file: c",
        "1 captions dropped, being nan, N/A, null or None: captions.csv:4",
        "1 files without a row in captions.csv: b.png",
    )
    caption = {"text": "N/A", "about": "audio"}
    (tmp_path / "m.jsonl").write_text(
        json.dumps({"id": "a", "path": "a.png", "captions": [caption]})
    )
    assert examine_path(tmp_path / "m.jsonl", decoder).notes == (
        "1 captions are nan, N/A, null or None; remove them from the manifest: a",
    )


def test_nothing_at_the_path_is_one_line(tmp_path, decoder):
    for name in ("none", "none.mp4", "none.jsonl"):
        with pytest.raises(UserError, match=name):
            examine_path(tmp_path / name, decoder)


def test_json_holds_every_field(media, decoder):
    found = json.loads(examine_path(media, decoder).to_json())
    assert found["statuses"]["unsupported"] == 1
    assert len(found["files"]) == 6
    assert len(found["copies"][0]["files"]) == 2
    assert found["work"]["basis"] == "ViT-B/32 and HTSAT-tiny on 2 CPU threads"


def test_the_tables_show_faults_first_and_say_what_they_leave_out(media, decoder):
    text = printed(examine_path(media, decoder), rows=2)
    assert "and 4 more; --json has all" in text
    assert text.index("In all") < text.index("Same content")
    assert "no_audio 2, silent 1, no_video 2, unsupported 1" in text
    assert "50.0%" in text
    assert "about 9 s with ViT-B/32 and HTSAT-tiny on 2 CPU threads, decoding left out" in text


def test_the_tables_show_captions_leaks_and_odd_names_as_they_are(clip, media, decoder):
    odd = media / "[bold]x.wav"
    odd.write_bytes((media / "tone.wav").read_bytes())
    clips = [
        clip("tone.wav", captions=[said("a"), said("b")], split="train"),
        clip("[bold]x.wav", split="test"),
    ]
    text = printed(replace(examine(clips, decoder), notes=("2 blank captions dropped: a",)))
    odd.unlink()
    assert "[bold]x.wav" in text
    assert "1 (50% of all)" in text
    assert "2.00" in text
    assert "test, train (leak)" in text
    assert "note: 2 blank captions dropped: a" in text


@pytest.mark.parametrize(("seconds", "told"), [(89, "89 s"), (600, "10 min"), (7200, "2.0 h")])
def test_time_is_told_in_the_unit_that_fits(clip, decoder, seconds, told):
    cost = Cost(frame=0.0, chunk=seconds / 3, caption=0.0, of="a test")
    assert f"about {told} with a test" in printed(examine([clip("tone.wav")], decoder, cost=cost))


def test_the_real_clips_can_all_be_read(shared, decoder):
    found = examine_path(shared / "avclips", decoder)
    assert (found.statuses, found.clips, found.copies) == ({"ok": 30}, 30, ())
    assert [(c.kind, c.clips, c.captions) for c in found.coverage] == [("audio_visual", 30, 30)]
    assert 30 * 3 < found.hours * 3600 < 30 * 12.1


def test_the_cost_of_options_is_that_of_whole_files(media, clip, decoder):
    found = examine_path(media, decoder).options
    assert [(one.option, one.media) for one in found] == [
        ("--transcribe", "0.8 minutes of sound"),  # two tones of 25 s; silence has none
        ("--ocr", "0.1 minutes of video, 1 pictures"),
    ]
    speech, text = (one.seconds for one in found)
    assert speech == pytest.approx(50 / 60 * TRANSCRIBED, rel=0.01)
    assert text == pytest.approx(6 / 60 * READ + READ_PICTURE, rel=0.01)
    twice = examine([clip("video.mp4", "a", end=3.0), clip("video.mp4", "b", start=3.0)], decoder)
    assert twice.options[1].seconds == pytest.approx(6 / 60 * READ, rel=0.01)


def test_the_cost_of_options_is_printed_with_engine_and_machine(media, decoder):
    lines = printed(examine_path(media, decoder)).splitlines()
    [speech] = [line for line in lines if "with --transcribe" in line]
    [text] = [line for line in lines if "with --ocr" in line]
    assert "about 15 s of processor time with pocketsphinx on one core" in speech
    assert "about 2 s of processor time with rapidocr on one core" in text


def test_the_cost_of_options_is_what_studies_measured():
    results = Path(__file__).parents[2] / "studies" / "results"
    speech = json.loads((results / "transcripts.json").read_text())
    free = speech["word errors"]["free"]
    assert pytest.approx(free["processor seconds a minute"], rel=0.1) == TRANSCRIBED
    text = json.loads((results / "screen_text.json").read_text())
    spent = text["films"]["moving"]["processor seconds a minute"]["both"]
    assert pytest.approx(spent, rel=0.1) == READ
    picture = text["character errors"]["processor seconds a frame"]
    assert pytest.approx(picture, rel=0.15) == READ_PICTURE
    assert {one["measured on"]["machine"].split(",")[0] for one in (speech, text)} == {
        MACHINE.removeprefix("one core of an ")
    }
