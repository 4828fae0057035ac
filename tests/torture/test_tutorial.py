"""The tutorial typed line by line in a shell, at its true sizes; and the long pages, on small worlds."""

import importlib.util
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from long_pages import LONG, TUTORIAL

ROOT = Path(__file__).parents[2]


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_stage = loaded(ROOT / "tests" / "docs" / "conftest.py")
reading, typing_desk, desk = _stage.reading, _stage.typing_desk, _stage.desk
small_towers, home, my_bucket = _stage.small_towers, _stage.home, _stage.my_bucket


def count(page, desk, tally):
    """Note how much of a page was typed."""
    tally(f"{page} typed", **{name.replace(" ", "_"): n for name, n in desk.counts.items()})


@pytest.mark.torture
@pytest.mark.parametrize("page", LONG)
def test_every_block_of_a_long_page_can_be_typed(page, desk, tally, request):
    if page == "docs/how-to/object-storage.md":
        request.getfixturevalue("my_bucket")
    try:
        desk.follow(page)
    finally:
        count(page, desk, tally)


def shell(typing_desk):
    """A desk whose commands are processes, as a reader starts them."""

    class Shell(typing_desk):
        def trichord(self, words):
            line = [sys.executable, "-m", "trichord", *words]
            if words[0] == "serve":
                return 0, served([*line, "--port", "0"])
            both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            done = subprocess.run(line, check=False, **both)
            return done.returncode, done.stdout

        def make_demo(self):
            code, said = self.trichord(["demo"])
            assert code == 0, said

        def script(self, file):
            return subprocess.run(
                [sys.executable, file], capture_output=True, text=True, check=True
            ).stdout

    return Shell


def served(line):
    """What a service printed first; it was asked whether it is well, and interrupted."""
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as serving:
        try:
            address = serving.stdout.readline()
            with urllib.request.urlopen(f"{address.split()[0]}api/health", timeout=60) as answer:
                assert answer.status == 200
        finally:
            serving.send_signal(signal.SIGINT)
    assert serving.returncode in (0, 130)
    return address


@pytest.mark.torture
def test_the_tutorial_typed_line_by_line(typing_desk, tmp_path_factory, monkeypatch, tally):
    place = tmp_path_factory.mktemp("t")  # tables break longer names
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # a reader has both cores
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # lines come in the order of a terminal
    typist = shell(typing_desk)(place, None, monkeypatch)
    typist.figures = True
    try:
        typist.follow(TUTORIAL)
    finally:
        count(TUTORIAL, typist, tally)
    pictures = ("demo/comparison.png", "birds.png", "hits.png", "before-and-after.png")
    assert all(Path(picture).stat().st_size > 5_000 for picture in pictures)
