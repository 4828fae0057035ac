"""`serve` as a process of its own: a real port, a real search."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
from PIL import Image

from trichord.checkpoint import Progress, Run
from trichord.cli import main
from trichord.config import Experiment

pytest.importorskip("uvicorn", reason='the extra "serve" is not installed')


@pytest.fixture(scope="module")
def collection(tiny_trimodal, tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    (root / "media").mkdir()
    Image.new("RGB", (48, 48), (200, 30, 30)).save(root / "media" / "red.png")
    experiment = Experiment(system="made", model=tiny_trimodal)
    run = Run(root / "run")
    run.start(experiment, "none")
    run.finish(tiny_trimodal.build().eval(), experiment.objective.build(), Progress())
    assert main(f"index {root}/media {root}/made --model {root}/run --no-speech".split()) == 0
    return root / "made"


def started(*options, **environment):
    line = [sys.executable, "-m", "trichord", "serve", *map(str, options)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, env=os.environ | environment, **pipes)


@pytest.mark.slow
def test_it_serves_until_it_is_interrupted(collection):
    with started(collection, "--port", "0", TRICHORD_TOKEN="s3cret-s3cret-s3cret") as serving:
        try:
            address = serving.stdout.readline().split()[0]
            asked = urllib.request.Request(
                f"{address}api/search",
                json.dumps({"parts": [{"text": "a red ball"}], "k": 3}).encode(),
                {"Content-Type": "application/json",
                 "Authorization": "Bearer s3cret-s3cret-s3cret"},
            )  # fmt: skip
            with urllib.request.urlopen(asked) as answer:
                hits = json.load(answer)["hits"]
            assert [hit["name"] for hit in hits] == ["red.png"]
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{address}api/collection")
            assert refused.value.code == 401
            refused.value.close()
        finally:
            serving.send_signal(signal.SIGINT)
        assert serving.wait(timeout=60) in (0, 130)
        assert "Traceback" not in serving.stderr.read()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "token"),
        (["--token-file", "/nowhere/token"], "--token-file /nowhere/token: there is no such file"),
        (["--root", "/nowhere"], "--root /nowhere: there is no such file"),
        (["--allow-origin", "*"], "--allow-origin *: give the scheme and host of a site"),
        (["--port", "99999"], "--port 99999: give a number from 0 to 65535"),
    ],
)
def test_what_it_cannot_do_is_one_line(options, said, collection, capsys):
    assert main(["serve", str(collection), *options]) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1


def test_an_empty_token_file_is_refused(collection, tmp_path, capsys):
    (tmp_path / "token").write_text("\n")
    assert main(["serve", str(collection), "--token-file", str(tmp_path / "token")]) == 2
    assert "is empty" in capsys.readouterr().err
