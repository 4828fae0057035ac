"""Experiments and studies by name, or from a file.

A new one of ours is a value in this package and a line here; anybody else's is a value in a Python file,
comes with a package, or is the `experiment.json` of a run.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from trichord.config import Experiment, read_experiment, resolve_towers
from trichord.encoders.foreign import describe
from trichord.experiments import clip4vla, crossed, ours, slava, studies
from trichord.experiments.named_models import (
    MODELS,
    NamedModel,
    is_weights,
    load_named_model,
)
from trichord.experiments.studies import Study
from trichord.types import UserError
from trichord.types.extras import package_hint
from trichord.types.plugins import Group, provide_file

T = TypeVar("T", Experiment, Study)


def untrained(named: NamedModel) -> Experiment:
    """A named model as an experiment without stages."""
    return Experiment(system="zero-shot", model=named.model)


EXPERIMENTS: dict[str, tuple[str, Experiment]] = {
    **slava.SYSTEMS,
    **clip4vla.SYSTEMS,
    **crossed.SYSTEMS,
    **ours.SYSTEMS,
    **{name: (one.about, untrained(one)) for name, one in MODELS.own.items()},
}
"""Name on the command line to its description and value."""
OTHERS: Group[Experiment | tuple[str, Experiment]] = Group("experiments", "experiment", {})
"""Experiments of other packages, by the entry point `trichord.experiments`: each a value, or a pair of a
description and a value."""
_STUDIES = (studies.COMPONENTS, studies.FUSION, studies.MODALITY, studies.AUDIO_TYPE)
STUDIES: Group[Study] = Group("studies", "study", {one.name: one for one in _STUDIES})
"""Studies by name; others come with packages, by the entry point `trichord.studies`."""


def load_experiment(given: str) -> Experiment:
    """An experiment by its name, as `FILE.json` (such as that of a run), or as `FILE.py:NAME`.

    The Python file runs; the parts that it defines are known from then on.

    Raises:
        UserError: There is none.
    """
    if given in EXPERIMENTS:
        return EXPERIMENTS[given][1]
    if given in OTHERS.kinds():
        return _described(given)[1]
    if given in MODELS.kinds() or is_weights(given):
        return untrained(load_named_model(given))
    if given.endswith(".json"):
        return resolve_towers(read_experiment(Path(given)), Path(given).parent)
    if is_in_python(given):
        return _from_python(given, Experiment)
    raise _unknown(given, "experiment", known_names(), "train")


def known_names() -> list[str]:
    """Names of all experiments, those of other packages too."""
    return list(dict.fromkeys([*EXPERIMENTS, *OTHERS.kinds(), *MODELS.kinds()]))


def load_study(given: str) -> Study:
    """A study by its name, or as `FILE.py:NAME`; the file runs, as that of an experiment does.

    Raises:
        UserError: There is none.
    """
    if given in STUDIES.kinds():
        return _from_package(STUDIES, given, Study)
    if is_in_python(given):
        return _from_python(given, Study)
    raise _unknown(given, "study", STUDIES.kinds(), "study")


def is_in_python(given: str) -> bool:
    """Whether something is named as `FILE.py:NAME`."""
    return given.rpartition(":")[0].endswith(".py") or given.endswith(".py")


def is_experiment(given: str) -> bool:
    """Whether something names an experiment or a model; files are not looked into."""
    file = given.endswith(".json") or is_in_python(given)
    return file or is_weights(given) or given in known_names()


def description(name: str) -> str:
    """What an experiment of another package is, in a line, and whose."""
    origin = OTHERS.origin(name)
    try:
        text, _ = _described(name)
    except UserError:  # a broken package must not hide the others
        return f"Of {origin}, which cannot be loaded."
    return f"{text} ({origin})" if text else f"Of {origin}."


def _described(name: str) -> tuple[str, Experiment]:
    """An experiment of another package, and its description; empty if it has none.

    Raises:
        UserError: It cannot be loaded, or is no experiment.
    """
    value: Any = OTHERS.find(name)
    text, experiment = value if isinstance(value, tuple) and len(value) == 2 else ("", value)
    if not isinstance(experiment, Experiment):  # an entry point may hold anything
        raise UserError(f"The experiment '{name}' of {OTHERS.origin(name)} is no Experiment.")
    return str(text), experiment


def _from_package(group: Group[T], given: str, kind: type[T]) -> T:
    value: Any = group.find(given)
    if not isinstance(value, kind):  # an entry point may hold anything
        raise UserError(
            f"The {group.noun} '{given}' of {group.origin(given)} is no {kind.__name__}."
        )
    return value


def _from_python(given: str, kind: type[T]) -> T:
    path, _, name = given.rpartition(":") if not given.endswith(".py") else (given, ":", "")
    values = vars(provide_file(Path(path)))
    known = [key for key, value in values.items() if isinstance(value, kind)]
    if name not in known:
        holds = f"it holds {', '.join(known)}" if known else "it holds none"
        noun = "an experiment" if kind is Experiment else "a study"
        raise UserError(f"{given}: name {noun} of the file, as in {path}:NAME; {holds}.")
    return values[name]


def _unknown(given: str, noun: str, known: Sequence[str], command: str) -> UserError:
    if what := describe(Path(given)):
        return UserError(f"'{given}' is {what}.")
    close = get_close_matches(given, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"'trichord {command} --help' lists them."
    return UserError(f"there is no {noun} '{given}': {package_hint(given) or hint}")
