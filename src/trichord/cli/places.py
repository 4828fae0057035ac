"""Runs, experiments and collections as commands name them, looked at before anything heavy is loaded."""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from trichord.types import UserError
from trichord.types.rules import Checked, in_bucket


def is_run(place: Path) -> bool:
    """Whether a place is a run directory."""
    try:
        return (place / "experiment.json").is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def seeds_in(folder: Path) -> list[Path]:
    """The runs in a folder of seeds."""
    try:
        return [run.parent for run in sorted(folder.glob("seed-*/experiment.json"))]
    except OSError:
        return []


def require_run(place: Path) -> None:
    """Refuse what is no run."""
    if not is_run(place):
        raise UserError(f"{place} is no run: name a directory that 'trichord train' made.")


def require_model(name: str) -> None:
    """Refuse what is neither a run nor the name of an experiment."""
    from trichord.experiments import EXPERIMENTS  # a search does without

    if is_run(Path(name)) or (name in EXPERIMENTS and not Path(name).is_dir()):
        return
    close = get_close_matches(name, EXPERIMENTS, n=1)
    hint = f"did you mean '{close[0]}'?" if close else "'trichord train --help' lists experiments."
    raise UserError(f"'{name}' is neither a run directory nor an experiment: {hint}")


def require_collection(place: str) -> None:
    """Refuse a folder that is no collection; a bucket is asked when it is opened."""
    from trichord.search.collection import Collection

    if not in_bucket(place):
        Collection.open(place)


RunPlace = Annotated[Path, Checked(require_run)]
ModelName = Annotated[str, Checked(require_model)]
CollectionPlace = Annotated[str, Checked(require_collection)]
