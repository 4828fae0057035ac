"""What the pages of the documentation are typed on."""

import csv
import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from trichord.cli import main
from trichord.experiments import EXPERIMENTS
from trichord_world.demo import seen_and_heard
from trichord_world.experiments import EXPERIMENTS as ON_WORLD

FEW = 12
"""Clips of a split at most."""


def loaded(name):
    """A module beside this file."""
    if name not in sys.modules:
        file = Path(__file__).with_name(f"{name}.py")
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def reading():
    """The module `pages.py`, which knows how a page is read."""
    return loaded("pages")


@pytest.fixture(scope="session")
def typing_desk(reading):
    """The class of `desk.py`, at which a page is typed."""
    return loaded("desk").Desk


@pytest.fixture(scope="session")
def options(reading):
    """Every command's options."""
    return reading.options_by_command()


@pytest.fixture(scope="module", autouse=True)
def few_traces(encoders_traced_once):
    """Every indexing of the module has a graph written, many of them the same."""


@pytest.fixture(scope="module")
def small_towers():
    """Experiments by their own names, with the towers of the world and an epoch a stage."""
    with pytest.MonkeyPatch.context() as patch:
        for name, (what, experiment) in list(EXPERIMENTS.items()):
            small = ON_WORLD.get(f"world-{name}", experiment)
            patch.setitem(EXPERIMENTS, name, (what, an_epoch_a_stage(small)))
        for name, experiment in list(ON_WORLD.items()):
            patch.setitem(ON_WORLD, name, an_epoch_a_stage(experiment))
        yield


def an_epoch_a_stage(experiment):
    stages = tuple(replace(stage, epochs=1) for stage in experiment.stages)
    return replace(experiment, stages=stages)


MADE = (
    "world demo/world --train 16 --val 6 --test 10",
    "prepare avcaps demo/world demo/clips.jsonl",
    "extract demo/clips.jsonl --model world-clip-clap",
    "train world-slava-a-and-v demo/clips.jsonl demo/runs/slava-a-and-v --seeds 0",
    "index demo/world/test_videos demo/archive --model demo/runs/slava-a-and-v/seed-0",
)
"""Of `make demo`, what the pages use. The tests of trichord-world carry out all of it."""


@pytest.fixture(scope="module")
def home(tmp_path_factory, small_towers):
    """What `make demo` leaves, smaller; and folders of media as people have them."""
    root = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert [main(line.split()) for line in MADE] == [0] * len(MADE)
        clips = [json.loads(line) for line in Path("demo/clips.jsonl").read_text().splitlines()]
        captioned(clips, root / "Captioned")
        videos = root / "Videos"
        videos.mkdir()
        for clip in clips[-4:]:
            shutil.copy(Path("demo", clip["path"]), videos)
        Image.new("RGB", (64, 48), (200, 30, 30)).save(videos / "dog.jpg")
    return root


def captioned(clips, folder):
    """Media, and beside them a table with a caption of each kind."""
    folder.mkdir()
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "visual_caption", "audio_caption", "split"])
        for clip in clips:
            said = {caption["about"]: caption["text"] for caption in clip["captions"]}
            name = Path(shutil.copy(Path("demo", clip["path"]), folder)).name
            table.writerow([name, said.get("visual"), said.get("audio"), clip["split"]])


@pytest.fixture
def desk(typing_desk, home, tmp_path, monkeypatch):
    """Where a page is typed: `~/Videos`, `~/Captioned`, and `beach.mp4` are there."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.chdir(tmp_path)
    whole = seen_and_heard(6)[0]
    shutil.copy(home / "demo" / "world" / "val_videos" / f"{whole}.mp4", "beach.mp4")
    return typing_desk(home / "demo", FEW, monkeypatch)


@pytest.fixture
def my_bucket(s3_server, monkeypatch):
    """The bucket of the page about buckets."""
    session = pytest.importorskip("boto3.session", reason='the extra "s3" is not installed')
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    session.Session().client("s3", region_name="us-east-1").create_bucket(Bucket="my-bucket")
