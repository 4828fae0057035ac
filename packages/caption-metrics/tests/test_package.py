"""What somebody gets who installs the package alone."""

import ast
import doctest
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import caption_metrics

PACKAGE = Path(__file__).parents[1]
SOURCES = sorted((PACKAGE / "src" / "caption_metrics").glob("*.py"))


def imported(file):
    """The packages that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_it_needs_numpy_and_nothing_else():
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {name for file in SOURCES for name in imported(file)}
    assert len(SOURCES) > 10
    assert names - sys.stdlib_module_names == {"caption_metrics", "numpy"}
    assert [one.partition(">")[0] for one in project["dependencies"]] == ["numpy"]


def test_the_example_of_the_module_gives_what_it_shows():
    assert doctest.testmod(caption_metrics) == (0, 4)


def test_the_examples_of_the_readme_give_what_they_show(word_lists):
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    examples = doctest.DocTestParser().get_doctest(blocks, {}, "README.md", "README.md", 0)
    assert doctest.DocTestRunner().run(examples) == (0, 9)


def test_all_that_the_package_exports_is_there():
    assert [name for name in caption_metrics.__all__ if not hasattr(caption_metrics, name)] == []


def test_the_wheel_has_the_sources_the_type_marker_and_the_licence(tmp_path):
    pytest.importorskip("hatchling", reason="what builds the wheel is not installed")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    command += ["--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(PACKAGE)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("caption_metrics-*-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    sources = {f"caption_metrics/{file.name}" for file in SOURCES}
    assert sources | {"caption_metrics/py.typed"} == {n for n in names if ".dist-info/" not in n}
    assert any(name.endswith("/LICENSE") for name in names)
