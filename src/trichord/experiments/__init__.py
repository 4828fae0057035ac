"""Experiments by name, or from a file.

A new one of ours is a value in this package and a line here; anybody else's is a value in a Python file,
or the `experiment.json` of a run.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from trichord.config import Experiment, read_experiment, resolve_towers
from trichord.experiments import clip4vla, crossed, slava
from trichord.types import UserError
from trichord.types.plugins import Group, provide_file

_ON_WORLD: dict[str, tuple[str, Experiment]] = {
    **{name: (what, slava.on_world(it)) for name, (what, it) in slava.SYSTEMS.items()},
    **{name: (what, clip4vla.on_world(it)) for name, (what, it) in clip4vla.ON_WORLD.items()},
    **crossed.ON_WORLD,
}
EXPERIMENTS: dict[str, tuple[str, Experiment]] = {
    **slava.SYSTEMS,
    **clip4vla.SYSTEMS,
    **crossed.SYSTEMS,
    **{
        f"world-{name}": (f"{what} With the stand-in towers of the generated world.", it)
        for name, (what, it) in _ON_WORLD.items()
    },
}
"""Name on the command line to its description and value."""
OTHERS: Group[Experiment] = Group("experiments", "experiment", {})
"""Experiments of other packages, by the entry point `trichord.experiments`."""


def load_experiment(given: str) -> Experiment:
    """An experiment by its name, as `FILE.json` (such as that of a run), or as `FILE.py:NAME`.

    The Python file runs; the parts that it defines are known from then on.

    Raises:
        UserError: There is none.
    """
    if given in EXPERIMENTS:
        return EXPERIMENTS[given][1]
    if given in OTHERS.kinds():
        found: Any = OTHERS.find(given)
        if not isinstance(found, Experiment):  # an entry point may hold anything
            raise UserError(f"The experiment '{given}' of {OTHERS.origin(given)} is no Experiment.")
        return found
    if given.endswith(".json"):
        return resolve_towers(read_experiment(Path(given)), Path(given).parent)
    if is_in_python(given):
        return _from_python(given)
    close = get_close_matches(given, [*EXPERIMENTS, *OTHERS.kinds()], n=1)
    hint = f"did you mean '{close[0]}'?" if close else "'trichord train --help' lists them."
    raise UserError(f"there is no experiment '{given}': {hint}")


def is_in_python(given: str) -> bool:
    """Whether an experiment is named as `FILE.py:NAME`."""
    return given.rpartition(":")[0].endswith(".py") or given.endswith(".py")


def is_experiment(given: str) -> bool:
    """Whether something names an experiment; files are not looked into."""
    ours = given in EXPERIMENTS or given.endswith(".json") or is_in_python(given)
    return ours or given in OTHERS.kinds()


def _from_python(given: str) -> Experiment:
    path, _, name = given.rpartition(":") if not given.endswith(".py") else (given, ":", "")
    held = vars(provide_file(Path(path)))
    known = [key for key, value in held.items() if isinstance(value, Experiment)]
    if name not in known:
        there = f"it holds {', '.join(known)}" if known else "it holds none"
        raise UserError(f"{given}: name an experiment of the file, as in {path}:NAME; {there}.")
    return held[name]
