"""`studies/`: every result is written by a script that the table of studies names."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "studies"
TABLE = dict(
    re.findall(r"^\| `(\S+\.json)` \| `([^`]+)`", (STUDIES / "README.md").read_text(), re.MULTILINE)
)
"""Result file to command."""
NEEDS_A_CARD = {"gpu.json"}
"""Results that this project's machines cannot make: they have no GPU. They come from whoever has one."""


def writer(command):
    """The script that a command runs."""
    if command == "make torture":
        return ROOT / "tests" / "shared" / "counts.py"
    program, script, *_ = command.split()
    assert program == "python", command
    return ROOT / script


def test_the_table_has_all_results_and_no_others():
    results = {path.name for path in (STUDIES / "results").iterdir()}
    assert results | NEEDS_A_CARD == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_a_result_is_written_by_the_script_that_the_table_names(name):
    text = writer(TABLE[name]).read_text()
    stem = name.removesuffix(".json")
    assert re.search(rf'record\(\s*"{stem}"|/ "{re.escape(name)}"', text), TABLE[name]


def test_every_script_is_named_by_the_table_or_the_text_below_it():
    named = (STUDIES / "README.md").read_text()
    assert [path.name for path in STUDIES.glob("*.py") if path.name not in named] == []


def test_the_package_has_no_circle_and_no_class_name_for_two_things():
    spec = spec_from_file_location("structure", STUDIES / "structure.py")
    structure = module_from_spec(spec)
    spec.loader.exec_module(structure)
    assert len(structure.modules()) > 200
    assert structure.circles() == []
    assert structure.names_of_two() == {}
