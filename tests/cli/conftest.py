import json
from pathlib import Path

import pytest

from trichord.cli import main


@pytest.fixture(scope="module", autouse=True)
def few_traces(encoders_traced_once):
    """Every indexing of the module has a graph written, many of them the same."""


@pytest.fixture(scope="session")
def command():
    """Run a command line in this process; gives its exit code."""

    def call(line):
        return main(line.split())

    return call


@pytest.fixture(scope="session")
def small_world(tmp_path_factory, command):
    """A folder with a rendered world, its manifest and cached features of the stand-in towers."""
    root = tmp_path_factory.mktemp("small")
    assert command(f"world {root}/world --train 40 --val 12 --test 16 --seed 5") == 0
    assert command(f"prepare avcaps {root}/world {root}/clips.jsonl") == 0
    assert command(f"extract {root}/clips.jsonl --model world-clip-clap") == 0
    return root


@pytest.fixture(scope="session")
def runs(small_world, command):
    """Two systems trained for two epochs on two seeds, and the untrained pair; all evaluated."""
    held = small_world / "runs"
    few = "--seeds 0 1 --stages.0.epochs 2 --stages.0.batch-size 16"
    for name in ("slava-av", "audio-visual"):
        line = f"train world-{name} {small_world}/clips.jsonl {held}/{name} {few}"
        assert command(line) == 0
        assert command(f"evaluate {held}/{name} {small_world}/clips.jsonl") == 0
    assert command(f"train world-clip-clap {small_world}/clips.jsonl {held}/clip-clap") == 0
    assert command(f"evaluate {held}/clip-clap {small_world}/clips.jsonl") == 0
    return held


@pytest.fixture(scope="session")
def corpus(small_world, tmp_path_factory):
    """A small manifest, and a folder with the media of three of its clips."""
    root = tmp_path_factory.mktemp("corpus")
    lines = (small_world / "clips.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    kept = []
    for split, count in (("train", 16), ("val", 12), ("test", 12)):
        of_split = [row for row in rows if row.get("split") == split][:count]
        kept += [row | {"path": str((small_world / row["path"]).resolve())} for row in of_split]
    (root / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    (root / "media").mkdir()
    for row in kept[:3]:
        (root / "media" / Path(row["path"]).name).symlink_to(row["path"])
    return root
