"""How large and how plain the package is: lines, functions, comments, circles, names, calls to the loss.

Code lines are Python lines that are neither blank, comment nor docstring, after `ruff format`. A comment
line holds nothing but a comment; a comment behind code counts too. Packages, studies and tests are
counted beside the main package, not in it.

    python studies/structure.py    writes studies/results/structure.json and prints a table
"""

import ast
import io
import json
import platform
import re
import statistics
import subprocess
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "trichord"
BESIDE = {
    "packages": ROOT / "packages",
    "examples": ROOT / "examples",
    "studies": ROOT / "studies",
}
REASONED = {
    "media (decoding)": ["media"],
    "losses": ["losses"],
    "calibration": ["models/calibration.py", "search/calibration.py", "search/background.py"],
    "sharding": ["training/sharding.py", "distributed.py", "bulk"],
}
"""Places whose code is full of surprises: 0.05 comments a line of code are wanted there."""
Definition = ast.FunctionDef | ast.AsyncFunctionDef


def files(place: Path) -> list[Path]:
    """Python files below a folder, or the file itself."""
    found = [place] if place.is_file() else sorted(place.rglob("*.py"))
    return [path for path in found if not {"__pycache__", ".venv"} & set(path.parts)]


def docstrings(tree: ast.AST) -> set[int]:
    """Lines of docstrings, and of strings that stand alone behind a field."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
            lines |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def counted(path: Path) -> tuple[set[int], int]:
    """Numbers of the lines of code, and how many comments there are."""
    text = path.read_text()
    skipped = docstrings(ast.parse(text))
    code: set[int] = set()
    comments = 0
    blank = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            # Marks for tools give no reason.
            comments += not re.match(r"#\s*(noqa|pyright|type:|fmt:)", token.string)
        elif token.type not in blank:
            code |= set(range(token.start[0], token.end[0] + 1)) - skipped
    return code, comments


def lines(places: list[Path]) -> tuple[int, int]:
    """Code lines and comments of some places."""
    found = [counted(path) for place in places for path in files(place)]
    return sum(len(code) for code, _ in found), sum(comments for _, comments in found)


def functions(place: Path) -> list[int]:
    """Lengths of all functions, in lines with their signature and without their docstring."""
    sizes: list[int] = []
    for path in files(place):
        tree = ast.parse(path.read_text())
        skipped = docstrings(tree)
        for node in ast.walk(tree):
            if isinstance(node, Definition):
                whole = set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
                sizes.append(len(whole - skipped))
    return sizes


def modules() -> dict[str, Path]:
    """Modules of the package by name."""
    found: dict[str, Path] = {}
    for path in files(PACKAGE):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the package that a file imports when it is imported itself, or later in a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def circles() -> list[list[str]]:
    """Groups of files that import one another, imports inside functions included.

    A package's `__init__` gathers what lies in it, so what a file takes from it is not followed.
    """
    known = modules()
    inits = {name for name, path in known.items() if path.name == "__init__.py"}
    graph = {
        name: {one for one in imported(path, known) if one in known and one not in inits} - {name}
        for name, path in known.items()
        if name not in inits
    }
    reach = {name: _reached(name, graph) for name in graph}
    together = {
        frozenset(other for other in reach[name] if name in reach[other]) | {name}
        for name in graph
        if name in reach[name]
    }
    return sorted(sorted(group) for group in together)


def _reached(start: str, graph: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(graph[start])
    while todo:
        if (name := todo.pop()) not in seen:
            seen.add(name)
            todo += graph[name]
    return seen


def names_of_two() -> dict[str, list[str]]:
    """Public classes of one name in several files."""
    homes: dict[str, list[str]] = defaultdict(list)
    for path in files(PACKAGE):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(PACKAGE)))
    return {name: places for name, places in sorted(homes.items()) if len(places) > 1}


def frames() -> list[str]:
    """The calls from the command to the loss, as `tests/cli/test_calls.py` demands them."""
    text = (ROOT / "tests" / "cli" / "test_calls.py").read_text()
    stated = re.search(r"assert calls == (\[.*?\])", text, re.DOTALL)
    return ast.literal_eval(stated[1]) if stated else []


def measured() -> dict[str, object]:
    """All numbers."""
    code, comments = lines([PACKAGE])
    sizes = functions(PACKAGE)
    test_code, _ = lines([ROOT / "tests"])
    reasons: dict[str, float] = {}
    for what, places in REASONED.items():
        of_code, of_comments = lines([PACKAGE / one for one in places if (PACKAGE / one).exists()])
        reasons[what] = round(of_comments / max(1, of_code), 3)
    return {
        "code lines": code,
        "files": len(files(PACKAGE)),
        "beside": {name: lines([place])[0] for name, place in BESIDE.items() if place.exists()},
        "function median/90 %/max": [
            statistics.median(sizes),
            statistics.quantiles(sizes, n=10)[-1],
            max(sizes),
        ],
        "comments a line of code": round(comments / code, 3),
        "of these": reasons,
        "test : code": round(test_code / code, 2),
        "circles": circles(),
        "class names of two things": names_of_two(),
        "calls to the loss": frames(),
        "modules by layer": dict(
            Counter(path.relative_to(PACKAGE).parts[0] for path in files(PACKAGE)).most_common()
        ),
    }


def main() -> None:
    """Measure, write, print."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    found = measured() | {"commit": commit, "machine": platform.platform()}
    place = Path(__file__).parent / "results" / "structure.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(found, indent=1) + "\n")
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
