"""The changes that `docs/how-to/extend.md` shows: they fit the present tree, are short, and work."""

import os
import re
import subprocess
import sys

import pytest
from extended_tree import DIFFS, ROOT, apply, extended

LONGEST = 60
"""Lines of the package that a change adds or removes."""
each = pytest.mark.parametrize("diff", DIFFS.values(), ids=DIFFS)


def changed(diff):
    """Of each file, what is added to it and removed from it."""
    parts = re.split(r"^diff --git a/(\S+) b/\S+\n", diff, flags=re.M)[1:]
    return {
        path: [line for line in body.splitlines() if re.match(r"[+-](?!\+\+ |-- )", line)]
        for path, body in zip(parts[::2], parts[1::2], strict=True)
    }


@each
def test_a_change_fits_the_present_tree(diff):
    assert apply(diff, ROOT, "--check") == ""


def test_a_change_of_another_tree_is_noticed():
    other = DIFFS["corpus"].replace("    vatex,", "    vatexes,")
    assert "patch does not apply" in apply(other, ROOT, "--check")


@each
def test_a_change_is_short_and_has_a_test(diff):
    files = changed(diff)
    in_package = [lines for path, lines in files.items() if path.startswith("src/trichord/")]
    assert 0 < sum(map(len, in_package)) <= LONGEST
    assert [path for path in files if re.match(r"tests/\w+/.*test_\w+\.py", path)]
    new = re.findall(r"^--- /dev/null\n\+\+\+ b/(src/\S+)", diff, re.M)
    assert len(new) == 1
    others = [lines for path, lines in files.items() if path.startswith("src/") and path not in new]
    assert sum(line.startswith("-") for lines in others for line in lines) <= 3


USED = """
import sys
from pathlib import Path

import numpy as np

from trichord.cli import main
from trichord.search.nearest import Settings, Signs, Structures

folder = Path(sys.argv[1])
assert main(["prepare", "vggsound", str(folder), str(folder / "clips.jsonl")]) == 0

rows = np.random.default_rng(0).normal(size=(1200, 16)).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)


class Gallery:
    vision, has_vision = rows[:1000], np.ones(1000, bool)
    audio, has_audio = 0 * rows[:1000], np.zeros(1000, bool)


settings = Settings(backend=Signs(), exact_up_to=500)
made = Structures(folder / "cache", Gallery, 1, {"text→sight": rows[1000:]}, settings)
assert made.wait(60)
assert made.report("vision").used, made.report("vision").line
found, cosines = made.nearest("vision").search(rows[:3], 1)
assert found.tolist() == [[0], [1], [2]]
assert "torch" not in sys.modules
"""


def test_the_corpus_is_prepared_and_the_backend_answers(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    extended(tree, "src", "tests")
    (tmp_path / "--0PQM4-hqg_000030.mp4").write_bytes(b"x")
    (tmp_path / "vggsound.csv").write_text("--0PQM4-hqg,30,waterfall burbling,train\n")
    own = {**os.environ, "PYTHONPATH": str(tree / "src")}
    command = [sys.executable, "-c", USED, str(tmp_path)]
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 clips, 1 captions" in done.stdout
    assert '"waterfall burbling"' in (tmp_path / "clips.jsonl").read_text()
