"""`extract` and `index` in shards, from the command line."""

from pathlib import Path

import numpy as np
import pytest

from trichord.api.model import embedder_of
from trichord.bulk.options import BulkOptions
from trichord.cli.extraction import decoders_of, towers_of
from trichord.config import Experiment
from trichord.features.reading import folder_of
from trichord.features.store import FeatureFolder
from trichord.search.collection import StoredCollection


def rows_of(folder):
    found = {}
    for name, tower in embedder_of("world-clip-clap").encoders().items():
        table = folder.table(name, tower).rows(["key", "origin", "status", "values"])
        found[name] = table.sort_by("key").to_pylist()
    return found


@pytest.mark.slow
def test_shards_make_the_same_features_in_a_bucket_too(
    small_world, command, bucket, tmp_path, capsys
):
    capsys.readouterr()
    manifest = small_world / "clips.jsonl"
    line = f"extract {manifest} --model world-clip-clap --features {bucket} --shards 2"
    assert command(line) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{bucket}: 68 clips (")
    made, other = rows_of(FeatureFolder(bucket)), rows_of(FeatureFolder.beside(manifest))
    # CLAP pads its captions to the longest of a batch, which moves their last bits.
    words, others = (
        [np.frombuffer(row.pop("values"), "<f4") for row in found["sound_text"]]
        for found in (made, other)
    )
    np.testing.assert_allclose(np.stack(words), np.stack(others), atol=1e-5, rtol=0)
    assert made == other
    assert command(line) == 0
    assert f"{bucket}: 68 clips (68 done)" in capsys.readouterr().out
    few = "--stages.0.epochs 1 --stages.0.batch-size 16"
    train = f"train world-slava-av {small_world}/clips.jsonl {tmp_path}/run --features {bucket}"
    assert command(f"{train} {few}") == 0


@pytest.mark.slow
def test_files_read_in_shards_are_found_as_others_are(small_world, command, tmp_path):
    line = f"index {small_world}/world"
    for name, how in (("one", ""), ("two", "--shards 2")):
        assert (
            command(
                f"{line} {tmp_path}/{name} --model world-clip-clap --no-speech --seconds 2 {how}"
            )
            == 0
        )
    one, two = (StoredCollection.open(tmp_path / name).table.files() for name in ("one", "two"))
    assert one == two
    assert len(one) == 68


@pytest.mark.parametrize("wrong", ["--jobs 0 --runner ray", "--shards 0"])
@pytest.mark.parametrize("asked", ["extract", "index"])
def test_nobody_works_with_less_than_one(asked, wrong, command, tmp_path, capsys):
    line = f"{tmp_path}/c.jsonl" if asked == "extract" else f"{tmp_path} {tmp_path}/c"
    assert command(f"{asked} {line} {wrong}") == 2
    assert f"{wrong.split(' --runner')[0]}: give a number from 1 to 1" in capsys.readouterr().err


def test_decoders_that_are_not_as_many_as_asked_for_are_named(capsys):
    assert decoders_of(BulkOptions(runner="ray", jobs=4), 2) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said == "4 processes decode, 1 for each of --jobs 4, instead of --workers 2."
    assert decoders_of(BulkOptions(runner="ray", jobs=2), 4) == 2
    assert decoders_of(BulkOptions(), 3) == 3
    assert capsys.readouterr().err == ""


def test_an_embedding_anew_is_not_shared_out(command, tmp_path, capsys):
    assert command(f"index {tmp_path}/c --reembed --runner ray") == 2
    assert "leave out --runner and --shards" in capsys.readouterr().err


def test_others_load_what_the_command_names(runs):
    run = towers_of(str(runs / "clip-clap"), "cpu", 2)
    assert run.model == (runs / "clip-clap").absolute()
    experiment = towers_of("world-clip-clap", "cpu", 2, runs / "clip-clap")
    assert isinstance(experiment.model, Experiment)
    assert experiment.model.start == (runs / "clip-clap").absolute()


@pytest.mark.parametrize("given", ["elsewhere", "s3://bucket/prefix"])
def test_features_lie_where_they_are_said_to(tmp_path, given, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder_of(Path("clips.jsonl"), Path(given)).name == given


TRUNK = "--model.vision vision-trunk --model.vision.dim 128 --model.vision.name"


def test_the_encoders_of_an_experiment_are_chosen_as_train_chooses_them(
    corpus, command, tmp_path, capsys
):
    from small_trunks import dinov2

    chosen = f"--model world-slava-a-and-v {TRUNK} {dinov2(tmp_path / 'dinov2')}"
    features = f"--features {tmp_path}/features"
    assert command(f"extract {corpus}/clips.jsonl {chosen} {features}") == 0
    assert "40 clips" in capsys.readouterr().out
    line = chosen.replace("--model world-slava-a-and-v", f"{tmp_path}/run {features}")
    few = "--stages.0.epochs 1 --stages.0.batch-size 8"
    assert command(f"train world-slava-a-and-v {corpus}/clips.jsonl {line} {few}") == 0
    assert embedder_of(str(tmp_path / "run")).vision.width == 32


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--model @run --model.vision clip-vision", "--model.vision: '@run' is a run and has"),
        ("--model.vision.nam odd", "--model.vision.nam: no such option: 'trichord extract"),
        ("--model.vision clip-visio", "did you mean 'clip-vision'?"),
        ("--model.vision", "--model.vision: a value is missing"),
        ("--model slava-aandv --model.vision clip-vision", "did you mean 'slava-a-and-v'?"),
        ("--model.audio.dim 0", "--model.audio.dim"),
    ],
)
def test_encoders_that_cannot_be_chosen_are_refused_in_one_line(
    options, told, small_world, runs, command, tmp_path, capsys
):
    run = str(runs / "slava-av" / "seed-0")
    line = f"extract {small_world}/clips.jsonl --features {tmp_path}/features {options}"
    assert command(line.replace("@run", run)) == 2
    complaint = capsys.readouterr().err
    assert told.replace("@run", run) in complaint
    assert complaint.count("\n") == 1
    assert not (tmp_path / "features").exists()
