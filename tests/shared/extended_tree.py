"""The changes that `docs/how-to/extend.md` shows, and copies of the tree with them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "extend.md"
DIFFS = dict(
    zip(
        ("corpus", "term", "backend", "encoder"),
        re.findall(r"^```diff\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S),
        strict=True,
    )
)


def apply(diff, folder, *options):
    """What `git apply` says of a change to a folder; nothing if it fits."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    # A repository around the folder would have the change looked for from its own root.
    outside = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    done = subprocess.run(
        ["git", "apply", "--whitespace=error", *options, "-"],
        input=diff.encode(),
        cwd=folder,
        env=outside,
        capture_output=True,
        check=False,
    )
    return done.stderr.decode()


def extended(folder, *parts):
    """Some parts of the tree in another folder, with all changes one after another.

    Args:
        folder: Where to.
        parts: Files and folders beside this project's root; a change may add further ones.
    """
    for part in parts:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy2(ROOT / part, folder / part)
    for name, diff in DIFFS.items():
        assert apply(diff, folder) == "", name
    return folder
