"""What is done with every command's options: rules are checked, and a mistake is told in one line."""

import io
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import wraps
from importlib import import_module
from inspect import signature
from itertools import takewhile
from typing import Any, ParamSpec, TypeVar

from trichord.types import AudioType, UserError
from trichord.types.rules import option_name, require_legal

P = ParamSpec("P")
T = TypeVar("T")
Command = Callable[[list[str]], None]


def checked(command: Callable[P, T]) -> Callable[P, T]:
    """A function whose parameters are options, and which checks their rules before it begins."""

    @wraps(command)
    def check_and_call(*args: P.args, **kwargs: P.kwargs) -> T:
        known = signature(command)
        given = known.bind(*args, **kwargs)
        for name, value in given.arguments.items():
            annotation = known.parameters[name].annotation
            require_legal(value, annotation, option_name("--", name, annotation))
        return command(*args, **kwargs)

    return check_and_call


def audio_type_of(text: str) -> AudioType:
    """The audio type that `--audio-type` names.

    Raises:
        UserError: It names none.
    """
    if text == "none" or text == "both" or text == "clip":
        return text
    try:
        mix = {"verbal": 0.0, "nonverbal": 1.0}[text] if text.isalpha() else float(text)
    except (KeyError, ValueError):
        mix = -1.0
    if 0 <= mix <= 1:
        return mix
    raise UserError(
        f"--audio-type {text}: give verbal, nonverbal, both, none, clip, or a number from 0 (verbal) to 1 "
        "(nonverbal)."
    )


def mix_of(text: str) -> float:
    """The same where only a mix of verbal and nonverbal is possible.

    Raises:
        UserError: It names no mix.
    """
    audio_type = audio_type_of(text)
    if isinstance(audio_type, str):
        raise UserError(
            f"--audio-type {text}: give verbal, nonverbal, or a number from 0 (verbal) to 1 (nonverbal)."
        )
    return audio_type


def require_unset(asked: Any, mode: str, *others: str, prefix: str = "--") -> None:
    """Refuse options that another one would pass over in silence.

    Args:
        asked: A dataclass of options.
        mode: What passes over them, such as another option.
        others: Names of their fields.
        prefix: Of the names of the options.

    Raises:
        UserError: One of them has another value than by default.
    """
    for field in fields(asked):
        value = getattr(asked, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if field.name not in others or value == default:
            continue
        if is_dataclass(value):
            names = (one.name for one in fields(value))
            require_unset(value, mode, *names, prefix=option_name(prefix, field.name, field.type))
        name = option_name(prefix, field.name, field.type)
        raise UserError(f"{name} has no effect with {mode}: leave it out.")


@contextmanager
def mistakes_in_one_line(command: Command, given: Sequence[str]) -> Generator[None]:
    """Tell what the parser refuses as a `UserError`, of one line, instead of in its box.

    The parser's events are not of its public interface. Should a later version lack them, or have
    others, it draws its box: there is nothing else to rely on.

    Args:
        command: Whose options are parsed.
        given: Its arguments.
    """
    try:
        events: Any = import_module("tyro._errors")
    except ImportError:
        yield
        return

    def tell(event: Any) -> None:
        if (sentence := SENTENCES.get(type(event).__name__)) is not None:
            raise UserError(sentence(event, Line(command, given)))

    with events.on_parse_error(tell):
        yield


class Line:
    """A command line, as far as the parser does not remember it."""

    def __init__(self, command: Command, given: Sequence[str]) -> None:
        self.command = command
        self.given = given

    def value(self, argument: Any) -> str:
        """What was given to an option, with a blank before it."""
        option, most = _label(argument), argument.lowered.nargs
        values: list[str] = []
        inside = False
        for word in self.given:
            name, _, value = word.partition("=")
            if name.replace("_", "-") == option:
                inside, values = not value, [value] if value else []
            elif word.startswith("--"):
                inside = False
            elif inside:
                values.append(word)
        return "".join(f" {one}" for one in values[: most if isinstance(most, int) else None])

    def options(self) -> list[str]:
        """All options of the command, as its help lists them."""
        shown = io.StringIO()
        events: Any = import_module("tyro._errors")
        with (
            events.on_parse_error(_leave),  # what asks for the help is this very hook
            redirect_stdout(shown),
            redirect_stderr(io.StringIO()),
            suppress(SystemExit, UserError),
        ):
            self.command([*takewhile(_is_value, self.given), "--help"])
        lines = re.findall(r"^[^\w\s-]?\s{0,4}(-.*)", shown.getvalue(), re.MULTILINE)
        return re.findall(r"(?<!\S)--\w(?:[\w.-]*\w)?", "\n".join(lines))

    def closest(self, option: str) -> str:
        """The option that was meant; its last part is enough to be found by."""
        # Of several that end alike, the first is left in the dictionary.
        names = {f"--{name.lstrip('-').rpartition('.')[2]}": name for name in self.options()[::-1]}
        names |= {name: name for name in names.values()}
        return names[close[0]] if (close := get_close_matches(option, names, n=1)) else ""


def _leave(event: Any) -> None:
    """A hook that leaves an event to the parser."""


def _is_value(word: str) -> bool:
    return not word.startswith("-")


def _label(argument: Any) -> str:
    """What an argument is called: an option as it is typed, another by its metavar."""
    lowered = argument.lowered
    return str(lowered.metavar if argument.is_positional() else lowered.name_or_flags[0])


def _kind(argument: Any) -> str:
    """What an argument takes, in words."""
    metavar = str(argument.lowered.metavar)
    if several := re.fullmatch(r"\[(\S+) \[.*\.\.\.\]\]", metavar):
        metavar = several[1]
    for name, words in KINDS.items():
        metavar = metavar.replace(name, words)
    return re.sub(r"[|,]", ", ", re.sub(r"[{}]", "", metavar))


KINDS = {
    "{None}|": "", "{None,": "{",
    "FLOAT": "a number", "INT": "a whole number", "STR": "a text", "PATH": "a path",
}  # fmt: skip
"""What the parser writes for types, in words; an option is left out rather than given None."""


def _missing(event: Any, line: Line) -> str:
    if any(one.startswith("-") for one in event.unrecognized_tokens):
        return _unknown(event.unrecognized_tokens, event.prog, line)
    names = [_label(one.arg) for one in event.missing_arguments]
    *others, last = names
    lacking = f"{', '.join(others)} and {last} are" if others else f"{last} is"
    return f"{lacking} missing: '{event.prog} --help' says what is given in which order."


def _unknown(tokens: Sequence[str], program: str, line: Line) -> str:
    options = [one.partition("=")[0] for one in tokens if one.startswith("-")]
    if not options:
        return _too_many(tokens[0], program, line)
    close = line.closest(options[0])
    hint = f"did you mean {close}?" if close else f"'{program} --help' lists all options."
    if close == options[0]:  # an option of another member of a union, such as another optimizer
        hint = "it belongs to another choice than the one that was made for this part."
    return f"there is no option {options[0]}: {hint}"


def _too_many(token: str, program: str, line: Line) -> str:
    if token == line.given[0]:
        return f"there is no '{token}': '{program} --help' lists what there is."
    if flag := next((one for one in line.given if one.endswith(f"={token}")), ""):
        return f"{flag}: it takes no value: give {flag.partition('=')[0]} alone."
    return f"'{token}' is one argument too many: leave it out; see '{program} --help'."


def _bad_value(event: Any, line: Line) -> str:
    argument = event.argument
    if argument.is_positional():  # an unknown option stands where its value should
        known = {"-h", *line.options()}
        unknown = [
            one for one in line.given if not _is_value(one) and one.partition("=")[0] not in known
        ]
        return _unknown(unknown, event.prog, line)
    return f"{_label(argument)}{line.value(argument)}: a value is missing: give {_kind(argument)}."


def _no_choice(event: Any, line: Line) -> str:
    # The choices of the event are in no order where the type is a union.
    return f"{_label(event.argument)} {event.value}: choose one of {_kind(event.argument)}."


def _not_made(event: Any, line: Line) -> str:
    if event.argument is None:
        return " ".join(str(event.message).split())
    return f"{_label(event.argument)}{line.value(event.argument)}: give {_kind(event.argument)}."


def _no_subcommand(event: Any, line: Line) -> str:
    return f"name one of {', '.join(event.subcommand_spec.parser_from_name)} first."


SENTENCES: dict[str, Callable[[Any, Line], str]] = {
    "MissingArgs": _missing,
    "UnrecognizedArgs": lambda event, line: _unknown(event.tokens, event.prog, line),
    "BadValue": _bad_value,
    "InvalidChoice": _no_choice,
    "InstantiationFailure": _not_made,
    "MissingSubcommand": _no_subcommand,
}
"""The parser's events by name, and what is said of them."""
