"""The drawing and the list of layers are those that the import linter checks."""

import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "trichord"
PAGE = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
DRAWING = ElementTree.parse(ROOT / "docs/images/architecture.svg")
SVG = "{http://www.w3.org/2000/svg}"


def contract() -> list[str]:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (layers,) = [one["layers"] for one in linter["contracts"] if one["type"] == "layers"]
    return layers


def drawn(group: str, label: str) -> list[list[ElementTree.Element]]:
    """The labels of each group of a class, in the order of the file."""
    groups = [one for one in DRAWING.iter(f"{SVG}g") if one.get("class") == group]
    return [
        [one for one in group.iter(f"{SVG}text") if one.get("class") == label] for group in groups
    ]


def test_the_drawing_has_the_layers_of_the_contract_from_above_to_below():
    layers = drawn("layer", "module")
    heights = [float(labels[0].attrib["y"]) for labels in layers]

    assert [" | ".join(one.text or "" for one in labels) for labels in layers] == contract()
    assert heights == sorted(heights)


def test_the_list_on_the_page_has_the_layers_of_the_contract():
    (block,) = re.findall(r"```text\n(__main__.*?)```", PAGE, re.DOTALL)
    names = [re.split(r"  +", line)[0].strip() for line in block.splitlines()]

    assert [one for one in names if one] == contract()


def test_each_step_stands_in_the_line_of_its_layer_and_names_a_file():
    height_of = {
        module.text: float(module.attrib["y"])
        for labels in drawn("layer", "module")
        for module in labels
    }
    steps = [label for labels in drawn("step", "place") for label in labels]

    assert len(steps) == 12
    for step in steps:
        number, file = (step.text or "").split()
        assert number.isdigit()
        assert (PACKAGE / file).is_file()
        assert abs(float(step.attrib["y"]) - height_of[file.split("/")[0]]) < 12


def test_every_file_and_module_on_the_page_exists():
    named = set(re.findall(r"`((?:[a-z_0-9-]+/)+[a-z_0-9-]*(?:\.py)?)\b", PAGE))
    inside = {one for one in named if not one.startswith("decisions/")}

    assert len(inside) > 12
    assert [one for one in sorted(inside) if not exists(one)] == []


def test_every_file_of_the_tour_exists():
    tour = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## The tour")[1].split("\n## ")[0]
    named = re.findall(r"`([\w./]+(?:\.py|/))`", tour)
    beside = [one for one in named if "/" not in one]

    assert len(named) > 15
    assert [one for one in beside if not list(PACKAGE.rglob(one))] == []
    broken = [one for one in named if one not in beside and not exists(one)]
    assert broken == []


def exists(place: str) -> bool:
    return (ROOT / place).exists() or (PACKAGE / place).exists()
