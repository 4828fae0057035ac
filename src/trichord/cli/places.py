"""Runs, experiments and collections as commands name them, looked at before anything heavy is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from trichord.api.model import is_run, require_model
from trichord.types import UserError
from trichord.types.rules import Checked, in_bucket

if TYPE_CHECKING:
    from trichord.checkpoint import Run, Untrained
    from trichord.config import Experiment
    from trichord.search.collection import StoredCollection


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


def require_measurable(given: str) -> None:
    """Refuse what is neither a run, a folder of seeds nor a model."""
    if not seeds_in(Path(given)):
        require_model(given)


def names_in(given: str) -> list[str]:
    """What a name stands for: a run, the runs in a folder of seeds, or a model."""
    seeds = [] if is_run(Path(given)) else seeds_in(Path(given))
    return [str(seed) for seed in seeds] or [given]


def experiment_of(name: str) -> "Experiment":
    """The experiment of a run or of a model before training; without torch."""
    from trichord.config import read_experiment
    from trichord.experiments import load_experiment

    if is_run(Path(name)):
        return read_experiment(Path(name) / "experiment.json")
    return load_experiment(name)


def subject_of(name: str) -> "Run | Untrained":
    """A run, or a model before training, as it is measured."""
    from trichord.checkpoint import Run, Untrained

    if is_run(Path(name)):
        return Run(Path(name))
    return Untrained(name, experiment_of(name))


def open_collection(place: str | Path) -> "StoredCollection":
    """Open an archive.

    Raises:
        UserError: There is none, or it is damaged.
    """
    from trichord.search.collection import StoredCollection

    return StoredCollection.open(place)


def require_backend(kind: str) -> None:
    """Refuse the name of no search backend."""
    from trichord.search.nearest import BACKENDS

    BACKENDS.find(kind, "--backend")


def require_collection(place: str) -> None:
    """Refuse a folder that is no collection; a bucket is asked when it is opened."""
    from trichord.search.collection import StoredCollection

    if not in_bucket(place):
        StoredCollection.open(place)


RunPlace = Annotated[Path, Checked(require_run)]
ModelName = Annotated[str, Checked(require_model)]
MeasuredName = Annotated[str, Checked(require_measurable)]
CollectionPlace = Annotated[str, Checked(require_collection)]
