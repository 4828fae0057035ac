"""`trichord compose`: manifests in and out, a kill in between, and refusals."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from chat_server import said, server

from trichord.corpora.manifest import read_manifest, read_recipes


@pytest.fixture
def manifest(tmp_path):
    rows = [
        {
            "id": name,
            "path": f"{name}.mp4",
            "captions": [
                {"text": f"{name} barks", "about": "audio"},
                {"text": f"{name} runs", "about": "visual"},
            ],
        }
        for name in ("ann", "bob", "cid", "dan")
    ]
    rows.append({"id": "mute", "path": "mute.mp4"})
    path = tmp_path / "clips.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@contextmanager
def naming(before=lambda n: None):
    """A server that answers with the name in a prompt; `before` is called with the request's number."""
    prompts = []

    def answer(asked, number):
        prompts.append(asked["messages"][0]["content"])
        before(number)
        words = [w for w in prompts[-1].split() if w in ("ann", "bob", "cid", "dan")]
        return said(f"{words[0]} runs and barks, {asked['seed'] % 7}")

    with server(answer) as (url, _):
        yield url, prompts


def test_without_a_model_a_template_is_used_and_the_manifest_says_so(manifest, command, capsys):
    assert command(f"compose {manifest} --captions 2") == 0
    told = capsys.readouterr()
    assert "4 composed captions (template), recipe" in told.out
    assert "1 clips skipped for want of a caption of sound and picture: mute" in told.err
    clips = read_manifest(manifest)
    [(name, recipe)] = read_recipes(manifest).items()
    assert clips[0].captions[2].text == "ann runs; the sound: ann barks"
    assert (clips[0].captions[2].kind, clips[0].captions[2].recipe) == ("composed", name)
    assert (recipe["prompt"], recipe["model"]) == ("{visual}; the sound: {audio}", "")
    before = manifest.read_text()
    assert command(f"compose {manifest} --captions 2") == 0
    assert "0 composed captions" in capsys.readouterr().out
    assert manifest.read_text() == before


def test_a_killed_command_goes_on_where_it_was(manifest, command, tmp_path, capsys):
    running = []
    out = tmp_path / "new" / "out.jsonl"
    with naming(lambda n: n == 6 and running and os.kill(running[0].pid, signal.SIGKILL)) as (
        url,
        prompts,
    ):
        line = f"compose {manifest} {out} --model m --endpoint {url} --captions 2"
        running.append(subprocess.Popen([sys.executable, "-m", "trichord", *line.split()]))
        assert running[0].wait() == -signal.SIGKILL
        running.clear()
        assert not out.exists()
        assert len(prompts) == 6  # the third clip's second answer never arrived
        assert command(line) == 0
        assert len(prompts) == 6 + 4  # the third clip again, and the fourth
    captions = {clip.id: [c.text for c in clip.captions if c.recipe] for clip in read_manifest(out)}
    assert {name: len(set(texts)) for name, texts in captions.items()} == {
        "ann": 2, "bob": 2, "cid": 2, "dan": 2, "mute": 0,
    }  # fmt: skip
    assert all(text.startswith(name) for name, texts in captions.items() for text in texts)
    assert list(out.parent.iterdir()) == [out]
    [recipe] = read_recipes(out).values()
    assert "Answer with this sentence only" in recipe["prompt"]
    assert (recipe["model"], recipe["temperature"], recipe["seed"]) == ("m", 0.7, 0)
    assert read_manifest(out)[0].path == str(tmp_path / "ann.mp4")


def test_a_second_recipe_adds_to_the_first(manifest, command, tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Short: {visual} {audio}\n")
    with naming() as (url, prompts):
        assert command(f"compose {manifest}") == 0
        line = f"compose {manifest} --model m --endpoint {url} --captions 1 --prompt {prompt}"
        assert command(line) == 0
        assert prompts[0] == "Short: ann runs ann barks"
    assert [r["prompt"] for r in read_recipes(manifest).values()] == [
        "{visual}; the sound: {audio}",
        "Short: {visual} {audio}",
    ]
    assert [c.source for c in read_manifest(manifest)[0].captions] == [
        "crowd", "crowd", "template", "llm",
    ]  # fmt: skip


def test_adding_a_corpus_keeps_the_recipes(manifest, command, tmp_path):
    assert command(f"compose {manifest}") == 0
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "zoe.png").write_bytes(b"x")
    assert command(f"prepare folder {tmp_path}/more {manifest} --append") == 0
    assert len(read_manifest(manifest)) == 6
    assert len(read_recipes(manifest)) == 1


def test_clips_without_both_kinds_of_captions_are_refused(command, tmp_path, capsys):
    path = tmp_path / "clips.jsonl"
    path.write_text('{"id": "a", "path": "a.mp4"}\n')
    assert command(f"compose {path} {tmp_path}/out.jsonl") == 2
    assert "nothing was composed of its 1 clips" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_another_manifest_is_replaced_by_force_alone(manifest, command, tmp_path, capsys):
    out = tmp_path / "new.jsonl"
    out.write_text(manifest.read_text())
    before = out.read_text()
    assert command(f"compose {manifest} {out}") == 2
    assert "new.jsonl is there already, without captions of this recipe" in capsys.readouterr().err
    assert out.read_text() == before
    assert command(f"compose {manifest} {out} --force") == 0
    assert out.read_text() != before
    assert command(f"compose {manifest} {out}") == 0  # of the same recipe
    assert command(f"compose {manifest} {out} --captions 1") == 2
