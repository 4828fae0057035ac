"""The changes that the documentation shows, all at once: the tools of `make check`, tests, a training."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from extended_tree import DIFFS, ROOT, extended

BIN = Path(sys.executable).parent
PARTS = ("src", "tests", "docs", "benchmarks", "pyproject.toml", "mkdocs.yml", "README.md")


def recipe():
    """What `make check` calls, from the Makefile."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = re.search(r"^check:.*\n((?:\t.*\n)+)", text, re.M)[1]
    return [line.strip().replace("$(BIN)", str(BIN)).split() for line in lines.splitlines()]


@pytest.mark.torture
def test_the_changes_of_the_page_pass_every_tool_and_train(tmp_path, tally):
    tree = tmp_path / "tree"
    tree.mkdir()
    extended(tree, *PARTS)
    (tree / ".venv").symlink_to(BIN.parent)
    own = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}

    def said(*command):
        """What a command complained of; nothing if it ended well."""
        done = subprocess.run(
            command, cwd=tree, env=own, capture_output=True, text=True, check=False
        )
        return f"{command}: {done.stdout[-4000:]}{done.stderr[-4000:]}" if done.returncode else ""

    python = str(BIN / "python")
    complaints = [said(python, "docs/generate_cli.py"), *(said(*tool) for tool in recipe())]
    tests = re.findall(r"^\+\+\+ b/(tests/\S+)", "".join(DIFFS.values()), re.M)
    complaints.append(said(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests))
    world = [
        ("world", "w", "--train=12", "--val=4", "--test=4"),
        ("prepare", "avcaps", "w", "w.jsonl"),
    ]
    trained = (
        *("train", "world-slava-a-and-v", "w.jsonl", "run", "--from=media"),
        *("--stages.0.draws.0.terms", "av", "at-sigmoid"),
        *("--stages.0.epochs=1", "--stages.0.batch-size=6"),
    )
    complaints += [said(python, "-m", "trichord", *words) for words in (*world, trained)]
    failed = [one for one in complaints if one]
    tally(
        "changes of the documentation",
        applied=len(DIFFS),
        tools=len(recipe()),
        tests=len(tests),
        failed=len(failed),
    )
    assert not failed, "\n\n".join(failed)
    assert (tree / "run" / "weights.safetensors").is_file()
