"""`trichord study` from end to end: an epoch a row, on worlds of a few clips."""

import json
import re
from pathlib import Path

import pytest
from installed_plugin import installed
from PIL import Image

from trichord.checkpoint import Run
from trichord.config import write_experiment
from trichord_world.studies import COMPONENTS, FUSION, MODALITY

FEW = "--epochs 1 --seeds 0"


@pytest.fixture(scope="module")
def world(tmp_path_factory, command):
    """A folder with a rendered world of eight clips and its manifest."""
    root = tmp_path_factory.mktemp("studies")
    assert command(f"world {root}/world --train 4 --val 2 --test 2 --seed 5") == 0
    assert command(f"prepare avcaps {root}/world {root}/clips.jsonl") == 0
    return root


@pytest.fixture(scope="module")
def modality(world, command):
    """Where the study of the modalities lies."""
    assert command(f"study world-modality {world}/clips.jsonl {world}/modality {FEW}") == 0
    return world / "modality"


@pytest.fixture(scope="module")
def pretraining(world, command):
    """A manifest of narrated and labelled clips, four of each to train on and one to validate."""
    manifest = world / "pretraining.jsonl"
    for layout, more in (("howto100m", ""), ("audioset", "--append")):
        assert command(f"world {world}/{layout} --layout {layout} --clips 5 --seed 5") == 0
        assert command(f"prepare {layout} {world}/{layout} {manifest} {more}") == 0
    clips = [json.loads(line) for line in manifest.read_text().splitlines()]
    for number, clip in enumerate(clips):
        clip["split"] = "train" if number % 5 else "val"
    manifest.write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    return manifest


def read(path):
    return json.loads(path.read_text())


def drawn(path):
    with Image.open(path) as figure:
        return figure.width > 500


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "extend.md"
MINE = re.search(r"## A study\n.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]


def test_the_study_of_the_docs_is_trained_once_measured_and_written(world, command, capsys):
    (world / "mine.py").write_text(MINE)
    place = world / "batches"
    line = f"study {world}/mine.py:BATCHES {world}/clips.jsonl {place} {FEW} --captions audio"
    assert command(line) == 0
    assert "R@10" in capsys.readouterr().out
    written = read(place / "batches.json")
    assert written["title"] == "Large and small batches"
    assert [one["name"] for one in written["systems"]] == ["32", "8"]
    for system in written["systems"]:
        assert (system["seeds"], list(system["rows"])) == ([0], ["audio<-audio"])
        run = Run(place / system["name"] / "seed-0")
        (stage,) = run.experiment().stages
        assert [draw.captions for draw in stage.draws] == [("audio",)]
        assert (stage.criterion, stage.batch_size) == (("audio<-audio",), int(system["name"]))
        assert [numbers["epoch"] for numbers in run.metrics()] == [0, 1]
        report = read(run.path / "evaluation.json")
        (row,) = [one for one in report["rows"] if one["name"] == "audio<-audio"]
        cells = system["rows"]["audio<-audio"]["cells"]
        assert cells["R@10"]["values"] == [row["estimates"]["R@10"]["value"]]
        assert cells["median rank"]["values"] == [row["numbers"]["median rank"]]
    assert written["protocol"].startswith("test split")
    assert drawn(place / "batches.png")
    weights = (run.path / "weights.safetensors").read_bytes()
    assert command(line) == 0
    assert capsys.readouterr().out.count("already trained") == 2
    assert read(place / "batches.json") == written
    assert (run.path / "weights.safetensors").read_bytes() == weights


def test_a_study_comes_with_a_package(world, command, capsys, tmp_path):
    (tmp_path / "batches.py").write_text(MINE)
    metadata = tmp_path / "batches-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: batches\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[trichord.studies]\nbatches = batches:BATCHES\nodd = batches:stage\n"
    )
    with installed(tmp_path):
        line = (
            f"{world}/clips.jsonl {tmp_path}/d --captions visual --pretraining {world}/clips.jsonl"
        )
        assert command(f"study batches {line}") == 2
        assert "the study 'batches', which pretrains nothing" in capsys.readouterr().err
        assert command(f"study odd {line}") == 2
        assert "The study 'odd' of batches 1 is no Study." in capsys.readouterr().err


def test_impossible_options_are_refused_before_features_are_read(world, command, capsys):
    before = sorted(world.iterdir())
    for options, said in (("--epochs 0", "--epochs 0: give"), ("--device gpu", "give auto")):
        line = f"study world-modality {world}/clips.jsonl {world}/idle --seeds 0 {options}"
        assert command(line) == 2
        assert said in capsys.readouterr().err
    assert sorted(world.iterdir()) == before


@pytest.mark.slow
def test_sight_sound_and_both_are_set_side_by_side(modality):
    written = read(modality / "world-modality.json")
    assert [one["name"] for one in written["systems"]] == ["vision", "audio", "both"]
    for one, row in zip(written["systems"], MODALITY.rows, strict=True):
        assert one["rows"]
        assert set(one["rows"]) <= set(row.tasks)
        assert Run(modality / row.name / "seed-0").complete
    assert drawn(modality / "world-modality.png")


@pytest.mark.slow
def test_audio_types_are_swept_from_verbal_to_nonverbal(modality, world, command):
    place = world / "tokens"
    (world / "again.jsonl").write_bytes((world / "clips.jsonl").read_bytes())
    manifests = f"{world}/clips.jsonl {world}/again.jsonl"
    assert command(f"study audio-type {manifests} {place} --start {modality}/audio") == 0
    written = read(place / "audio-type-clips.json")
    assert [one["name"] for one in written["systems"]] == [f"{i / 10:g}" for i in range(11)]
    assert all(one["rows"] for one in written["systems"])
    assert read(place / "audio-type-again.json")["systems"] == written["systems"]
    assert drawn(place / "audio-type.png")
    # No line of one token stands for all eleven.
    assert "each row with an audio type token of its own" in written["protocol"]
    # What the study measured in passing is not what the run is measured by.
    report = read(modality / "audio" / "seed-0" / "evaluation.json")
    assert report["protocol"]["audio_type"] is None


AS_IT_IS = """
from trichord.experiments.studies import Row, Study

ROWS = tuple(Row(name=name, tasks=("audio<-audio",), audio_type=token)
             for name, token in (("own", None), ("verbal", 0.0), ("nonverbal", 1.0)))
LISTENING = Study(name="listening", title="How a run listens", rows=ROWS)
"""


@pytest.mark.slow
def test_rows_without_an_experiment_measure_the_run_as_it_is(modality, world, command):
    (world / "listening.py").write_text(AS_IT_IS)
    place = world / "listening"
    line = f"study {world}/listening.py:LISTENING {world}/clips.jsonl {place}"
    assert command(f"{line} --start {modality}/audio/seed-0") == 0
    own, verbal, nonverbal = read(place / "listening.json")["systems"]
    assert [one["name"] for one in (own, verbal, nonverbal)] == ["own", "verbal", "nonverbal"]
    report = read(modality / "audio" / "seed-0" / "evaluation.json")
    (row,) = [one for one in report["rows"] if one["name"] == "audio<-audio"]
    assert own["rows"]["audio<-audio"]["cells"]["median rank"]["values"] == [
        row["numbers"]["median rank"]
    ]
    assert drawn(place / "listening.png")  # its rows have names, so they are no curve


@pytest.mark.slow
def test_components_are_pretrained_and_fine_tuned_row_by_row(world, pretraining, command):
    place = world / "components"
    line = f"study world-components {world}/clips.jsonl {place} --pretraining {pretraining} {FEW}"
    assert command(f"{line} --captions audio") == 0
    written = read(place / "world-components.json")
    assert [one["name"] for one in written["systems"]] == [row.name for row in COMPONENTS.rows]
    assert all(list(one["rows"]) == ["audio<-audio"] for one in written["systems"])
    folders = ("scratch", "initial", "inter-modal", "intra-modal", "audiotypetoken")
    for folder, row in zip(folders, COMPONENTS.rows, strict=True):
        experiment = Run(place / folder / "seed-0").experiment()
        first = place / folder / "pretraining" / "seed-0"
        assert experiment.start == (first if row.pretraining else None)
        assert first.exists() == (row.pretraining is not None)
        if row.pretraining:
            (stage,) = Run(first).experiment().stages
            assert stage.nonverbal_share == 0.5
            assert Run(first).experiment().model.audio.token == row.pretraining.model.audio.token
    assert drawn(place / "world-components.png")


@pytest.mark.slow
def test_fusions_start_from_a_pretrained_run_and_differ(world, modality, command):
    place = world / "fusion"
    line = f"study world-fusion {world}/clips.jsonl {place} {FEW} --start {modality}/audio"
    assert command(line) == 0
    written = read(place / "world-fusion.json")
    assert [one["name"] for one in written["systems"]] == [row.name for row in FUSION.rows]
    for row in FUSION.rows:
        experiment = Run(place / row.name / "seed-0").experiment()
        assert experiment.start == modality / "audio" / "seed-0"
        assert type(experiment.model.fusion) is type(row.experiment.model.fusion)
    numbers = {str(one["rows"]) for one in written["systems"]}
    assert len(numbers) > 1
    assert drawn(place / "world-fusion.png")


def test_a_run_without_audio_type_tokens_is_refused_in_one_line(world, command, capsys):
    assert command(f"train world-clip-clap {world}/clips.jsonl {world}/clip-clap") == 0
    line = f"study audio-type {world}/clips.jsonl {world}/none --start {world}/clip-clap"
    assert command(line) == 2
    complaint = capsys.readouterr().err
    assert "takes no audio type token" in " ".join(complaint.split())
    assert "Traceback" not in complaint


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("audio-type {0}/clips.jsonl {0}/x --start {0}", "is no run and holds none"),
        ("audio-type {0}/clips.jsonl {0}/x", "name it with --start"),
        ("audio-type {0}/clips.jsonl {0}/x --start {0}/r --epochs 1", "--epochs has no effect"),
        ("world-modality {0}/nowhere.jsonl {0}/x", "nowhere.jsonl"),
        ("world-fusion {0}/clips.jsonl {0}/x --start {0}/nowhere", "--start: {0}/nowhere is no run"),
        ("world-modality {0}/clips.jsonl {0}/mine.py {0}/x", "trains on its clips: name one manifest"),
        ("world-components {0}/clips.jsonl {0}/x", "name the clips with --pretraining"),
        ("world-fusion {0}/clips.jsonl {0}/x --pretraining {0}/clips.jsonl", "--pretraining has no effect"),
        ("world-fusoin {0}/clips.jsonl {0}/x", "did you mean 'world-fusion'?"),
        ("{0}/mine.py:NOTHING {0}/clips.jsonl {0}/x", "it holds BATCHES"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_2(line, said, world, command, capsys):
    (world / "mine.py").write_text(MINE)
    write_experiment(world / "r" / "experiment.json", MODALITY.rows[0].experiment)
    assert command("study " + line.format(world)) == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert said.format(world) in complaint
    assert "Traceback" not in complaint
    assert not (world / "x").exists()
