"""What the long tests count: told at the end, kept in a file of results, and shown on a page."""

import pytest
from counts import keep

COUNTED = pytest.StashKey[dict]()


def pytest_configure(config):
    config.stash[COUNTED] = {}


@pytest.fixture
def tally(request):
    """Note what a test counted: `tally("kill -9 in training", tried=50, resumed=50)`.

    Called before the assertions, so that what fell short is told as well.
    """

    def note(subject, **counts):
        request.config.stash[COUNTED][subject] = (request.path.stem, counts)

    return note


def pytest_terminal_summary(terminalreporter, config):
    counted = config.stash[COUNTED]
    if not counted:
        return
    terminalreporter.section("counted")
    for subject, (_, counts) in counted.items():
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        terminalreporter.write_line(f"{subject}: {told}")
    keep(counted)
