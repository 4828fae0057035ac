"""What values the fields of a configuration may take, and which of them do not keep to it.

A field states its range where it stands (`limited`); a rule for several fields is a method `flaws` of
their dataclass. Types and choices are read from the annotations.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import UnionType
from typing import (
    Any,
    Literal,
    Protocol,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from trichord.types import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Numbers that a field may hold."""

    at_least: float | int | None = None
    above: float | int | None = None
    at_most: float | int | None = None
    below: float | int | None = None

    def holds(self, number: float | int) -> bool:
        """Whether a number is finite and lies within."""
        return (
            math.isfinite(number)
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        low = f"above {self.above:g}" if self.above is not None else ""
        high = f"below {self.below:g}" if self.below is not None else ""
        if self.at_most is not None:
            high = f"{self.at_most:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        if self.at_least is not None:
            low = f"from {self.at_least:g} to" if high else f"of {self.at_least:g} or more"
        return " ".join(part for part in (low, high) if part) or "that is finite"


@runtime_checkable
class Ruled(Protocol):
    """A configuration with rules that concern several of its fields."""

    def flaws(self) -> Iterator[tuple[str, str]]:
        """The field that a rule is broken at, and what to say after its name."""
        ...


def limited(
    default: Any,
    *,
    at_least: float | int | None = None,
    above: float | int | None = None,
    at_most: float | int | None = None,
    below: float | int | None = None,
    in_training: bool = False,
) -> Any:
    """A field of a dataclass whose numbers lie in a range; None is none of them.

    Args:
        default: Of the field.
        at_least: The lowest.
        above: All are higher.
        at_most: The highest.
        below: All are lower.
        in_training: What is built computes with it only while it trains.
    """
    kept = Range(at_least=at_least, above=above, at_most=at_most, below=below)
    return field(default=default, metadata={"range": kept, "in_training": in_training})


def settings_of(config: Any) -> str:
    """A configuration as text: all that decides what is computed with it once training is over."""
    lasting = [one.name for one in fields(config) if not one.metadata.get("in_training")]
    return f"{type(config).__name__} { {name: getattr(config, name) for name in lasting} }"


def check(config: Any, option: str = "") -> None:
    """Refuse a configuration with a value that nothing could be made or trained with.

    Args:
        config: A dataclass.
        option: As for `flaws`.

    Raises:
        UserError: Names the option and the remedy.
    """
    for flaw in flaws(config, option):
        raise UserError(flaw)


def broken(*rules: tuple[bool, str, str]) -> Iterator[tuple[str, str]]:
    """Of rules for several fields those that are: whether it is, the field, what to say after its name."""
    yield from ((name, wrong) for is_broken, name, wrong in rules if is_broken)


def flaws(config: Any, option: str = "") -> Iterator[str]:
    """What is wrong with a configuration and with all that it is made of, a line each.

    Args:
        config: A dataclass.
        option: Where it stands in the whole, as the command line names it.
    """
    hints = get_type_hints(type(config))
    found = [
        f"{_below(option, one.name)} {wrong}"
        for one in fields(config)
        if (wrong := _flaw(getattr(config, one.name), hints[one.name], one.metadata))
    ]
    for one in fields(config):
        for path, part in _parts(getattr(config, one.name), _below(option, one.name)):
            found += flaws(part, path)
    # Rules for several fields take it for granted that each by itself is right.
    if not found and isinstance(config, Ruled):
        found = [f"{_below(option, name)} {wrong}" for name, wrong in config.flaws()]
    yield from found


def _below(option: str, name: str) -> str:
    """The option of a part: `--stages.0.batch-size`."""
    name = name.replace("_", "-")
    return f"{option}.{name}" if option else f"--{name}"


def _parts(value: Any, option: str) -> Iterator[tuple[str, Any]]:
    """The configurations that a field holds, with their options."""
    if is_dataclass(value):
        yield option, value
    elif isinstance(value, tuple):
        for number, part in enumerate(value):
            yield from _parts(part, _below(option, str(number)))


def _flaw(value: Any, hint: Any, metadata: Mapping[str, Any]) -> str | None:
    """What to say of a field's value after its name, if it is wrong."""
    if not _fits(value, hint):
        choices = ", ".join(str(choice) for choice in _choices(hint))
        return f"{value!r}: " + (f"choose of {choices}." if choices else "it is of the wrong type.")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    kept: Range = metadata.get("range", Range())
    kind = "number" if _fits(0.5, hint) else "whole number"
    shown = value if isinstance(value, int) else f"{value:g}"
    return None if kept.holds(value) else f"{shown}: give a {kind} {kept}."


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, as far as such a type is known here."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, inner[0]) for one in value)
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)


def _choices(hint: Any) -> Iterator[Any]:
    """What a field takes by name."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
        return
    for one in get_args(hint):
        yield from _choices(one)
