"""Which values the fields of a configuration may hold, and a check that names the ones that are wrong.

A field declares its range with `limited`; a rule about several fields is a method `flaws` of their
dataclass. Types and choices come from the annotations.
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
    """The numbers that a field may hold."""

    at_least: float | int | None = None
    above: float | int | None = None
    at_most: float | int | None = None
    below: float | int | None = None

    def holds(self, number: float | int) -> bool:
        """Whether a number is finite and in the range."""
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
    """A configuration with rules about several of its fields."""

    def flaws(self) -> Iterator[tuple[str, str]]:
        """For each broken rule, the field to name and the text that follows its name."""
        ...


def limited(
    default: Any,
    *,
    at_least: float | int | None = None,
    above: float | int | None = None,
    at_most: float | int | None = None,
    below: float | int | None = None,
    training_only: bool = False,
) -> Any:
    """A dataclass field whose number must be in a range; None passes if the type allows it.

    Args:
        default: The field's default.
        at_least: The lowest number allowed.
        above: A bound that the number must exceed.
        at_most: The highest number allowed.
        below: A bound that the number must stay under.
        training_only: The field has no effect on what a trained model computes.
    """
    kept = Range(at_least=at_least, above=above, at_most=at_most, below=below)
    return field(default=default, metadata={"range": kept, "training_only": training_only})


def settings_of(config: Any) -> str:
    """A configuration as text, without the fields that matter in training only: for fingerprints."""
    lasting = [one.name for one in fields(config) if not one.metadata.get("training_only")]
    return f"{type(config).__name__} { {name: getattr(config, name) for name in lasting} }"


def check(config: Any, option: str = "") -> None:
    """Refuse a configuration that holds an impossible value.

    Args:
        config: A dataclass.
        option: As for `flaws`.

    Raises:
        UserError: Names the option and the remedy.
    """
    for flaw in flaws(config, option):
        raise UserError(flaw)


def broken(*rules: tuple[bool, str, str]) -> Iterator[tuple[str, str]]:
    """The broken ones of some rules: (is it broken, the field, the text that follows its name)."""
    yield from ((name, wrong) for is_broken, name, wrong in rules if is_broken)


def flaws(config: Any, option: str = "") -> Iterator[str]:
    """Everything that is wrong with a configuration and its parts, one line each.

    Args:
        config: A dataclass.
        option: The option that holds it, such as `--stages.0`; empty for a whole experiment.
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
    # Rules about several fields rely on each of them being valid by itself.
    if not found and isinstance(config, Ruled):
        found = [f"{_below(option, name)} {wrong}" for name, wrong in config.flaws()]
    yield from found


def _below(option: str, name: str) -> str:
    """The option of a part: `--stages.0.batch-size`."""
    name = name.replace("_", "-")
    return f"{option}.{name}" if option else f"--{name}"


def _parts(value: Any, option: str) -> Iterator[tuple[str, Any]]:
    """The configurations inside a field's value, with their options."""
    if is_dataclass(value):
        yield option, value
    elif isinstance(value, tuple):
        for number, part in enumerate(value):
            yield from _parts(part, _below(option, str(number)))


def _flaw(value: Any, hint: Any, metadata: Mapping[str, Any]) -> str | None:
    """The text that follows a field's name if its value is wrong."""
    if not _fits(value, hint):
        choices = ", ".join(str(choice) for choice in _choices(hint))
        return f"{value!r}: " + (
            f"choose one of {choices}." if choices else "it is of the wrong type."
        )
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    kept: Range = metadata.get("range", Range())
    kind = "number" if _fits(0.5, hint) else "whole number"
    shown = value if isinstance(value, int) else f"{value:g}"
    return None if kept.holds(value) else f"{shown}: give a {kind} {kept}."


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; types that configurations do not use pass."""
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
    """The values that a type names."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
        return
    for one in get_args(hint):
        yield from _choices(one)
