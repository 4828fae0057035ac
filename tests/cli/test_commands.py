"""Every command on a small rendered world, with the stand-in towers: nothing is replaced."""

import json
import shutil

import pytest
from PIL import Image
from safetensors.torch import load_file

from trichord.cli import main
from trichord_world.law import scenes


def test_a_world_is_read_by_the_avcaps_reader(small_world, capsys, command):
    lines = (small_world / "clips.jsonl").read_text().splitlines()
    assert len(lines) == 68
    clip = json.loads(lines[0])
    assert clip["path"] == "world/train_videos/train_00000.mp4"
    assert {c["source"] for c in clip["captions"]} == {"crowd", "llm"}


def test_rendering_again_reuses_what_is_there_and_another_world_is_refused(
    small_world, command, capsys
):
    assert command(f"world {small_world}/world --train 40 --val 12 --test 16 --seed 5") == 0
    assert command(f"world {small_world}/world --train 41 --val 12 --test 16 --seed 5") == 2
    assert "world" in capsys.readouterr().err


def test_the_doctor_counts_statuses_and_captions(small_world, command, capsys):
    assert command(f"doctor {small_world}/clips.jsonl --json") == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["statuses"].values()) == 68
    assert found["statuses"]["ok"] >= 48
    assert found["leaks"] == []
    assert command(f"doctor {small_world}/clips.jsonl") == 0
    assert "hours" in capsys.readouterr().out


def test_extracting_again_reads_nothing(small_world, command, capsys):
    assert command(f"extract {small_world}/clips.jsonl --model world-clip-clap") == 0
    assert "68 done" in capsys.readouterr().out


def test_reports_carry_protocol_interval_and_ceiling(runs):
    report = json.loads((runs / "slava-av" / "seed-0" / "evaluation.json").read_text())
    assert report["experiment"] == "slava-av"
    assert report["protocol"]["ties"] == "pessimistic"
    first = report["rows"][0]["estimates"]["R@10"]
    assert first["low"] <= first["value"] <= first["high"]
    (sounds,) = [row for row in report["rows"] if row["name"] == "visual<-sound"]
    assert 0 < sounds["ceiling"]["R@10"] <= 1
    with Image.open(runs / "slava-av" / "seed-0" / "evaluation.png") as figure:
        assert figure.width > 500


def test_the_untrained_pair_has_no_way_from_sound_to_sight(runs):
    report = json.loads((runs / "clip-clap" / "evaluation.json").read_text())
    of = {row["name"]: row["estimates"] for row in report["rows"]}
    assert of["visual<-sound"] == {}
    assert of["visual<-visual"]["R@10"]["value"] > 0.6  # chance: 10 of 16


def test_training_again_finds_the_run_complete(small_world, runs, command, capsys):
    few = "--seeds 0 1 --stages.0.epochs 2 --stages.0.batch-size 16"
    line = f"train world-slava-av {small_world}/clips.jsonl {runs}/slava-av {few}"
    assert command(line) == 0
    assert capsys.readouterr().out.count("already trained") == 2


def test_other_settings_for_the_same_directory_are_refused(small_world, runs, command, capsys):
    line = f"train world-slava-av {small_world}/clips.jsonl {runs}/slava-av/seed-0 --seed 9"
    assert command(line) == 2
    assert "other settings" in capsys.readouterr().err


def test_comparison_shows_mean_and_spread_and_draws(runs, command, capsys, tmp_path):
    line = f"compare {runs}/slava-av {runs}/audio-visual {runs}/clip-clap --paper"
    assert command(f"{line} --figure {tmp_path}/c.png --json {tmp_path}/c.json") == 0
    shown = capsys.readouterr().out
    assert "±" in shown
    assert "Ceiling" in shown or "ceiling" in shown
    systems = json.loads((tmp_path / "c.json").read_text())["systems"]
    assert [system["name"] for system in systems] == ["slava-av", "audio-visual", "zero-shot"]
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_unlike_protocols_are_refused_with_the_difference_named(
    small_world, runs, command, capsys, tmp_path
):
    few = "--stages.0.epochs 1 --stages.0.batch-size 16"
    clips = small_world / "clips.jsonl"
    assert command(f"train world-slava-av {clips} {tmp_path}/other --seed 7 {few}") == 0
    assert command(f"evaluate {tmp_path}/other {clips} --ties expected --to evaluation") == 0
    assert command(f"compare {runs}/slava-av {tmp_path}/other") == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert "rule for ties: pessimistic against expected" in complaint
    assert "evaluate both on the same manifest with the same options" in complaint


def test_media_and_features_give_the_same_numbers(small_world, runs, command, tmp_path):
    held = runs / "slava-av" / "seed-1"
    before = json.loads((held / "evaluation.json").read_text())
    assert command(f"evaluate {held} {small_world}/clips.jsonl --from media") == 0
    after = json.loads((held / "evaluation.json").read_text())
    assert after["rows"] == before["rows"]
    assert after["protocol"] == before["protocol"]


@pytest.mark.parametrize("source", ["features", pytest.param("media", marks=pytest.mark.slow)])
def test_towers_that_train_read_media_whatever_the_rest_is_read_from(
    source, small_world, command, tmp_path
):
    line = f"train world-audio-visual {small_world}/clips.jsonl {tmp_path}/towers --from {source}"
    few = "--stages.0.epochs 1 --stages.0.batch-size 20"
    assert command(f"{line} --stages.0.towers audio {few}") == 0
    held = load_file(tmp_path / "towers" / "weights.safetensors")
    assert any(name.startswith("model.audio.trunk.") for name in held)
    assert not any(name.startswith("model.vision.trunk.") for name in held)


def test_a_tower_whose_head_does_not_train_is_refused(small_world, command, capsys, tmp_path):
    line = f"train world-audio-visual {small_world}/clips.jsonl {tmp_path}/towers"
    assert command(f"{line} --stages.0.towers text") == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert "trains the trunk of text but not its head" in complaint
    assert "--stages.N.trains" in complaint
    assert not (tmp_path / "towers").exists()


def test_an_archive_is_indexed_once_and_searched_five_ways(
    small_world, runs, command, capsys, tmp_path
):
    run, videos = runs / "slava-av" / "seed-0", small_world / "world" / "test_videos"
    assert command(f"index {videos} {tmp_path}/archive --model {run}") == 0
    assert "16 new" in capsys.readouterr().out
    assert command(f"index {videos} {tmp_path}/archive --model {run}") == 0
    assert "16 unchanged" in capsys.readouterr().out
    whole = next(s for s in scenes("test", 16, 5) if not (s.dark or s.silent))
    clip = videos / f"{whole.id}.mp4"
    for query in ("--video", "--image", "--audio"):
        assert command(f"search {tmp_path}/archive {query} {clip} --k 3 --json") == 0
        hits = json.loads(capsys.readouterr().out)
        assert len(hits) == 3
        assert hits[0]["moment"]["file"] == str(clip.resolve())
    assert (
        main(["search", f"{tmp_path}/archive", "a red bell", "--sheet", f"{tmp_path}/s.png"]) == 0
    )
    assert "score = visual + audio" in capsys.readouterr().out
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 300
    assert command(f"index {clip} {tmp_path}/archive --remove") == 0
    assert "1 files removed" in capsys.readouterr().out


def test_vectors_of_another_model_are_refused(small_world, runs, command, capsys, tmp_path):
    videos = small_world / "world" / "val_videos"
    assert command(f"index {videos} {tmp_path}/archive --model {runs}/slava-av/seed-0") == 0
    assert command(f"index {videos} {tmp_path}/archive --model {runs}/slava-av/seed-1") == 2
    assert "weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("extract {0}/nowhere.jsonl --model clip-clap", "nowhere.jsonl"),
        (
            "extract {0}/clips.jsonl --model no-such-run",
            "neither a run directory, a model",
        ),
        ("evaluate {0} {0}/clips.jsonl", "is a folder without a model"),
        ("compare {0}/runs/nothing", "is no run"),
        (
            "prepare nonsense {0} {1}/m.jsonl",
            "There is no dataset 'nonsense' here: choose one of avcaps",
        ),
        ("prepare avcaps {1} {1}/m.jsonl", "{1}"),
        ("doctor {1}/nowhere", "nowhere"),
        ("index {1} {1}/archive --model world-clip-clap", "{1}"),
        ("index {0} --model world-clip-clap", "last the archive"),
        ("search {1} words", "is not an archive"),
        ("search {1}", "is not an archive"),
        ("train slava-av {0}/nowhere.jsonl {1}/run", "nowhere.jsonl"),
        ("train slava-av {0}/clips.jsonl {1}/run --model.text.name no/model", "no/model"),
        ("train world-slava-av {0}/clips.jsonl {1}/run --features {1}", "trichord extract"),
        ("train --seed 1", "experiment comes first"),
    ],
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_written(
    line, told, small_world, runs, command, capsys, tmp_path
):
    assert command(line.format(small_world, tmp_path)) == 2
    complaint = capsys.readouterr().err.strip()
    assert told.format(small_world, tmp_path) in complaint
    assert "Traceback" not in complaint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "told"),
    [("", "clips.jsonl"), ('{"id": "a", "path": "x.mp4"}\nnonsense\n', "clips.jsonl:2")],
)
def test_a_wrong_manifest_names_file_and_line(content, told, command, capsys, tmp_path):
    (tmp_path / "clips.jsonl").write_text(content)
    assert command(f"extract {tmp_path}/clips.jsonl --model world-clip-clap") == 2
    assert told in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


def test_captions_of_the_wrong_kind_for_the_experiment_are_named(
    small_world, command, capsys, tmp_path
):
    lines = [json.loads(line) for line in (small_world / "clips.jsonl").read_text().splitlines()]
    for clip in lines:
        clip["captions"] = [c for c in clip["captions"] if c["about"] == "visual"]
        clip["path"] = str(small_world / clip["path"])
    manifest = tmp_path / "clips.jsonl"
    manifest.write_text("".join(json.dumps(clip) + "\n" for clip in lines))
    features = f"--features {small_world}/clips.features"
    assert command(f"train world-audioclip {manifest} {tmp_path}/run {features}") == 2
    assert "needs audio captions" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_over_long_captions_are_counted(command, capsys, tmp_path, small_world):
    clip = {
        "id": "a",
        "path": str(small_world / "world/test_videos/test_00000.mp4"),
        "captions": [{"text": "bell " * 200, "about": "audio"}],
    }
    (tmp_path / "clips.jsonl").write_text(json.dumps(clip) + "\n")
    assert command(f"extract {tmp_path}/clips.jsonl --model world-slava-av") == 0
    assert "1 captions are longer" in capsys.readouterr().out


def test_runs_that_learnt_otherwise_get_columns_of_their_own(
    small_world, runs, command, capsys, tmp_path
):
    few = "--stages.0.epochs 2 --stages.0.batch-size 16"
    clips = small_world / "clips.jsonl"
    lines = clips.read_text().splitlines()
    for line, number in zip(lines, range(len(lines)), strict=True):
        clip = json.loads(line)
        clip["path"] = str(small_world / clip["path"])
        lines[number] = json.dumps(clip) if number % 4 == 0 or number >= 40 else ""
    (tmp_path / "quarter.jsonl").write_text("\n".join(filter(None, lines)) + "\n")
    features = f"--features {small_world}/clips.features"
    fast = "--stages.0.optimizer.lr 1e-2 --objective.temperature 1"
    quarter = f"{tmp_path}/quarter.jsonl"
    assert command(f"train world-slava-av {clips} {tmp_path}/fast --seed 7 {few} {fast}") == 0
    assert (
        command(f"train world-slava-av {quarter} {tmp_path}/quarter --seed 3 {few} {features}") == 0
    )
    for name in ("fast", "quarter"):
        assert command(f"evaluate {tmp_path}/{name} {clips}") == 0
    line = f"compare {runs}/slava-av {tmp_path}/fast {tmp_path}/quarter --json {tmp_path}/c.json"
    assert command(f"{line} --figure {tmp_path}/c.png") == 0
    systems = json.loads((tmp_path / "c.json").read_text())["systems"]
    assert [(one["name"], one["seeds"]) for one in systems] == [
        ("slava-av", [0, 1]), ("slava-av", [7]), ("slava-av", [3]),
    ]  # fmt: skip
    assert [one["differs"] for one in systems] == [
        {"clips": "clips.jsonl", "temperature": "0.07", "lr": "0.0003"},
        {"clips": "clips.jsonl", "temperature": "1.0", "lr": "0.01"},
        {"clips": "quarter.jsonl", "temperature": "0.07", "lr": "0.0003"},
    ]
    assert "quarter.jsonl" in capsys.readouterr().out


def test_a_run_beside_its_copy_is_refused(runs, command, capsys, tmp_path):
    shutil.copytree(runs / "slava-av" / "seed-0", tmp_path / "copy")
    assert command(f"compare {runs}/slava-av {tmp_path}/copy") == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert "are the same experiment (slava-av) on the same clips with the same seed 0" in complaint
