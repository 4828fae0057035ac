"""`trichord train` in several processes at once, as torchrun starts them."""

import os
import socket
import subprocess
import sys

import pytest

from trichord.checkpoint import Run
from trichord.cli import main

FEW = "--stages.0.epochs 1 --stages.0.batch-size 16 --device cpu"


def spread(line):
    """What each of two processes said, and its exit code."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    held = [
        subprocess.Popen(
            [sys.executable, "-m", "trichord", *line.split()],
            env=os.environ | place | {"RANK": number, "LOCAL_RANK": number, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in ("0", "1")
    ]
    said = [one.communicate(timeout=240)[0] for one in held]
    return said, [one.returncode for one in held]


def test_two_processes_train_one_run_and_one_speaks(small_world, command, tmp_path):
    line = f"train world-slava-av {small_world}/clips.jsonl {tmp_path}"
    said, codes = spread(f"{line}/two {FEW}")
    assert codes == [0, 0], said
    assert f"{tmp_path}/two: all: epoch" in said[0].replace("\n", "")
    assert said[1] == ""
    assert command(f"{line}/one {FEW}") == 0
    one, two = (Run(tmp_path / name).metrics()[1] for name in ("one", "two"))
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert (tmp_path / "two" / "weighting.json").exists()


def test_a_mistake_ends_all_processes_with_one_line(tmp_path):
    said, codes = spread(f"train world-slava-av {tmp_path}/nowhere.jsonl {tmp_path}/run")
    assert codes == [2, 2]
    assert said[0].startswith(f"trichord train: MANIFEST {tmp_path}/nowhere.jsonl: there is no")
    assert len(said[0].splitlines()) == 1
    assert said[1] == ""


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("train nonsense a b", "nonsense"),
        ("train world-slava-av a b --nonsense", "nonsense"),
        ("train world-slava-av {clips} b --stages.0.epochs 0", "--stages.0.epochs 0: give"),
        ("train world-slava-av {clips} b --device gpu", "--device gpu: give"),
    ],
)
def test_arguments_are_complained_of_once(line, complaint, monkeypatch, capfd, tmp_path):
    said, clips = [], tmp_path / "clips.jsonl"
    clips.touch()
    for number in ("0", "1"):
        monkeypatch.setenv("RANK", number)
        try:
            code = main(line.format(clips=clips).split())
        except SystemExit as left:
            code = left.code
        assert code == 2
        said.append("".join(capfd.readouterr()))
    assert complaint in said[0]
    assert said[1] == ""
