import csv
import json
from dataclasses import replace

import pytest

from trichord.cli import main
from trichord.corpora import audioset, howto100m
from trichord.types import Caption, UserError
from trichord_world.ceiling import ceiling
from trichord_world.format import SECONDS
from trichord_world.grammar import Grammar
from trichord_world.law import PHRASES, PHRASES_MANY, Law, scenes
from trichord_world.layouts import LAYOUTS, label_of
from trichord_world.truth import Truth, read_truth
from trichord_world.world import World, read_world, write_world

MANY = Law(phrases=PHRASES_MANY)
NARRATED = World(counts={"narrated": 3}, seed=7, law=MANY)
LABELLED = World(counts={"labelled": 3}, seed=7, law=MANY)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the world `narrated` and the world `labelled`."""
    root = tmp_path_factory.mktemp("layouts")
    for world in (NARRATED, LABELLED):
        (split,) = world.counts
        list(write_world(root / split, world, workers=1))
    return root


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_narrated_clips_come_as_howto100m(made):
    assert files(made / "narrated") == [
        *(f"narrated_videos/narrated_{i:05d}.mp4" for i in range(3)),
        "raw_caption.json", "truth.jsonl", "world.json",
    ]  # fmt: skip
    said = json.loads((made / "narrated" / "raw_caption.json").read_text())
    for scene in scenes("narrated", 3, 7, MANY):
        assert said[scene.id]["text"] == [scene.phrase]
        # The whole clip: no length that tells narrated clips from labelled ones.
        assert (said[scene.id]["start"], said[scene.id]["end"]) == ([0.0], [SECONDS])
    assert len(said) == 3


def test_the_reader_of_howto100m_reads_a_clip_around_what_is_said(made):
    prepared = howto100m.clips(made / "narrated")
    drawn = scenes("narrated", 3, 7, MANY)
    assert prepared.counts == {}
    assert [clip.captions for clip in prepared.clips] == [
        (Caption(text=scene.phrase or "", about="audio", source="speech"),) for scene in drawn
    ]
    for clip, scene in zip(prepared.clips, drawn, strict=True):
        assert (clip.start, clip.end) == (0.0, SECONDS)
        assert clip.path.endswith(f"narrated_videos/{scene.id}.mp4")
        assert clip.audio_type == "verbal"


def test_labelled_clips_come_as_audioset(made):
    assert files(made / "labelled") == [
        "balanced_train_segments.csv", "class_labels_indices.csv",
        *(f"labelled_videos/labelled_{i:05d}.mp4" for i in range(3)),
        "truth.jsonl", "world.json",
    ]  # fmt: skip
    with (made / "labelled" / "class_labels_indices.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "mid", "display_name"]
    assert [int(row["index"]) for row in rows] == list(range(12))
    assert {row["display_name"] for row in rows} >= {"Bell ringing", "Rain falling", "Car revving"}
    assert len({row["mid"] for row in rows}) == 12


def test_the_reader_of_audioset_reads_the_sound_of_what_sounds(made):
    prepared = audioset.clips(made / "labelled")
    assert prepared.counts == {}
    assert [(clip.id, clip.labels, clip.captions) for clip in prepared.clips] == [
        (
            scene.id,
            (label_of(scene.heard),),
            (Caption(text=f"The sound of {label_of(scene.heard)}", about="audio", source="label"),),
        )
        for scene in scenes("labelled", 3, 7, MANY)
    ]
    assert {(clip.audio_type, clip.end) for clip in prepared.clips} == {("nonverbal", None)}


def test_every_clip_has_a_caption_whatever_the_law_says_of_silence():
    bleak = Law(silent=0.5, dark=0.5, speechless=1.0)
    for split, name, key in (
        ("narrated", "howto100m", "phrase"),
        ("labelled", "audioset", "heard"),
    ):
        drawn = scenes(split, 30, 0, bleak)
        told = LAYOUTS[name].annotated(split, drawn, Grammar(), 0)
        for scene, facts in zip(drawn, told.facts, strict=True):
            assert facts["audio"] == ({key: getattr(scene, key)},)
            assert facts["visual"] == facts["audio_visual"] == facts["composed"] == ()


def test_truth_and_settings_are_read_back(made):
    for world in (NARRATED, LABELLED):
        (split,) = world.counts
        assert read_world(made / split) == world
        truth = read_truth(made / split / "truth.jsonl")
        assert [one.scene for one in truth] == scenes(split, 3, 7, MANY)
        assert {one.split for one in truth} == {split}


def test_a_finished_world_is_left_alone_and_a_lost_table_written_again(made):
    table = made / "labelled" / "balanced_train_segments.csv"
    before = table.read_bytes()
    assert list(write_world(made / "labelled", LABELLED, workers=1)) == []
    table.unlink()
    assert len(list(write_world(made / "labelled", LABELLED, workers=1))) == 3
    assert table.read_bytes() == before


def test_the_ceiling_of_labels_is_what_counting_gives():
    """Of clips that sound alike but for speech and pitch, a label tells none from the other."""
    drawn = scenes("labelled", 60, 3, MANY)
    world = replace(LABELLED, counts={"labelled": 60})
    facts = LAYOUTS["audioset"].annotated("labelled", drawn, world.grammar, 3).facts
    truth = [
        Truth(scene=scene, split="labelled", facts=told)
        for scene, told in zip(drawn, facts, strict=True)
    ]
    best = ceiling(truth, (1, 5), law=world.law, grammar=world.grammar)["audio<-audio"]
    alike = [sum(other.heard == scene.heard for other in drawn) for scene in drawn]
    assert best[1] == pytest.approx(sum(1 / n for n in alike) / 60)
    assert best[5] == pytest.approx(sum(min(1, 5 / n) for n in alike) / 60)


def test_the_splits_decide_the_layout():
    assert World().layout == World(counts={"pretrain": 1}).layout == "avcaps"
    assert (NARRATED.layout, LABELLED.layout) == ("howto100m", "audioset")
    with pytest.raises(ValueError, match="train, narrated are not of one layout"):
        World(counts={"train": 1, "narrated": 1})
    with pytest.raises(UserError, match="audioset"):
        replace(LABELLED, zips=True)


def test_the_command_writes_each_layout_and_names_the_reader(tmp_path, capsys):
    for layout in ("howto100m", "audioset"):
        line = f"world {tmp_path}/{layout} --layout {layout} --clips 1 --seed 7 --workers 1"
        assert main([*line.split(), "--phrases", "many"]) == 0
        shown = capsys.readouterr().out
        assert f"trichord prepare {layout} {tmp_path}/{layout}" in " ".join(shown.split())
        written = read_world(tmp_path / layout)
        assert (written.layout, written.law.phrases) == (layout, PHRASES_MANY)
        assert written.seed == 7
    line = f"world {tmp_path}/avcaps --train 1 --val 1 --test 1 --workers 1"
    assert main(line.split()) == 0
    assert read_world(tmp_path / "avcaps").law.phrases == PHRASES


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--layout howto100m --train 5", "--train"),
        ("--layout audioset --test 5", "--test"),
        ("--clips 5", "--clips"),
        ("--layout audioset --zips", "zips"),
    ],
)
def test_options_of_another_layout_are_refused(options, named, tmp_path, capsys):
    assert main(["world", f"{tmp_path}/none", *options.split()]) == 2
    shown = capsys.readouterr().err
    assert named in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "none").exists()
