"""The pages on the two papers name what exists, and say what the result files hold; so do some others.

A page marks its numbers in comments that a reader does not see. `0.38 ± 0.01<!-- = FILE > KEY > KEY -->`
is the number before the comment; `<!-- cells: FILE > KEY > {row} > {head} -->` stands before a table and
is meant for all of its numbers, `<!-- column HEAD: ... -->` for those of one column. `{row}` and `{head}`
are the code in a row's label and in a column's head, or all of it where there is none. `*` in a key takes
all keys like it, `100 x` before the file turns shares into per cent. Several numbers are shown as mean ±
sample standard deviation, in as many digits as the page has chosen. What was tried and kept in no file
is marked `<!-- no file -->`.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from trichord.evaluation.published import TABLE_3, TABLE_4, TABLE_II
from trichord.experiments import EXPERIMENTS, known_names

ROOT = Path(__file__).parents[2]
EXPLANATION = ROOT / "docs" / "explanation"
PAGES = ("papers", "clip4vla")
CARDS = ("cards/stand-ins", "cards/demo-run")
MEASURED = (*PAGES, "protocols", "search-scores", *CARDS, "../how-to/transcripts", "../../README")
NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?(?: ± \d+(?:\.\d+)?)?")
MARKED = re.compile(rf"({NUMBER.pattern})(?: ?%|\*\*)?<!-- = (.*?) -->")
WHOLE_TABLE = re.compile(r"<!-- (?:cells|column (.+?)): (.+?) -->")
CODE = re.compile(r"`([^`]+)`")
PLACE = re.compile(r"`((?:[a-z_0-9]+/)*[a-z_0-9]+(?:\.py|/))`(?:: ((?:`[^`]+`(?:, )?)+))?")
CLASS = re.compile(r"[A-Z][a-z]\w+(?:\.\w+)*")
OPTION = re.compile(r"--(?:model|objective|stages)\.[\w.-]+")


def page(name: str) -> str:
    return (EXPLANATION / f"{name}.md").read_text(encoding="utf-8")


# --- what is named ------------------------------------------------------------------------------


def places() -> Iterator[tuple[str, str]]:
    """Each file that a page names, with each name that it says is in it; empty where it says none."""
    for name in PAGES:
        for file, names in PLACE.findall(page(name)):
            yield file, ""
            yield from ((file, one) for one in CODE.findall(names))


def test_every_file_and_name_on_the_pages_exists():
    broken = sorted({place for place in places() if not exists(*place)})

    assert not broken


def test_every_class_on_the_pages_exists_with_what_is_said_to_be_in_it():
    roots = (ROOT / "src", ROOT / "packages" / "trichord-world" / "src")
    sources = {path: path.read_text("utf-8") for root in roots for path in root.rglob("*.py")}
    named = {one for name in PAGES for one in CODE.findall(page(name)) if CLASS.fullmatch(one)} - {
        "None"
    }
    broken = {
        one
        for one in named
        if not any(
            exists(str(path.relative_to(ROOT)), one)
            for path, text in sources.items()
            if re.search(rf"^class {one.split('.')[0]}\b", text, re.MULTILINE)
        )
    }

    assert len(named) > 30
    assert not broken


def exists(file: str, name: str) -> bool:
    """Whether there is such a file, and a function, class, method, field or constant of this name in it."""
    places = (ROOT / "src" / "trichord", ROOT / "packages" / "trichord-world" / "src", ROOT)
    path = next((place / file for place in places if (place / file).exists()), ROOT / file)
    if not path.exists() or not name:
        return path.exists()
    path = path / "__init__.py" if path.is_dir() else path
    # Read, not imported: half of them bring torch, which takes seconds.
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for part in name.split("(")[0].strip().split("."):
        found = [one for one in body if part in names_of(one) or part in made_in(one)]
        if not found:
            return False
        body = found[0].body if isinstance(found[0], ast.ClassDef) else []
    return True


def made_in(statement: ast.stmt) -> set[str]:
    """The attributes that a class's `__init__` gives to its objects."""
    if not isinstance(statement, ast.FunctionDef) or statement.name != "__init__":
        return set()
    stored = [one for one in ast.walk(statement) if isinstance(one, ast.Attribute)]
    return {one.attr for one in stored if isinstance(one.ctx, ast.Store)}


def names_of(statement: ast.stmt) -> set[str]:
    """What a statement names, at the top of a module or of a class."""
    match statement:
        case ast.FunctionDef() | ast.ClassDef():
            return {statement.name}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.Assign(targets=targets):
            return {one.id for one in targets if isinstance(one, ast.Name)}
        case ast.ImportFrom():
            return {one.asname or one.name for one in statement.names}
    return set()


def test_a_name_that_is_gone_is_found_out():
    assert exists("losses/info_nce.py", "info_nce")
    assert exists("config/towers.py", "SegmentConfig.log_mel")
    assert exists("encoders/encoder.py", "Encoder.train")
    assert exists("config/", "InfoNCE")
    assert not exists("losses/info_nce.py", "info_nec")
    assert not exists("encoders/encoder.py", "Encoder.trian")
    assert not exists("losses/info_nce.py", "info_nce.terms")
    assert not exists("losses.py", "")


def test_every_experiment_on_the_pages_exists():
    pattern = re.compile(r"`((?:world-)?(?:clip4vla|slava|wav2clip|audioclip|audio-visual)[\w-]*)`")
    named = {one for name in PAGES for one in pattern.findall(page(name))}

    assert len(named) >= 15
    assert named <= set(known_names())


def test_every_option_of_training_on_the_pages_leads_to_a_field_of_an_experiment():
    options = {one.rstrip(".") for name in PAGES for one in OPTION.findall(page(name))}
    broken = sorted(one for one in options if not any(map(leads(one), EXPERIMENTS.values())))

    assert len(options) > 30
    assert not broken


def leads(option: str) -> Any:
    """Whether an option such as `--stages.0.draws.M.chance` names a field of an experiment."""

    def reached(described: tuple[str, Any]) -> bool:
        value: Any = described[1]
        for part in option.removeprefix("--").replace("-", "_").split("."):
            name = part.removeprefix("no_")
            if isinstance(value, tuple):
                value = value[0] if value and (part.isdigit() or part in ("N", "M")) else None
            elif is_dataclass(value) and name in {one.name for one in fields(value)}:
                value = getattr(value, name)
            else:
                return False
        return True

    return reached


def test_every_system_of_table_one_stands_on_its_page():
    from trichord.experiments import clip4vla, slava

    assert all(f"`{name}`" in page("papers") for name in slava.SYSTEMS)
    shown = page("clip4vla")
    twins = [name for name in clip4vla.SYSTEMS if name.endswith("-as-published")]
    assert all(f"`{name}`" in shown for name in set(clip4vla.SYSTEMS) - set(twins))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("papers", [*(f"eq. ({i})" for i in (1, 2, 3)), "Table I", "Table II", "Figure 1"]),
        (
            "clip4vla",
            [*(f"({i})" for i in range(1, 8)), *(f"Table {i}" for i in range(1, 7)),
             *(f"Figure {i}" for i in range(1, 5))],
        ),
    ],
)  # fmt: skip
def test_the_first_table_has_a_row_for_each_equation_table_and_figure(name: str, wanted: list[str]):
    first = next(table for table in tables(page(name)) if table.head[0] == "in the paper")
    labels = " ; ".join(row[0] for row in first.rows)

    assert [one for one in wanted if one not in labels] == []
    assert all(all(cell for cell in row) for row in first.rows)


# --- what is measured ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A table of a page, with the marks that stand before it."""

    marks: dict[str | None, str]
    head: list[str]
    rows: list[list[str]]


def tables(text: str) -> Iterator[Shown]:
    marks: dict[str | None, str] = {}
    lines = iter([*text.splitlines(), ""])
    for line in lines:
        if mark := WHOLE_TABLE.fullmatch(line):
            marks[mark[1]] = mark[2]
        elif line.startswith("|"):
            body = [line]
            while (line := next(lines)).startswith("|"):
                body.append(line)
            head, _, *rows = map(cells_of, body)
            yield Shown(marks, head, rows)
            marks = {}


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def inner(label: str) -> str:
    """The code in a label, or all of it."""
    found = CODE.search(label)
    return found[1] if found else label


def marked_cells(table: Shown) -> Iterator[tuple[str, str]]:
    """Each marked number of a table with where it comes from."""
    for row in table.rows:
        place = next(i for i, one in enumerate(row) if CODE.search(one) or re.match(r"[a-z+]", one))
        label = inner(row[place])
        for head, cell in list(zip(table.head, row, strict=True))[place + 1 :]:
            mark = table.marks.get(head, table.marks.get(None))
            plain = cell.strip("*")
            if mark and NUMBER.fullmatch(plain):
                numbered = re.search(r"R@(\d+)", head)
                k = numbered[1] if numbered else ""
                yield plain, mark.format(row=label, head=inner(head), k=k)


def claims(name: str) -> list[tuple[str, str]]:
    text = page(name)
    found = [(number, path) for number, path in MARKED.findall(text)]
    for table in tables(text):
        if table.marks:
            cells = list(marked_cells(table))
            assert cells, f"A mark without a number: {table.marks}."
            found += cells
    return found


def told(shown: str, path: str) -> str:
    """What the result file says, in as many digits as the page shows."""
    scale = 1.0
    if path.startswith("100 x "):
        scale, path = 100.0, path.removeprefix("100 x ")
    file, *keys = path.split(" > ")
    held = json.loads((ROOT / "studies" / "results" / file).read_text(encoding="utf-8"))
    values = [scale * one for one in numbers_at(held, keys)]
    digits = len(shown.split(" ± ")[0].partition(".")[2])
    pair = keys[0] == "mean and deviation"
    middle, spread = (values[0], values[1:]) if pair else (mean(values), values)
    said = f"{middle:,.{digits}f}" if "," in shown else f"{middle:.{digits}f}"
    if " ± " in shown:
        said += f" ± {spread[0] if pair else stdev(spread):.{digits}f}"
    return said


def numbers_at(held: Any, keys: list[str]) -> list[float]:
    if not keys:
        return [float(one) for one in (held if isinstance(held, list) else [held])]
    if isinstance(held, list):
        return numbers_at(held[int(keys[0])], keys[1:])
    wanted = [held[keys[0]]] if keys[0] in held else [
        value for key, value in held.items() if fnmatchcase(key, keys[0])
    ]  # fmt: skip
    if not wanted:
        raise KeyError(keys[0])
    return [number for value in wanted for number in numbers_at(value, keys[1:])]


@pytest.mark.parametrize("name", MEASURED)
def test_every_marked_number_is_that_of_the_result_file(name: str):
    assert claims(name)
    wrong = [
        (shown, said, path)
        for shown, path in claims(name)
        if (said := told(shown, path)) != shown.replace("−", "-")
    ]

    assert not wrong


@pytest.mark.parametrize("name", PAGES)
def test_no_mean_with_a_spread_stands_unmarked(name: str):
    text = page(name)
    spreads = len(re.findall(r"\d ± \d", text))
    unkept = len(re.findall(r" ± [\d.]+<!-- no file -->", text))

    assert spreads > 50
    assert sum(" ± " in shown for shown, _ in claims(name)) + unkept == spreads


def test_a_verdict_is_that_of_the_result_file():
    judged = [table for table in tables(page("clip4vla")) if "difference" in table.marks]
    assert len(judged) >= 1

    for table in judged:
        for row in table.rows:
            file, *keys = table.marks["difference"].format(row=inner(row[0])).split(" > ")
            held = json.loads((ROOT / "studies" / "results" / file).read_text(encoding="utf-8"))
            for key in keys[:-1]:
                held = held[key]
            assert row[-1] == held["verdict"]


def test_a_wrong_number_is_found_out():
    path = "systems.json > full > R@10 > slava-a-and-v > visual<-sound"
    values = json.loads((ROOT / "studies/results/systems.json").read_text())["full"]["R@10"]
    seeds = values["slava-a-and-v"]["visual<-sound"]

    assert told("0.00 ± 0.00", path) == f"{mean(seeds):.2f} ± {stdev(seeds):.2f}"
    assert told("0.000", path) == f"{mean(seeds):.3f}"
    assert told("0.0", f"100 x {path} > 0") == f"{100 * seeds[0]:.1f}"


def test_every_verdict_is_that_of_the_result_file():
    shown = next(table for table in tables(page("papers")) if table.head[-1] == "verdict")
    held = json.loads((ROOT / "studies/results/slava_table.json").read_text(encoding="utf-8"))
    findings = held["findings"]

    assert [row[0] for row in shown.rows] == list(findings)
    for row in shown.rows:
        found = findings[row[0]]
        needed = found["clips that would decide"] if found["claim"] == "above" else None
        asked = f" ({needed:,} clips)" if needed and found["verdict"] == "undecided" else ""
        assert row[-1] == found["verdict"] + asked, row[0]
        assert inner(row[2]) == found["task"]
        assert CODE.findall(row[3]) == [found["first"], found["other"]]


def test_table_two_as_published_is_the_one_that_compare_shows():
    shown = next(
        table
        for table in tables(page("papers"))
        if table.head[:2] == ["#", "task"] and not table.marks
    )
    systems = list(TABLE_II)[: len(shown.head) - 2]

    for row in shown.rows:
        task = inner(row[1])
        assert [float(cell) for cell in row[2:]] == [TABLE_II[one][task] for one in systems]


def test_tables_three_and_four_as_published_are_those_that_compare_shows():
    shown = next(
        table for table in tables(page("clip4vla")) if table.head[1:3] == ["test clips", "BLEU-4"]
    )
    published = [tuple(float(cell) for cell in row[2:]) for row in shown.rows]

    assert published == [table["CLIP4VLA"] for table in (TABLE_3, TABLE_4)]


def test_links_within_the_pages_lead_to_a_heading():
    for name in PAGES:
        text = page(name)
        anchors = {slug(line.lstrip("# ")) for line in text.splitlines() if line.startswith("#")}
        asked = set(re.findall(r"\]\(#([\w-]+)\)", text))
        assert asked <= anchors


def slug(heading: str) -> str:
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-")


def test_headings_go_down_one_level_at_a_time():
    for name in PAGES:
        levels = [len(one) for one in re.findall(r"^(#+) ", page(name), re.MULTILINE)]
        assert all(below <= above + 1 for above, below in pairwise(levels))


def test_the_words_beside_a_difference_are_those_of_the_result_file():
    checked = 0
    for table in tables(page("papers")):
        if "`difference`" not in table.head:
            continue
        for row in table.rows:
            path = table.marks[None].format(row=inner(row[0]), head="verdict", k="")
            file, *keys = path.split(" > ")
            held = json.loads((ROOT / "studies" / "results" / file).read_text("utf-8"))
            for key in keys:
                held = held[key]
            assert row[-1] == held
            checked += 1

    assert checked == 8
