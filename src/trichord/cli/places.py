"""Runs, experiments and collections as commands name them, looked at before anything heavy is loaded."""

from pathlib import Path
from typing import Annotated

from trichord.api.model import is_run, require_model
from trichord.types import UserError
from trichord.types.rules import Checked, in_bucket


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
CollectionPlace = Annotated[str, Checked(require_collection)]
