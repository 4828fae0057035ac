"""From the prompt to a command, and from an exception to one line."""

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path

from trichord.types import UserError
from trichord.types.extras import extras_named, package_hint
from trichord.types.plugins import Group, provide_file, temporary_parts
from trichord.types.threads import let_numpy_threads_sleep

COMMANDS: dict[str, tuple[str, str]] = {
    "doctor": ("trichord.cli.corpora", "what each file holds, what is missing or broken"),
    "prepare": ("trichord.cli.corpora", "published annotations and media -> manifest"),
    "compose": (
        "trichord.cli.composing",
        "captions of sound and of picture -> audio-visual ones, by a language model",
    ),
    "extract": ("trichord.cli.extraction", "read frozen towers once -> cached features, resumable"),
    "train": ("trichord.cli.training", "an experiment -> a run"),
    "reproduce": ("trichord.cli.reproduction", "a run made again: do the numbers agree?"),
    "evaluate": (
        "trichord.cli.results",
        "retrieval or captions of a run or model -> table, JSON, figure",
    ),
    "compare": ("trichord.cli.results", "runs side by side, with intervals"),
    "probe": ("trichord.cli.probing", "a linear classifier on a run's frozen features"),
    "classify": ("trichord.cli.probing", "classes by prompts alone, zero-shot"),
    "study": (
        "trichord.cli.studies",
        "rows of experiments x seeds, trained and measured -> one table",
    ),
    "index": ("trichord.cli.indexing", "moments of files -> archive, incremental, resumable"),
    "relocate": ("trichord.cli.relocation", "the files of an archive are in another folder now"),
    "search": ("trichord.cli.searching", "find moments by text, picture, sound or clip"),
    "cut": ("trichord.cli.cutting", "hits of a search -> media files"),
    "serve": ("trichord.cli.serving", "search an archive in the browser and over HTTP"),
    "caption": (
        "trichord.cli.captioning",
        "write what is seen and heard in files, moment by moment",
    ),
    "transcribe": (
        "trichord.cli.transcribing",
        "what is said in files: read from subtitles or recognised, resumable",
    ),
    "models": ("trichord.cli.models", "what --model may name, and what is on this machine"),
    "check-encoder": ("trichord.cli.conformance", "does an encoder keep to the protocol?"),
    "import": ("trichord.cli.imports", "published checkpoints -> a run"),
    "export": ("trichord.cli.exporting", "a run -> ONNX graphs, with a parity check"),
}
"""Name to the module that holds it, imported only when it is called, and one line of help."""
OTHERS: Group[Callable[[list[str]], None]] = Group("commands", "command", {})
"""Commands of other packages, by the entry point `trichord.commands`: functions of the arguments. The first
line of a function's docstring is its line of help."""


SMALL_PRODUCTS = {"caption", "cut", "extract", "index", "search"}
"""Commands whose matrices are so small in NumPy, a text's or a spectrogram's, that its threads would only
wait for one another, and hold cores that decoders and torch could use."""

_GO_ON = "nothing is lost, repeat the command to go on"
"""What to do after an interruption; `cut` never writes to a file that exists, even its own."""


@temporary_parts()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    The exit code is 0; 1 where `reproduce` finds other numbers or `check-encoder` a flaw; 2 for a
    user's mistake; 130 for an interruption, 143 after SIGTERM.
    """
    _bear_any_name()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        given = _provided(given)
    except UserError as error:
        return _complain(f"trichord: {error}")
    if not given or given[0] in ("-h", "--help"):
        print(overview())
        return 0
    if given[0] == "--version":
        print(f"trichord {version('trichord')}")
        return 0
    name = given[0]
    if name not in COMMANDS and name not in OTHERS.kinds():
        return _complain(f"trichord: there is no command '{name}'{_closest(name)}")
    let_numpy_threads_sleep(one=name in SMALL_PRODUCTS)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # its advice would hide our one line
    try:
        with extras_named():
            command = _command(name)
            from trichord.cli.options import mistakes_in_one_line

            with mistakes_in_one_line(command, given[1:]):
                command(given[1:])
    except UserError as error:
        return _complain(f"trichord {name}: {error}")
    except KeyboardInterrupt:
        remedy = "delete its files, or name another folder" if name == "cut" else _GO_ON
        print(f"\ntrichord {name}: interrupted; {remedy}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `trichord search ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _command(name: str) -> Callable[[list[str]], None]:
    """The function of a command."""
    if name in COMMANDS:
        return getattr(import_module(COMMANDS[name][0]), name.replace("-", "_"))
    return OTHERS.find(name)


def _provided(given: Sequence[str]) -> list[str]:
    """Arguments without `--plugin FILE`, whose parts are known from here on.

    Raises:
        UserError: A file is missing, or fails.
    """
    rest: list[str] = []
    words = iter(given)
    for word in words:
        option, equals, value = word.partition("=")
        if option != "--plugin":
            rest.append(word)
            continue
        path = value if equals else next(words, "")
        if not path or path.startswith("--"):
            raise UserError("--plugin: a value is missing: name a Python file that defines parts.")
        provide_file(Path(path))
    return rest


def _bear_any_name() -> None:
    """Let a terminal show what it lacks the letters for: file names may hold anything."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def overview() -> str:
    """All commands, a line each."""
    width = max(map(len, [*COMMANDS, *OTHERS.kinds()]))
    lines = [f"  {name:<{width}}  {help}" for name, (_, help) in COMMANDS.items()]
    lines += [f"  {name:<{width}}  {_described(name)}" for name in OTHERS.kinds()]
    commands = "\n".join(lines)
    return f"""\
usage: trichord COMMAND [options]      trichord COMMAND --help      trichord --version

Language, sound and sight in one embedding space: train it, measure it, search with it.

{commands}

With any command: --plugin FILE.py, once or more: encoders, losses and other parts of yours."""


def _described(name: str) -> str:
    """What a command of another package says of itself, and whose it is."""
    said, package = OTHERS.summary(name), f"of {OTHERS.origin(name)}"
    return f"{said[0].lower()}{said[1:]} ({package})" if said else package


def _closest(name: str) -> str:
    if missing := package_hint(name):
        return f"; {missing}"
    close = difflib.get_close_matches(name, [*COMMANDS, *OTHERS.kinds()], n=1)
    return f"; did you mean '{close[0]}'?" if close else "; 'trichord --help' lists them"


def _complain(line: str) -> int:
    print(line, file=sys.stderr)
    return 2
