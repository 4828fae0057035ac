"""Examples as installed packages: their code and metadata as an installer puts them on the path."""

import tomllib
from contextlib import contextmanager
from pathlib import Path
from shutil import copy

import pytest

from trichord.types import plugins

EXAMPLES = Path(__file__).parents[2] / "examples"


def install(name, site):
    """Put an example into a folder of installed packages, with its entry points."""
    source = EXAMPLES / name
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    for module in source.glob("*.py"):
        copy(module, site)
    lines = [f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"]
    (metadata / "METADATA").write_text("".join(lines))
    groups = project["entry-points"].items()
    points = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for group, entries in groups
    )
    (metadata / "entry_points.txt").write_text(points)


@contextmanager
def installed(site, *names):
    """Examples installed while this lasts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            install(name, site)
        patch.syspath_prepend(str(site))
        plugins._installed.cache_clear()
        try:
            yield
        finally:
            plugins._installed.cache_clear()
