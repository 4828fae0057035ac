"""What the long tests count: printed at the end, and kept in benchmarks/results/torture.json."""

import importlib.util
import json
from pathlib import Path

import pytest

RECORD = Path(__file__).parents[2] / "benchmarks" / "record.py"
COUNTED = pytest.StashKey[dict]()


def pytest_configure(config):
    config.stash[COUNTED] = {}


@pytest.fixture
def tally(request):
    """Note what a test counted: `tally("kill -9 in training", tried=50, resumed=50)`.

    Called before the assertions, so that what fell short is told as well.
    """

    def note(subject, **counts):
        request.config.stash[COUNTED][subject] = counts

    return note


def pytest_terminal_summary(terminalreporter, config):
    counted = config.stash[COUNTED]
    if not counted:
        return
    terminalreporter.section("counted")
    for subject, counts in counted.items():
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        terminalreporter.write_line(f"{subject}: {told}")
    keep(counted)


def keep(counted):
    """Add to what earlier calls counted of other subjects; each says what it was counted on."""
    spec = importlib.util.spec_from_file_location("record", RECORD)
    record = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(record)
    path = record.RESULTS / "torture.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    now = {one: {**counts, "measured on": record.circumstances()} for one, counts in counted.items()}
    path.write_text(json.dumps(known | now, indent=1, ensure_ascii=False) + "\n")
