import json
import shutil
import subprocess
from dataclasses import replace

import av
import pytest
from transformers import CLIPModel

from trichord.checkpoint import Origin, Progress, Run, fresh_model
from trichord.checkpoint.environment import differences, git_state, made_with, revisions
from trichord.config import ClipText, Experiment
from trichord.media import file_signature


def git(folder, *command):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", folder, *who, *command], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    """A package in a git checkout."""
    git(tmp_path, "init")
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    git_state.cache_clear()
    return package


def test_the_commit_of_the_code_is_noted_and_whether_it_was_changed(checkout):
    clean = git_state(checkout)
    assert len(clean["commit"]) == 40
    assert clean["changed"] is False
    (checkout.parent / "elsewhere.txt").write_text("of no matter")
    (checkout / "new.py").write_text("")
    git_state.cache_clear()
    assert git_state(checkout) == clean | {"changed": True}


def test_a_package_that_only_lies_in_somebodys_checkout_has_no_commit(checkout, tmp_path):
    (tmp_path / ".gitignore").write_text(".venv\n")
    installed = tmp_path / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert git_state(installed) is None


def test_outside_of_any_checkout_or_without_git_there_is_no_commit(tmp_path, monkeypatch):
    git_state.cache_clear()
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    git_state.cache_clear()
    assert git_state(tmp_path / "elsewhere") is None


def test_towers_of_a_hub_are_noted_by_their_commit(experiment, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    there = tmp_path / "models--some--clip"
    (there / "snapshots" / commit).mkdir(parents=True)
    (there / "snapshots" / commit / "config.json").write_text("{}")
    (there / "refs").mkdir()
    (there / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    hubs = replace(experiment, model=replace(experiment.model, text=ClipText(name="some/clip")))
    assert revisions(hubs) == {"some/clip": commit}
    assert revisions(experiment) == {}


def test_a_run_keeps_to_the_commit_of_its_towers_when_the_hub_moves_on(
    tiny_trimodal, tiny_towers, tmp_path, monkeypatch
):
    there = tmp_path / "models--some--clip"
    first, second = ("0" * 39 + str(number) for number in (1, 2))
    shutil.copytree(tiny_towers / "clip", there / "snapshots" / first)
    (there / "refs").mkdir()
    (there / "refs" / "main").write_text(first)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = tiny_trimodal.renamed({tiny_trimodal.text.name: "some/clip"})
    experiment, run = Experiment(system="x", model=model), Run(tmp_path / "run")
    run.start(experiment, "abc")
    run.finish(fresh_model(experiment), experiment.objective.build(), Progress())
    before = run.load().fingerprint

    another = CLIPModel.from_pretrained(there / "snapshots" / first)
    for value in another.parameters():
        value.data += 0.1
    shutil.copytree(there / "snapshots" / first, there / "snapshots" / second)
    another.save_pretrained(there / "snapshots" / second)
    (there / "refs" / "main").write_text(second)
    assert fresh_model(experiment).fingerprint != before
    assert run.load().fingerprint == before
    assert Run(run.path).experiment() == experiment


def test_the_manifest_is_noted_by_place_and_content(experiment, tmp_path, monkeypatch):
    (tmp_path / "clips.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    run = Run(tmp_path / "run")
    run.start(experiment, Origin(path=Path("clips.jsonl"), source="media", device="cpu"))
    noted = run.environment()
    assert noted["manifest"] == file_signature(tmp_path / "clips.jsonl")
    assert noted["origin"] == {
        "path": str(tmp_path / "clips.jsonl"),
        "source": "media",
        "features": None,
        "device": "cpu",
        "sharding": False,
    }
    assert noted["versions"]["ffmpeg"] == av.ffmpeg_version_info
    assert noted["ranks"] == 1
    run.start(experiment, noted["manifest"])  # the mark alone will do to go on


def test_what_an_earlier_version_noted_is_enough_to_go_on(experiment, tmp_path):
    run = Run(tmp_path / "run")
    run.start(experiment, "abc")
    old = {"versions": {"torch": "2.8.0"}, "python": "3.11.1", "manifest": "abc"}
    (run.path / "environment.json").write_text(json.dumps(old))
    run.start(experiment, "abc")
    assert run.environment() == old


def test_differences_are_a_line_each_and_what_was_not_noted_is_passed_over(experiment):
    now = made_with(experiment) | {"git": {"commit": "b", "changed": False}}
    assert differences(json.loads(json.dumps(now)), now) == []
    then = {"versions": {"torch": "1.0"}, "python": now["python"], "cores": 96, "manifest": "m"}
    assert differences(then, now) == [
        f"versions torch: 1.0 then, {now['versions']['torch']} now",
        f"cores: 96 then, {now['cores']} now",
    ]


def test_changes_that_no_commit_holds_may_be_others_each_time():
    def of(*changed):
        then, now = ({"git": {"commit": "a", "changed": one}} for one in changed)
        return differences(then, now)

    assert of(False, False) == []
    assert of(False, True) == ["git changed: False then, True now"]
    assert of(True, True) == [
        "git: then and now with changes that no commit holds, which may not be the same"
    ]
    assert differences({"git": None}, {"git": None}) == []
