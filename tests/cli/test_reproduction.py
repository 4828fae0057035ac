import json
import shutil

import pytest
import torch

from trichord.api.training import fit
from trichord.checkpoint import Run, fresh_model
from trichord.checkpoint.tensor_files import read_tensors, write_tensors
from trichord.config import Draw, Experiment, Stage
from trichord.corpora.manifest import write_manifest
from trichord.features.extraction import extract_media, extract_texts
from trichord.features.store import FeatureFolder
from trichord.types import Caption, Clip


@pytest.fixture
def trained(tiny_clip4vla, made_up, tmp_path, monkeypatch):
    """A run of three epochs on ten clips, whose manifest and features lie beside it."""
    # Who works on the code has changes that no commit holds, which is told.
    monkeypatch.setattr("trichord.checkpoint.environment.git_state", lambda package: None)
    clips = [
        Clip(
            id=f"c{i}",
            path=f"/made/up/c{i}.mp4",
            captions=(Caption(text=f"sound {i}", about="audio"),),
            split="train" if i < 6 else "val",
        )
        for i in range(10)
    ]
    stage = Stage(
        name="listening",
        trains=("audio",),
        draws=(Draw(captions=("audio",), terms=("at",)),),
        criterion=("audio<-audio",),
        batch_size=4,
        epochs=2,
    )
    experiment = Experiment(system="listening", model=tiny_clip4vla, stages=(stage,))
    manifest = tmp_path / "clips.jsonl"
    write_manifest(manifest, clips)
    folder, model = FeatureFolder.beside(manifest), fresh_model(experiment)
    list(extract_texts(model, [clip.captions[0].text for clip in clips], folder))
    list(extract_media(model, clips, folder, made_up, ("audio",)))
    fit(experiment, manifest, tmp_path / "run", device="cpu")
    return Run(tmp_path / "run")


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_run_is_made_again_bit_for_bit_and_its_numbers_are_set_side_by_side(
    trained, command, capsys
):
    assert command(f"reproduce {trained.path}") == 0
    told = capsys.readouterr().out
    assert "Versions, code, towers and machine are those that the run was made with." in told
    assert f"{trained.path}: reproduced, bit for bit." in told
    assert "Epochs whose numbers agree bit for bit: 3 of 3." in told
    again = Run(trained.path.with_name("run-again"))
    one, other = trained.weights()[0], again.weights()[0]
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert again.metrics() == trained.metrics()
    assert command(f"reproduce {trained.path}") == 2  # else it would compare with what was there
    assert "run-again holds a finished run: delete it" in capsys.readouterr().err


def test_what_is_not_as_it_was_is_told_first_and_how_far_the_numbers_are_apart(
    trained, command, capsys, tmp_path
):
    noted = trained.environment()
    versions = noted["versions"] | {"torch": "1.0"}
    rewrite(trained.path / "environment.json", versions=versions, cores=999)
    lines = trained.metrics()
    lines[1]["loss"] += 0.25
    (trained.path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    path = trained.path / "weights.safetensors"
    tensors, notes = read_tensors(path)
    tensors["model.audio.head.weight"][0, 0] += 0.5
    write_tensors(path, tensors, notes)
    with pytest.raises(SystemExit) as ended:
        command(f"reproduce {trained.path} --into {tmp_path}/elsewhere")
    assert ended.value.code == 1
    told = capsys.readouterr().out
    first, then = told.split("Stage", 1)
    assert f"versions torch: 1.0 then, {torch.__version__.split('+')[0]}" in first
    assert "cores: 999 then," in first
    assert "apart by 2.5e-01" in then
    assert "Epochs whose numbers agree bit for bit: 2 of 3." in then
    assert "up to 5.0e-01 apart (model.audio.head.weight)" in " ".join(then.split())
    assert "not reproduced bit for bit." in then


def test_a_manifest_that_is_gone_moved_or_changed_is_named(trained, command, capsys, tmp_path):
    manifest, moved = tmp_path / "clips.jsonl", tmp_path / "moved" / "clips.jsonl"
    moved.parent.mkdir()
    shutil.copy(manifest, moved)
    manifest.write_text(manifest.read_text() + "\n")
    assert command(f"reproduce {trained.path}") == 2
    assert "clips.jsonl is not the manifest that" in capsys.readouterr().err
    manifest.unlink()
    assert command(f"reproduce {trained.path}") == 2
    assert "is gone: name where it lies now by --manifest" in capsys.readouterr().err
    # Features lie beside the manifest: with it they have moved, too.
    shutil.copytree(FeatureFolder.beside(manifest).path, FeatureFolder.beside(moved).path)
    # As an earlier version left it, which did not note the place.
    noted = trained.environment()
    del noted["origin"]
    (trained.path / "environment.json").write_text(json.dumps(noted))
    assert command(f"reproduce {trained.path}") == 2
    assert "did not note where its manifest lies: name it by --manifest" in capsys.readouterr().err
    assert command(f"reproduce {trained.path} --manifest {moved} --device cpu") == 0


def test_there_must_be_something_to_compare_with(trained, command, capsys, tmp_path):
    (trained.path / "weights.safetensors").unlink()
    assert command(f"reproduce {trained.path}") == 2
    assert "is not finished: repeat its 'trichord train' command" in capsys.readouterr().err
    assert command(f"reproduce {tmp_path}/nowhere") == 2
    assert "nowhere is no run" in capsys.readouterr().err
    untrained = Run(tmp_path / "untrained")
    untrained.start(Experiment(system="x", model=trained.experiment().model), "m")
    assert command(f"reproduce {untrained.path}") == 2
    assert "nothing was trained in it" in capsys.readouterr().err
