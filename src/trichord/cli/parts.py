"""Parts of an experiment chosen on the command line: `--model.audio clip-audio`, `--model.fusion none`.

The parser knows the fields of the parts that an experiment has. So there are two passes over the
arguments: this one takes out the options that choose a part, and puts that part's defaults into the
experiment; then the parser reads the fields of what is there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from trichord.config import TriModal
from trichord.config.parts import OneOf, choice_of
from trichord.encoders.foreign import describe
from trichord.experiments.named_models import MODELS, is_weights, load_named_model, put_into
from trichord.types import UserError

T = TypeVar("T")
NONE = "none"
MODEL = "--model"


def choose_parts(config: T, arguments: Sequence[str]) -> tuple[T, list[str]]:
    """A config with the parts that arguments choose, and the other arguments.

    Args:
        config: A dataclass, such as an experiment.
        arguments: Of the command line; of an option that is given twice, the last one counts.

    Raises:
        UserError: There is no part of that name, or its name is missing.
    """
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if option == MODEL and isinstance(getattr(config, "model", None), TriModal):
            config = _with_model(config, value if equals else next(words, ""))
            continue
        place = option.removeprefix("--").replace("-", "_").split(".")
        if not option.startswith("--") or (choice := _choice(config, place)) is None:
            rest.append(word)
            continue
        kind = value if equals else next(words, "")
        config = _put(config, place, _chosen(choice, kind, option, _part_at(config, place)))
    return config, rest


def _with_model(config: Any, given: str) -> Any:
    """A config with the encoders of a named model, or of a folder of weights."""
    if not given or given.startswith("--"):
        names = ", ".join(MODELS.kinds())
        raise UserError(
            f"{MODEL}: a value is missing: choose one of {names}, or a folder of weights."
        )
    if not is_weights(given) and not describe(Path(given)):
        MODELS.find(given, MODEL)
    return replace(config, model=put_into(config.model, load_named_model(given)))


def choices(config: Any, option: str = "--") -> Iterator[tuple[str, str]]:
    """The options that choose a part of a config, each with the names that may be given."""
    for name, value, annotation in _fields(config):
        place = f"{option}{'' if option == '--' else '.'}{name.replace('_', '-')}"
        if place == MODEL:
            yield MODEL, f"{', '.join(MODELS.kinds())}, a folder of weights, hub:USER/NAME"
        if (choice := choice_of(annotation)) is not None:
            mark, optional = choice
            yield place, ", ".join([*mark.kinds(), *([NONE] if optional else [])])
        yield from choices(value, place)


def _chosen(choice: tuple[OneOf, bool], kind: str, option: str, before: Any) -> Any:
    """The part of a name; None where none is chosen.

    It has its defaults, or the settings of the part before it, where its class extends that one's: so
    a variant of an encoder keeps the experiment's weights.
    """
    mark, optional = choice
    if optional and kind == NONE:
        return None
    if not kind or kind.startswith("--"):
        names = [*mark.kinds(), *([NONE] if optional else [])]
        raise UserError(f"{option}: a value is missing: choose one of {', '.join(names)}.")
    made = mark.config(kind, option)
    kept = before if before is not None and issubclass(made, type(before)) else None
    try:
        return made(**{one.name: getattr(kept, one.name) for one in fields(kept)} if kept else {})
    except TypeError as error:
        raise UserError(
            f"{option} {kind}: {made.__name__} has fields without a default ({error}): give them one."
        ) from error


def _fields(value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, value and annotation of each part of a config; those of a tuple are numbered."""
    if isinstance(value, tuple):
        for number, one in enumerate(cast("tuple[Any, ...]", value)):
            yield str(number), one, None
    elif is_dataclass(value):
        for one in fields(value):
            yield one.name, getattr(value, one.name), one.type


def _choice(config: Any, place: Sequence[str]) -> tuple[OneOf, bool] | None:
    """The mark of a field; None where it holds no part, or there is no such field."""
    annotation: Any = None
    for name in place:
        found = {known: (value, kind) for known, value, kind in _fields(config)}
        if name not in found:
            return None
        config, annotation = found[name]
    return choice_of(annotation)


def _part_at(config: Any, place: Sequence[str]) -> Any:
    """What a place of a config holds."""
    for name in place:
        config = next(value for known, value, _ in _fields(config) if known == name)
    return config


def _put(config: Any, place: Sequence[str], part: Any) -> Any:
    """A config with a part at a place."""
    if not place:
        return part
    name, *rest = place
    if isinstance(config, tuple):
        number, whole = int(name), cast("tuple[Any, ...]", config)
        return (*whole[:number], _put(whole[number], rest, part), *whole[number + 1 :])
    return replace(config, **{name: _put(getattr(config, name), rest, part)})
