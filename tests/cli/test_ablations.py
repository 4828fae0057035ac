"""`trichord ablate` from end to end: an epoch a row, on worlds of a few clips."""

import json

import pytest
from PIL import Image

from trichord.checkpoint import Run
from trichord.experiments.ablations import COMPONENTS, FUSIONS, MODALITIES, TOKENS

FEW = "--world --epochs 1 --seeds 0"


@pytest.fixture(scope="module")
def world(tmp_path_factory, command):
    """A folder with a rendered world of eight clips and its manifest."""
    root = tmp_path_factory.mktemp("ablations")
    assert command(f"world {root}/world --train 4 --val 2 --test 2 --seed 5") == 0
    assert command(f"prepare avcaps {root}/world {root}/clips.jsonl") == 0
    return root


@pytest.fixture(scope="module")
def modality(world, command):
    """Where the ablation of the modalities lies."""
    assert command(f"ablate modality {world}/clips.jsonl {world}/modality {FEW}") == 0
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


def test_a_row_is_trained_measured_and_written_on_the_captions_asked_for(
    world, command, capsys, monkeypatch
):
    (row,) = rows = tuple(row for row in MODALITIES if row.name == "audio")
    monkeypatch.setattr("trichord.experiments.ablations.MODALITIES", rows)
    place = world / "narrow"
    line = f"ablate modality {world}/clips.jsonl {place} {FEW} --captions audio"
    assert command(line) == 0
    assert "R@10" in capsys.readouterr().out
    held = read(place / "modality.json")
    (system,) = held["systems"]
    assert (system["name"], system["seeds"]) == ("audio", [0])
    ((task, numbers),) = system["rows"].items()
    assert task == "audio<-audio"
    run = Run(place / row.name / "seed-0")
    (stage,) = run.experiment().stages
    assert [draw.captions for draw in stage.draws] == [("audio",)]
    assert stage.criterion == ("audio<-audio",)
    assert [numbers["epoch"] for numbers in run.metrics()] == [0, 1]
    report = read(run.path / "evaluation.json")
    (measured,) = [one for one in report["rows"] if one["name"] == task]
    assert numbers["cells"]["R@10"]["values"] == [measured["estimates"]["R@10"]["value"]]
    assert numbers["cells"]["median rank"]["values"] == [measured["numbers"]["median rank"]]
    assert held["protocol"].startswith("test split")
    assert drawn(place / "modality.png")
    weights = (run.path / "weights.safetensors").read_bytes()
    assert command(line) == 0
    assert "already trained" in capsys.readouterr().out
    assert read(place / "modality.json") == held
    assert (run.path / "weights.safetensors").read_bytes() == weights


def test_an_impossible_extent_is_refused_before_features_are_read(world, command, capsys):
    before = sorted(world.iterdir())
    for options, said in (("--epochs 0", "--epochs 0: give"), ("--device gpu", "give auto")):
        line = f"ablate modality {world}/clips.jsonl {world}/idle --world --seeds 0 {options}"
        assert command(line) == 2
        assert said in capsys.readouterr().err
    assert sorted(world.iterdir()) == before


@pytest.mark.slow
def test_sight_sound_and_both_are_set_side_by_side(modality):
    held = read(modality / "modality.json")
    assert [one["name"] for one in held["systems"]] == ["vision", "audio", "both"]
    for one, row in zip(held["systems"], MODALITIES, strict=True):
        assert one["rows"]
        assert set(one["rows"]) <= set(row.tasks)
        assert Run(modality / row.name / "seed-0").complete
    assert drawn(modality / "modality.png")


@pytest.mark.slow
def test_sound_tokens_are_swept_from_verbal_to_nonverbal(modality, world, command):
    place = world / "tokens"
    assert command(f"ablate sound-token {modality}/audio {world}/clips.jsonl {place}") == 0
    held = read(place / "sound-token-clips.json")
    assert [one["name"] for one in held["systems"]] == [f"{token:g}" for token in TOKENS]
    assert all(one["rows"] for one in held["systems"])
    assert drawn(place / "sound-token.png")
    assert "and so on to 1" in held["protocol"]  # no line of one token stands for all eleven
    # What the ablation asked in passing is not what the run is measured by.
    assert (
        read(modality / "audio" / "seed-0" / "evaluation.json")["protocol"]["sound_token"] is None
    )


@pytest.mark.slow
def test_components_are_pretrained_and_fine_tuned_row_by_row(world, pretraining, command):
    place = world / "components"
    line = f"ablate components {world}/clips.jsonl {pretraining} {place} {FEW} --captions audio"
    assert command(line) == 0
    held = read(place / "components.json")
    assert [one["name"] for one in held["systems"]] == [row.name for row in COMPONENTS]
    assert all(list(one["rows"]) == ["audio<-audio"] for one in held["systems"])
    folders = ("scratch", "initial", "inter-modal", "intra-modal", "soundtoken")
    for folder, row in zip(folders, COMPONENTS, strict=True):
        experiment = Run(place / folder / "seed-0").experiment()
        first = place / folder / "pretraining" / "seed-0"
        assert experiment.start == (first if row.pretraining else None)
        assert first.exists() == (row.pretraining is not None)
        if row.pretraining:
            (stage,) = Run(first).experiment().stages
            assert stage.nonverbal_share == 0.5
            assert Run(first).experiment().model.audio.token == row.pretraining.model.audio.token
    assert drawn(place / "components.png")


@pytest.mark.slow
def test_fusions_start_from_a_pretrained_run_and_differ(world, modality, command):
    place = world / "fusion"
    line = f"ablate fusion {world}/clips.jsonl {place} {FEW} --start {modality}/audio"
    assert command(line) == 0
    held = read(place / "fusion.json")
    assert [one["name"] for one in held["systems"]] == [row.name for row in FUSIONS]
    for row in FUSIONS:
        experiment = Run(place / row.name / "seed-0").experiment()
        assert experiment.start == modality / "audio" / "seed-0"
        assert type(experiment.model.fusion) is type(row.retrieval.model.fusion)
    numbers = {str(one["rows"]) for one in held["systems"]}
    assert len(numbers) > 1
    assert drawn(place / "fusion.png")


def test_a_run_without_sound_tokens_is_refused_in_one_line(world, command, capsys):
    assert command(f"train world-untrained {world}/clips.jsonl {world}/untrained") == 0
    line = f"ablate sound-token {world}/untrained {world}/clips.jsonl {world}/none"
    assert command(line) == 2
    complaint = capsys.readouterr().err
    assert "takes no sound token" in " ".join(complaint.split())
    assert "Traceback" not in complaint


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("ablate sound-token {0} {0}/clips.jsonl {0}/tokens", "is no run and holds none"),
        ("ablate modality {0}/nowhere.jsonl {0}/x --world --epochs 1 --seeds 0", "nowhere.jsonl"),
        (
            "ablate fusion {0}/clips.jsonl {0}/x --world --epochs 1 --seeds 0 --start {0}/nowhere",
            "--start: {0}/nowhere is no run and holds none",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(line, told, world, command, capsys):
    assert command(line.format(world)) == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert told.format(world) in complaint
    assert "Traceback" not in complaint
