"""The README's own way on a hub's weights, from the first verb to the last, online and then offline."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from model_hub import STATES, ModelHub, visiting

from trichord.checkpoint import Run
from trichord.config import CLAP, CLIP
from trichord.encoders import hub as module
from trichord_world.weights import STAND_INS

FEW = "--stages.0.epochs 1 --stages.0.batch-size 8"


def whole_way(command, corpus, root):
    """Every verb of the README in one process; gives the run."""
    root.mkdir()
    (root / "clips.jsonl").write_text((corpus / "clips.jsonl").read_text())
    for line in (
        f"index {corpus}/media {root}/zero --no-speech",
        f"search {root}/zero siren",
        f"extract {root}/clips.jsonl --model clip-clap",
        f"train slava-a-and-v {root}/clips.jsonl {root}/run {FEW}",
        f"evaluate {root}/run {root}/clips.jsonl",
        f"index {corpus}/media {root}/aligned --model {root}/run --no-speech",
        f"search {root}/aligned siren --audio-weight 2",
    ):
        module._from_hub.cache_clear()  # as in a process of its own
        assert command(line) == 0, line
    return Run(root / "run")


def served(collection, hub, cache, *, offline):
    """What a search over HTTP finds, asked of a real service."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": str(int(offline)),
    }
    line = [sys.executable, "-m", "trichord", "serve", str(collection), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, env=environment, **pipes) as serving:
        try:
            address = serving.stdout.readline().split()[0]
            asked = urllib.request.Request(
                f"{address}api/search",
                json.dumps({"parts": [{"text": "a siren"}], "k": 3}).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(asked) as answer:
                return [(hit["name"], hit["score"]) for hit in json.load(answer)["hits"]]
        finally:
            serving.send_signal(signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_every_verb_works_on_a_hubs_weights_online_and_offline(
    state, corpus, command, tmp_path, monkeypatch
):
    pytest.importorskip("uvicorn", reason='the extra "serve" is not installed')
    hub, cache = ModelHub(tmp_path / "hub"), tmp_path / "cache"
    hub.publish(CLIP, STAND_INS["stand-in-clip"], state)
    hub.publish(CLAP, STAND_INS["stand-in-clap"], state)
    with hub.serving():
        with visiting(hub, monkeypatch, cache):
            online = whole_way(command, corpus, tmp_path / "online")
            found = served(tmp_path / "online" / "aligned", hub, cache, offline=False)
        hub.down = True
        with visiting(hub, monkeypatch, cache, offline=True):
            offline = whole_way(command, corpus, tmp_path / "offline")
            again = served(tmp_path / "offline" / "aligned", hub, cache, offline=True)
    assert not [path for _, path in hub.asked if "/pr/" in path or "discussions" in path]
    assert found == again
    assert len(found) == 3
    for run in (online, offline):
        assert run.environment()["towers"] == {name: hub.commit(name) for name in (CLIP, CLAP)}
    same, prints = online.weights()
    others, their_prints = offline.weights()
    assert prints == their_prints == prints_of_folders()
    assert all((same[name] == others[name]).all() for name in same)


def prints_of_folders():
    """Fingerprints of the same towers by folder."""
    from dataclasses import replace

    from trichord.experiments import EXPERIMENTS

    model = EXPERIMENTS["slava-a-and-v"][1].model
    there = {CLIP: str(STAND_INS["stand-in-clip"]), CLAP: str(STAND_INS["stand-in-clap"])}
    towers = replace(model.renamed(there)).build().encoders()
    return {name: tower.fingerprint for name, tower in towers.items()}


def trained(state, corpus, command, place, monkeypatch):
    """A run on towers of a hub with weights in a state; gives the hub, and the run's own manifest."""
    hub = ModelHub(place / "hub")
    hub.publish(CLIP, STAND_INS["stand-in-clip"], state)
    hub.publish(CLAP, STAND_INS["stand-in-clap"], state)
    clips = place / "clips.jsonl"
    clips.write_text((corpus / "clips.jsonl").read_text())
    with hub.serving(), visiting(hub, monkeypatch, place / "cache"):
        assert command(f"extract {clips} --model slava-a-and-v") == 0
        assert command(f"train slava-a-and-v {clips} {place}/run {FEW}") == 0
    return hub, clips


def test_a_run_finds_its_towers_when_its_commit_is_gone(corpus, command, tmp_path, monkeypatch):
    """Somebody has rewritten the hub's history, and adds safetensors: the content is the same."""
    _, clips = trained("bin", corpus, command, tmp_path, monkeypatch)
    moved = ModelHub(tmp_path / "moved")
    moved.publish(CLIP, STAND_INS["stand-in-clip"], "safetensors")
    moved.publish(CLAP, STAND_INS["stand-in-clap"], "sharded")
    with moved.serving(), visiting(moved, monkeypatch, tmp_path / "another-cache"):
        assert command(f"evaluate {tmp_path}/run {clips}") == 0


def test_a_run_with_another_tokenizer_is_refused(
    corpus, command, tiny_towers, tmp_path, monkeypatch, capsys
):
    hub, clips = trained("safetensors", corpus, command, tmp_path, monkeypatch)
    tokenizer = hub.folder(CLIP, "main") / "tokenizer.json"
    document = json.loads(tokenizer.read_text())
    merges = document["model"]["merges"]
    merges[0], merges[-1] = merges[-1], merges[0]
    tokenizer.write_text(json.dumps(document))
    capsys.readouterr()
    with hub.serving(), visiting(hub, monkeypatch, tmp_path / "another-cache"):
        assert command(f"evaluate {tmp_path}/run {clips}") == 2
    complaint = capsys.readouterr().err
    assert "The text tower" in complaint
    assert "another tokenizer" in complaint


def test_without_a_hub_and_a_cache_one_line_comes_soon(tmp_path):
    """A hub that takes the call and says nothing, in a process of its own: the slowest way to fail."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen()
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": "0",
        }
        (tmp_path / "media").mkdir()
        (tmp_path / "media" / "a.png").touch()
        line = [sys.executable, "-m", "trichord", "index"]
        line += [str(tmp_path / "media"), str(tmp_path / "archive")]
        ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "does not answer (" in ended.stderr
    assert module.PAGE in ended.stderr
    assert not (tmp_path / "archive").exists()
