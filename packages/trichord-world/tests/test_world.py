import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from trichord.corpora import avcaps
from trichord.types import UserError
from trichord_world.ceiling import ceiling
from trichord_world.difficulty import Difficulty
from trichord_world.grammar import Grammar
from trichord_world.law import Law, scenes
from trichord_world.layouts import CAPTION_KEYS
from trichord_world.rendering import world
from trichord_world.truth import read_truth
from trichord_world.world import World, read_world, write_world

# Two splits, and a law that makes silent and dark clips frequent among few.
SMALL = World(counts={"val": 2, "test": 4}, seed=2, law=Law(silent=0.3, dark=0.3))


def write(root, world=SMALL, workers=1):
    return list(write_world(root, world, workers=workers))


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("world") / "small"
    write(root)
    return root


def test_the_layout_is_avcaps_with_truth_and_world_beside_it(made):
    assert sorted(contents(made)) == sorted(
        [f"val_videos/val_{i:05d}.mp4" for i in range(2)]
        + [f"test_videos/test_{i:05d}.mp4" for i in range(4)]
        + ["val_captions.json", "test_captions.json", "truth.jsonl", "world.json"]
    )
    captions = json.loads((made / "test_captions.json").read_text())
    assert list(captions) == [f"test_{i:05d}" for i in range(4)]
    for kinds in captions.values():
        assert set(kinds) == {
            "audio_captions", "visual_captions", "audio_visual_captions", "GPT_AV_captions",
        }  # fmt: skip
        assert len(kinds["GPT_AV_captions"]) == 3
        assert all(len(texts) <= 5 for texts in kinds.values())


def test_the_reader_of_avcaps_reads_it(made):
    clips = avcaps.clips(made).clips
    assert [(clip.id, clip.split) for clip in clips] == [
        *((f"val_{i:05d}", "val") for i in range(2)),
        *((f"test_{i:05d}", "test") for i in range(4)),
    ]
    captions = json.loads((made / "test_captions.json").read_text())
    said = sorted(text for texts in captions["test_00000"].values() for text in texts)
    assert sorted(caption.text for caption in clips[2].captions) == said


def test_truth_holds_the_scenes_and_facts_aligned_with_the_captions(made):
    truth = read_truth(made / "truth.jsonl")
    drawn = [*scenes("val", 2, 2, SMALL.law), *scenes("test", 4, 2, SMALL.law)]
    assert [one.scene for one in truth] == drawn
    for one in truth:
        captions = json.loads((made / f"{one.split}_captions.json").read_text())[one.scene.id]
        for kind, key in CAPTION_KEYS.items():
            assert len(captions[key]) == len(one.facts[kind])
            for text, facts in zip(captions[key], one.facts[kind], strict=True):
                assert ("phrase" in facts) == ('"' in text)


def test_some_clips_here_are_silent_and_some_dark(made):
    truth = read_truth(made / "truth.jsonl")
    captions = json.loads((made / "test_captions.json").read_text())
    assert {(one.scene.silent, one.scene.dark) for one in truth} == {
        (False, False), (True, False), (False, True),
    }  # fmt: skip
    for one in truth:
        if one.split == "test":
            assert (captions[one.scene.id]["audio_captions"] == []) == one.scene.silent
            assert (captions[one.scene.id]["visual_captions"] == []) == one.scene.dark


def test_the_same_world_is_the_same_bytes_whatever_the_workers_and_the_order(made, tmp_path):
    reordered = replace(SMALL, counts={"test": 4, "val": 2})
    write(tmp_path / "again", reordered, workers=2)
    assert contents(tmp_path / "again") == contents(made)


def test_another_seed_is_another_world(made, tmp_path):
    write(tmp_path / "other", replace(SMALL, seed=4, counts={"val": 1}))
    assert not set(contents(tmp_path / "other").values()) & set(contents(made).values())


def test_a_world_is_read_back_equal(made):
    assert read_world(made) == SMALL
    assert set(json.loads((made / "world.json").read_text())["made_with"]) == {
        "trichord", "trichord-world", "numpy", "pillow", "av", "espeakng-loader",
    }  # fmt: skip


def test_what_is_read_back_gives_the_ceiling(made):
    world = read_world(made)
    best = ceiling(read_truth(made / "truth.jsonl"), law=world.law, grammar=world.grammar)
    assert best["visual<-visual"][10] == pytest.approx(1.0)


def test_progress_counts_every_clip(tmp_path):
    world = replace(SMALL, counts={"val": 1, "test": 1})
    assert [(p.file.name, p.done, p.total) for p in write_world(tmp_path, world, workers=1)] == [
        ("val_00000.mp4", 1, 2),
        ("test_00000.mp4", 2, 2),
    ]


def test_a_finished_world_is_left_alone(made):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert write(made) == []
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


def test_an_interrupted_world_goes_on_where_it_stopped(made, tmp_path):
    stopped = write_world(tmp_path, SMALL, workers=1)
    first = next(stopped).file
    stopped.close()
    assert not (tmp_path / "world.json").exists()
    written = first.stat().st_mtime_ns
    write(tmp_path)
    assert first.stat().st_mtime_ns == written
    assert contents(tmp_path) == contents(made)


def test_a_lost_clip_is_rendered_again(made, tmp_path):
    write(tmp_path)
    (tmp_path / "test_videos" / "test_00002.mp4").unlink()
    write(tmp_path)
    assert contents(tmp_path) == contents(made)


def test_zips_hold_the_folders_files_under_the_folders_name(made, tmp_path):
    zipped = replace(SMALL, zips=True)
    write(tmp_path / "one", zipped)
    write(tmp_path / "two", zipped)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert not (tmp_path / "one" / "test_videos").exists()
    with zipfile.ZipFile(tmp_path / "one" / "test_videos.zip") as packed:
        for name in packed.namelist():
            assert packed.read(name) == (made / name).read_bytes()
        assert packed.namelist() == [f"test_videos/test_{i:05d}.mp4" for i in range(4)]
    assert write(tmp_path / "one", zipped) == []
    assert len(avcaps.clips(tmp_path / "one").clips) == 6


def test_a_lost_captions_file_costs_no_new_archive(tmp_path):
    zipped = replace(SMALL, counts={"val": 1}, zips=True)
    write(tmp_path, zipped)
    before = contents(tmp_path)
    (tmp_path / "val_captions.json").unlink()
    archive = (tmp_path / "val_videos.zip").stat().st_mtime_ns
    write(tmp_path, zipped)
    assert contents(tmp_path) == before
    assert (tmp_path / "val_videos.zip").stat().st_mtime_ns == archive


def test_a_folder_that_holds_another_world_is_refused_untouched(made):
    before = contents(made)
    for other in (
        replace(SMALL, seed=4),
        replace(SMALL, difficulty=Difficulty(picture_noise=20.0)),
        replace(SMALL, detail="brief"),
        replace(SMALL, zips=True),
    ):
        with pytest.raises(UserError, match="another world"):
            write(made, other)
    assert contents(made) == before


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        write(tmp_path)
    with pytest.raises(UserError, match=r"thesis\.tex: is a file"):
        write(tmp_path / "thesis.tex")


def test_a_folder_without_a_finished_world_is_named(tmp_path):
    with pytest.raises(UserError, match="no finished world"):
        read_world(tmp_path)
    (tmp_path / "world.json").write_text('{"world": {"seed": "many"}}')
    with pytest.raises(UserError, match=r"world\.json: does not describe a world"):
        read_world(tmp_path)


def test_a_world_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="seed"):
        World(seed=-1)
    with pytest.raises(UserError, match="test"):
        World(counts={"test": 0})


def test_captions_leave_out_what_the_difficulty_says():
    assert World(difficulty=Difficulty(omission=0.1), detail="brief").grammar == Grammar(
        omission=0.1, detail="brief"
    )
    assert World().counts == {"train": 1661, "val": 200, "test": 200}


def test_the_command_draws_larger_things_if_told_to(tmp_path):
    world(f"{tmp_path}/large --train 1 --val 1 --test 1 --thing-scale 1.2".split())
    assert read_world(tmp_path / "large").difficulty == Difficulty(thing_scale=1.2)
