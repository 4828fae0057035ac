"""Shared fixtures; shapes are checked in every test."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never ask a model hub
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # small models lose more to waiting threads than they win

import pytest
from jaxtyping import install_import_hook

# Only its own modules: the hook of the whole suite chooses those of the main package.
install_import_hook(["trichord_world"], "beartype.beartype")


@pytest.fixture(scope="session")
def command():
    """Run a command line in this process; gives its exit code."""
    from trichord.cli import main

    def call(line):
        return main(line.split())

    return call
