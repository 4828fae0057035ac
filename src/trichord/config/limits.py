"""A check of a configuration: types, the rules of its fields, and rules about several fields.

A field has its range in its annotation (see `trichord.types.rules`); a rule about several fields is a
method `flaws` of their dataclass. Types and choices come from the annotations.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
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

from trichord.types.rules import option_name, require, require_legal

TRAINING_ONLY = {"training_only": True}
"""Metadata of a field without effect on a trained model."""


@runtime_checkable
class Ruled(Protocol):
    """A configuration with rules about several of its fields."""

    def flaws(self) -> Iterator[tuple[str, str]]:
        """For each broken rule, the field to name and the text that follows its name."""
        ...


def fingerprint_text(config: Any) -> str:
    """A configuration as text, without training-only fields: for fingerprints."""
    names = [one.name for one in fields(config) if not one.metadata.get("training_only")]
    return f"{type(config).__name__} { {name: getattr(config, name) for name in names} }"


def check(config: Any, option: str = "--") -> None:
    """Refuse a configuration with an impossible value.

    Args:
        config: A dataclass.
        option: Its option, such as `--stages.0`; `--` for a whole experiment.

    Raises:
        UserError: Names the option and the remedy.
    """
    parts = list(_parts(config, option))
    for place, part in parts:
        _require_types(part, place)
    require_legal(config, option=option)
    for place, part in parts:
        if isinstance(part, Ruled):
            for name, wrong in part.flaws():
                require(False, f"{option_name(place, name, None)} {wrong}")


def _parts(value: Any, option: str) -> Iterator[tuple[str, Any]]:
    """The configurations in a value, with their options; parts come first."""
    if is_dataclass(value):
        for one in fields(value):
            yield from _parts(getattr(value, one.name), option_name(option, one.name, one.type))
        yield option, value
    elif isinstance(value, tuple):
        for number, part in enumerate(value):
            yield from _parts(part, f"{option}.{number}")


def _require_types(config: Any, option: str) -> None:
    """Refuse a value of another type than its field."""
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        choices = ", ".join(str(choice) for choice in _choices(hint))
        remedy = f"choose one of {choices}" if choices else "it is of the wrong type"
        require(_fits(value, hint), f"{option_name(option, name, hint)} {value!r}: {remedy}.")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; types that configurations do not use are not checked."""
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
    """The values of all literals in a type."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
        return
    for one in get_args(hint):
        yield from _choices(one)
