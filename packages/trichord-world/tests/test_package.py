"""What somebody gets who installs the package."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from trichord_world.weights import STAND_INS

PACKAGE = Path(__file__).parents[1]
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("group", PROJECT["entry-points"])
def test_every_entry_point_is_installed_and_leads_to_something(group):
    for name, value in PROJECT["entry-points"][group].items():
        [point] = entry_points(group=group, name=name)
        assert point.value == value
        assert point.load() is not None


def test_the_wheel_has_the_sources_the_weights_and_the_licence(tmp_path):
    pytest.importorskip("hatchling", reason="what builds the wheel is not installed")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    command += ["--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(PACKAGE)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("trichord_world-*-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        f"trichord_world/{file.name}" for file in (PACKAGE / "src/trichord_world").glob("*.py")
    } < names
    for name, folder in STAND_INS.items():
        assert {f"trichord_world/towers/{name}/{file.name}" for file in folder.iterdir()} < names
    assert any(name.endswith("/LICENSE") for name in names)
