"""The options of a command, found in what it gives to its parser, and wrong values of them."""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from inspect import Parameter, isclass, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import tyro

from trichord.cli.main import main
from trichord.config.parts import choice_of
from trichord.types import UserError
from trichord.types.rules import Distinct, option_name, rules_of

NUMBERS = [
    "-1", "-0.5", "-1e-9", "0", "0.5", "1", "1.5", "2", "3", "5e-2", "1e30", "nan", "inf", "-inf",
    "99999999999999999999", "4294967296", "65536", "ten", "0x10", "",
]  # fmt: skip
WORDS = [
    "nonsense", "Auto", "CPU", "gpu", "cuda:", "cuda:one", "mps", "two words", "split ", "1/2",
    "archive:8000", "None.", "test,val", "clip.mp4", "clip.mp4@soon", "yesterday", "2020-13-40", "{} {}",
]  # fmt: skip


class FormError(Exception):
    """Not a mistake: what a command gives to its parser."""


@dataclass(frozen=True)
class Option:
    """An option, or a positional argument with its place among the words of the line."""

    name: str
    annotation: Any
    place: int | None = None

    @property
    def types(self) -> list[Any]:
        """What its values, or the elements of several, may be."""
        return leaves(self.annotation)

    @property
    def flag(self) -> bool:
        """Whether it takes no value."""
        return self.types == [bool]

    @property
    def several(self) -> bool:
        """Whether it takes several values."""
        return get_origin(bare(self.annotation)) is tuple

    def legal(self, text: str) -> bool:
        """Whether a value may be written so."""
        return any(self._passes(value) for value in self._parsed(text))

    def _parsed(self, text: str) -> list[Any]:
        return [value for kind in self.types for value in parsed(text, kind)]

    def _passes(self, value: Any) -> bool:
        try:
            for rule in rules_of(self.annotation):
                if value is not None and not rule.whole:
                    rule.check(value, self.name)
        except UserError:
            return False
        return True

    def wrong(self, places: Sequence[Path]) -> list[list[list[str]]]:
        """All ways to get it wrong, as words of a command line, by kinds of mistakes.

        Args:
            places: What paths may name besides.
        """
        if self.flag:
            return [[[f"{self.name}=maybe"]], [[typo(self.name)]]]
        choices = [str(one) for kind in self.types for one in get_args(kind)]
        texts = [*NUMBERS, *WORDS, *map(str, places), *map(str.upper, choices)]
        illegal = [one for one in texts if self._parsed(one) and not self.legal(one)]
        ill_typed = [one for one in texts if not self._parsed(one)]
        if self.place is not None:
            kinds = [[[one] for one in some if one[:1] != "-"] for some in (illegal, ill_typed)]
        else:
            kinds = [
                *[[self._with(one) for one in illegal]] * 3,  # what rules are for comes most often
                [self._with(one) for one in ill_typed],
                [] if self.several else [[self.name]],
                [[typo(self.name), "1"]],
                self._too_many_or_few([*choices, *texts]),
            ]
        return [ways for ways in kinds if ways]

    def _with(self, text: str) -> list[str]:
        apart = text[:1] not in ("", "-") and len(text) % 2
        return [self.name, text] if apart else [f"{self.name}={text}"]

    def _too_many_or_few(self, texts: Sequence[str]) -> list[list[str]]:
        """Repetitions and nothing at all, where a rule refuses these."""
        found = []
        for rule in rules_of(self.annotation):
            if isinstance(rule, Distinct):
                found += [[self.name, one, one] for one in texts if self.legal(one)][:1]
                found += [[self.name]] if rule.least else []
        return found


def typo(name: str) -> str:
    """The name of no option, but nearly."""
    return f"{name[:-1]}xq"


def options_of(*words: str) -> list[Option]:
    """The options of a command, positional arguments first.

    Args:
        words: The command, and what chooses among forms of it: a subcommand or an experiment.
    """
    found = list(in_form(form_of(words)))
    place = [one for one in found if not one.name.startswith("-")]
    rest = [one for one in found if one.name.startswith("-")]
    return [Option(one.name, one.annotation, i) for i, one in enumerate(place)] + rest


def form_of(words: Sequence[str]) -> Any:
    """What a command gives to its parser; of a command of several forms, all by name."""

    def catch(form, *_, **__):
        raise FormError(form[words[1]] if isinstance(form, dict) and words[1:] else form)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tyro, "cli", catch)
        patch.setattr(tyro.extras, "subcommand_cli_from_dict", catch)
        try:
            main(words)
        except FormError as found:
            return found.args[0]
    raise AssertionError(f"{words} parsed nothing.")


def in_form(form: Any, prefix: str = "--"):
    """Options of a dataclass, of an object of such, or of a function."""
    if isclass(form) or is_dataclass(form):
        parts = [(one.name, one.type, default_of(form, one)) for one in fields(form)]
    else:
        parts = [
            (one.name, one.annotation, None if one.default is Parameter.empty else one.default)
            for one in signature(form).parameters.values()
        ]
    for name, annotation, default in parts:
        option = option_name(prefix, name, annotation)
        if (choice := choice_of(annotation)) is not None:
            mark, optional = choice
            yield Option(option, Literal[*mark.kinds(), *(["none"] if optional else [])])
        inner = default if is_dataclass(default) else bare(annotation)
        if is_dataclass(inner):
            yield from in_form(inner, option)
        elif isinstance(default, tuple) and default and is_dataclass(default[0]):
            for number, one in enumerate(default):
                yield from in_form(one, f"{option}.{number}")
        elif not any(is_dataclass(one) for one in leaves(annotation)):  # None: a part left out
            yield Option(option, annotation)


def default_of(form: Any, field: Any) -> Any:
    """What a field of a dataclass has; None where that must be given."""
    if not isclass(form):
        return getattr(form, field.name)
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def bare(annotation: Any) -> Any:
    """A type without what is annotated."""
    return bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def leaves(annotation: Any) -> list[Any]:
    """The types that a value may have."""
    kind = bare(annotation)
    if get_origin(kind) in (Union, UnionType):
        return [leaf for one in get_args(kind) for leaf in leaves(one)]
    return leaves(get_args(kind)[0]) if get_origin(kind) is tuple else [kind]


def parsed(text: str, kind: Any) -> list[Any]:
    """The value that a text stands for; none where it stands for no such value."""
    if kind is NoneType or kind is bool:
        return [{"None": None, "True": True, "False": False}[text]] if text in _NAMED[kind] else []
    if get_origin(kind) is Literal:
        return [one for one in get_args(kind) if str(one) == text]
    try:
        return [datetime.fromisoformat(text) if kind is datetime else kind(text)]
    except ValueError:
        return []


_NAMED = {NoneType: ("None",), bool: ("True", "False")}
