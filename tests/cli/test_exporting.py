"""`export`, and what it makes in the place of a run."""

import json
import wave

import numpy as np
import pytest
from PIL import Image

from trichord.checkpoint import Progress, Run, fresh_model
from trichord.cli import main
from trichord.config import Experiment

RATE = 16_000


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    for pitch in (200, 3000):
        time = np.arange(RATE) / RATE
        with wave.open(str(folder / f"tone-{pitch}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            samples = 8000 * np.sin(2 * np.pi * pitch * time)
            file.writeframes(samples.astype(np.int16).tobytes())
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 40, 200))):
        Image.new("RGB", (48, 48), colour).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def run(tiny_clip4vla, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    experiment = Experiment(system="made", model=tiny_clip4vla)
    Run(path).start(experiment, "none")
    Run(path).finish(fresh_model(experiment), experiment.objective.build(), Progress())
    return path


@pytest.fixture(scope="module")
def deployed(run, media, tmp_path_factory):
    """The run as graphs, and what the command said."""
    path = tmp_path_factory.mktemp("exports") / "export"
    assert main(["export", str(run), str(path), "--check", str(media)]) == 0
    return path


@pytest.fixture(scope="module")
def collections(run, deployed, media, tmp_path_factory):
    """The media as the run and as the export see and hear them."""
    root, places = tmp_path_factory.mktemp("collections"), []
    for model in (run, deployed):
        places.append(root / model.name)
        assert main(["index", str(media), str(places[-1]), "--model", str(model)]) == 0
    return places


def test_an_export_stands_in_the_place_of_a_run(collections, capsys):
    found = []
    for collection in collections:
        capsys.readouterr()
        assert main(["search", str(collection), "a red ball", "--json"]) == 0
        hits = json.loads(capsys.readouterr().out)
        found.append({hit["moment"]["file"]: hit["score"] for hit in hits})
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) == 4
    for file, score in found[0].items():
        assert found[1][file] == pytest.approx(score, abs=1e-3)


def test_a_collection_does_not_take_vectors_of_both(deployed, collections, media, capsys):
    capsys.readouterr()
    assert main(["index", str(media), str(collections[0]), "--model", str(deployed)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_vectors_are_compared_on_the_clips_that_are_named(run, media, tmp_path, capsys):
    line = ["export", str(run), str(tmp_path / "half"), "--bf16", "--check", str(media)]
    assert main(line) == 0
    said = capsys.readouterr()
    assert "on 5 clips and 16 texts of our own" in said.out
    assert "broken.png" in said.err
    for name in ("text", "vision", "audio"):
        assert f"\n  {name} " in said.out
    assert "torch, bfloat16" in said.out
    assert main([*line[:2], str(tmp_path / "other"), "--bf16"]) == 0
    assert "on noise, for want of --check" in capsys.readouterr().out


def test_captions_of_a_manifest_are_compared_too(run, media, tmp_path, capsys):
    caption = {"text": "a red ball", "about": "visual"}
    lines = [
        json.dumps({"id": name, "path": str(media / f"{name}.png"), "captions": [caption]})
        for name in ("red", "blue")
    ]
    manifest = tmp_path / "clips.jsonl"
    manifest.write_text("\n".join(lines))
    line = ["export", str(run), str(tmp_path / "half"), "--bf16", "--check", str(manifest)]
    assert main(line) == 0
    assert "on 2 clips and 1 captions" in capsys.readouterr().out


def test_a_tower_that_is_too_far_away_is_named_with_its_worst_clip(run, media, tmp_path, capsys):
    path = tmp_path / "half"
    line = ["export", str(run), str(path), "--bf16", "--check", str(media), "--least", "1"]
    assert main(line) == 2
    [said] = [one for one in capsys.readouterr().err.splitlines() if "cosine" in one]
    assert said.startswith("trichord export: the text tower has a cosine of ")
    assert "below --least 1:" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--int8 --bf16", "exclude each other"),
        ("--clips 0", "--clips 0: give a number from 1 to 1000000"),
        ("--check no-such-folder", "no such file or folder"),
        ("--clips 3", "--clips has no effect with noise"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(options, why, tmp_path, capsys):
    line = ["export", "clip-clap", str(tmp_path / "export"), *options.split()]
    assert main(line) == 2
    assert why in capsys.readouterr().err


def test_a_folder_with_something_in_it_is_left_alone(run, tmp_path, capsys):
    (tmp_path / "mine").touch()
    assert main(["export", str(run), str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
