"""The pages of the documentation as a reader types them: code fences, parsed or carried out.

A fence is one of these.

- Commands: every line is one (`trichord`, `make`, `torchrun`, `pip`, a few words of the shell).
- Python.
- Something shown: `text` without a command, `json`, `diff`, ... Nothing is typed.

A comment right before a fence says what else holds for it:

    <!-- run: no (needs a GPU) -->      parsed only, for the reason given
    <!-- run: fails -->                 the commands are refused, with exit code 2
    <!-- run: saved as own.py -->       written into a file, not typed
    <!-- run: printed -->               what the commands before it print: `...` stands for what is left
                                        out, and numbers may differ

A fence inside a comment is carried out like any other and not seen: it makes what the reader has
anyway. Without a mark a fence is carried out, so that no new page is left out by forgetting.
"""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cache, wraps
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
import tyro

from trichord.cli import main
from trichord.corpora import READERS
from trichord.experiments import known_names

ROOT = Path(__file__).parents[2]
GENERATED = {"docs/reference/cli.md"}
"""Compared with the program by `docs/generate_cli.py --check`."""
SHELL = {"cat", "cp", "curl", "echo", "ls", "mkdir", "mv", "printf", "rm"}
COMMANDS = {"trichord", "make", "torchrun", "pip", "python", "export", "source", *SHELL}
INSTALLED = ".venv/bin/"
"""Where commands lie before `source .venv/bin/activate`."""
TYPED = {"", "text", "sh", "bash", "shell", "console"}
SHOWN = {"nginx", "caddy", "csv", "diff", "html", "json", "mermaid", "toml", "xml"}


class Fence(NamedTuple):
    """A block of code: where it begins, its language, what stands in it, and its mark."""

    page: str
    line: int
    language: str
    text: str
    mark: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def reason(self) -> str | None:
        """Why it is not carried out, if it is not."""
        told = re.fullmatch(r"no \((.+)\)", self.mark, re.DOTALL)
        return told and told[1]

    @property
    def file(self) -> str | None:
        """Where it is saved, if it is."""
        return self.mark.removeprefix("saved as ") if self.mark.startswith("saved as ") else None

    @property
    def kind(self) -> str:
        """`commands`, `python`, `printed`, `saved` or `shown`."""
        known = self.mark in ("", "printed", "fails") or self.reason or self.file
        assert known, f"{self.place}: nobody knows the mark '{self.mark}'"
        if self.mark == "printed" or self.file:
            return "saved" if self.file else "printed"
        if self.language == "python":
            return "python"
        if self.language in SHOWN:
            return "shown"
        assert self.language in TYPED, f"{self.place}: nobody knows the language '{self.language}'"
        typed = [is_command(line) for line in statements(self.text)]
        assert all(typed) or not any(typed), (
            f"{self.place}: put commands and what they print into fences of their own"
        )
        return "commands" if any(typed) else "shown"


def pages() -> list[str]:
    """Every page, by its path from the root of the repository."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [str(page.relative_to(ROOT)) for page in found]


def fences(page: str, text: str | None = None) -> list[Fence]:
    """The fences of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8") if text is None else text
    found: list[Fence] = []
    pattern = re.compile(
        r"(?:<!-- run: (?P<mark>[^>]*?) -->\n+)?"
        r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
        re.DOTALL | re.MULTILINE,
    )
    for match in pattern.finditer(text):
        width = len(match["indent"])
        inner = "".join(line[width:] for line in match["text"].splitlines(keepends=True))
        line = text[: match.start("language")].count("\n") + 1
        found.append(Fence(page, line, match["language"], inner, match["mark"] or ""))
    return found


def statements(text: str) -> list[str]:
    """Lines, with continued ones joined, without comments, blank ones and prompts."""
    lines = text.replace("\\\n", " ").splitlines()
    bare = (line.removeprefix("$ ").strip() for line in lines)
    return [line for line in bare if line and not line.startswith("#")]


def is_command(line: str) -> bool:
    """Whether a line is typed. `trichord search: no such file` is not: it complains."""
    word, _, rest = line.removeprefix(INSTALLED).partition(" ")
    return word in COMMANDS and bool(rest)


def words_of(line: str) -> list[str]:
    """A line cut as a shell does, its comment left out."""
    return shlex.split(line.removeprefix(INSTALLED), comments=True)


# --------------------------------------------------------------------------- parsed only


class Parsed(BaseException):
    """A command line was understood; with what came out of it."""

    def __init__(self, result: object) -> None:
        super().__init__()
        self.result = result


def check(line: str, made: set[str]) -> None:
    """Whether a line could be carried out, as far as can be said without doing so.

    Args:
        line: Of a shell.
        made: What earlier lines of the page have made; this one's words are added.

    Raises:
        AssertionError: It could not.
    """
    words = words_of(line)
    program, rest = words[0], words[1:]
    if program == "trichord":
        check_trichord(rest, made)
    elif program == "torchrun":
        check_torchrun(rest, made)
    elif program == "make":
        unknown = set(rest) - targets()
        assert not unknown, f"the Makefile has no {unknown}"
    elif program == "pip":
        check_install(rest)
    elif program == "python" and rest[0] != "-c":
        known = {"-m": lambda: True}.get(rest[0], (ROOT / rest[0]).is_file)
        assert known() or rest[0] in made, f"there is no {rest[0]}"
    made.update(words)


def check_trichord(words: list[str], made: set[str]) -> None:
    """Parse by the program's own parser; names of experiments and corpora must exist."""
    asked = parse(words)
    if words[0] == "prepare":
        assert asked["corpus"] in READERS.kinds(), f"there is no corpus '{asked['corpus']}'"
    model = asked.get("model")
    if words[0] in ("probe", "classify"):
        model = str(asked["run"])
    if isinstance(model, str) and "/" not in model and not asked.get("endpoint"):
        file = ".py:" in model  # its block is executed where the page is typed
        known = (
            file or model in known_names() or model in made or model in experiments_of_examples()
        )
        assert known, f"there is no experiment '{model}'"


def parse(words: list[str]) -> dict[str, object]:
    """What a command line says: the arguments of the command's function, which is not called."""
    real, said = tyro.cli, StringIO()

    def parse_only(what, **keywords):
        if keywords.get("return_unknown_args"):  # a first pass over some of the options
            return real(what, **keywords)
        if isinstance(what, type):
            raise Parsed(vars(real(what, **keywords)))
        if callable(what):

            @wraps(what)
            def note(*given, **named):
                names = list(what.__annotations__)
                raise Parsed(dict(zip(names, given, strict=False)) | named)

            return real(note, **keywords)
        return real(what, **keywords)

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setattr("tyro.cli", parse_only)
        patch.setattr("tyro.extras.subcommand_cli_from_dict", subcommand(parse_only))
        try:
            code = main(words)
        except Parsed as understood:
            return understood.result
        except SystemExit as stopped:
            code = stopped.code
    assert not code, f"'trichord {shlex.join(words)}': {said.getvalue().strip()}"
    return {}


def subcommand(parse_only):
    """A command of several commands, such as `import`: the second word chooses."""

    def choose(kinds, *, args, prog):
        assert {*args[:1]} & kinds.keys(), f"'{prog}' has only {', '.join(kinds)}"
        return parse_only(kinds[args[0]], args=args[1:], prog=f"{prog} {args[0]}")

    return choose


def check_torchrun(words: list[str], made: set[str]) -> None:
    """Parse by torchrun's own parser, and what it starts by that of `trichord`."""
    from torch.distributed.run import get_args_parser

    try:
        asked = get_args_parser().parse_args(words)
    except SystemExit:
        raise AssertionError("torchrun understands something else") from None
    assert asked.module, "torchrun starts trichord with -m"
    assert asked.training_script == "trichord"
    check_trichord(asked.training_script_args, made)


def check_install(words: list[str]) -> None:
    """Extras that are installed are extras of the package."""
    asked = re.findall(r"trichord\[([\w,-]+)\]", " ".join(words))
    unknown = {name for names in asked for name in names.split(",")} - extras()
    assert not unknown, f"the package has no extra {unknown}"


@cache
def experiments_of_examples() -> set[str]:
    """Experiments that come with an example, once it is installed."""
    projects = [tomllib.loads(file.read_text()) for file in ROOT.glob("examples/*/pyproject.toml")]
    points = [one["project"]["entry-points"] for one in projects]
    return {name for groups in points for name in groups.get("trichord.experiments", {})}


@cache
def targets() -> set[str]:
    """What `make` can be asked for."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def extras() -> set[str]:
    """The optional parts of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


def check_fence(fence: Fence, made: set[str]) -> None:
    """Parse a fence without carrying it out."""
    match fence.kind:
        case "python" | "saved" if fence.language == "python":
            compile(fence.text, fence.place, "exec")
        case "commands":
            for line in statements(fence.text):
                try:
                    check(line, made)
                except AssertionError as wrong:
                    raise AssertionError(f"{fence.place}: '{line}': {wrong}") from None
        case _ if fence.language == "json":
            json.loads(fence.text)
        case _:
            pass
    made.update([fence.file] if fence.file else [])


# --------------------------------------------------------------------------- running text


OF_EACH_KIND = (
    "clip-clap", "slava-a-and-v", "clip4vla-retrieval-g2l", "clip4vla-pretrain", "clip4vla-caption"
)  # fmt: skip
"""Experiments that have every field which any has."""
FOREIGN = {"--check", "--nproc-per-node", "--max-restarts", "--rdzv-id", "--rdzv-endpoint"}
"""Options in the running text that are of other programs."""


def running(page: str) -> str:
    """A page without its fences and comments, lines where they were."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.compile(r"^ *```.*?^ *```$|<!--.*?-->", re.DOTALL | re.MULTILINE)
    return blocks.sub(lambda match: "\n" * match[0].count("\n"), text)


def inline_commands(page: str) -> Iterator[tuple[int, list[str]]]:
    """Commands in the running text: line and words."""
    text = running(page)
    for match in re.finditer(r"`(trichord [a-z][^`]*)`", text):
        yield text[: match.start()].count("\n") + 1, match[1].split()


def inline_options(page: str) -> Iterator[tuple[int, str]]:
    """Options in the running text."""
    text = running(page)
    for match in re.finditer(r"`(--[a-z][^`]*)`", text):
        for name in options_of(match[1].split()):
            yield text[: match.start()].count("\n") + 1, name


def options_of(words: list[str]) -> set[str]:
    """Words that are options, without their values; every stage and draw is the same."""
    bare = (word.partition("=")[0].strip("\"'.") for word in words if re.match(r"--[a-z]", word))
    return {re.sub(r"\.([A-Z]|\d+)(?=\.)", ".N", name) for name in bare}


def options_by_command() -> dict[str, set[str]]:
    """Every command's options, as its help lists them; those of all experiments for `train`."""
    from trichord.cli.main import COMMANDS, OTHERS

    found: dict[str, set[str]] = {}
    for name in [*COMMANDS, *OTHERS.kinds()]:
        tails = {
            "train": OF_EACH_KIND,
            "import": ("clip", "clip4vla"),
            "check-encoder": ("clip-text", "clip-vision", "clap", "clip-audio"),
        }
        lines = [[name, tail, "--help"] for tail in tails.get(name, ())] or [[name, "--help"]]
        found[name] = set().union(*(options_of(helped(words)) for words in lines))
    return found


def helped(words: list[str]) -> list[str]:
    """The words of a command's help."""
    said = StringIO()
    with redirect_stdout(said), pytest.raises(SystemExit):
        main(words)
    return re.split(r"[\s,|{}\[\]()]+", said.getvalue())
