"""The model that `trichord index` reads files with: found without torch, loaded when there is work."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from trichord.api.collection_model import run_of
from trichord.api.model import CLIP_CLAP, fetch_towers, is_run, persistent
from trichord.api.text_encoders import cache_text_encoders
from trichord.cli.console import aside
from trichord.cli.threads import load_embedder
from trichord.types.rules import in_bucket, require

if TYPE_CHECKING:
    from trichord.config import Experiment
    from trichord.models.embedder import Embedder
    from trichord.search.collection import StoredCollection

FOLDER = "model"
"""Name of the run in an archive that keeps which folders of weights its model is made of."""


class ArchiveModel:
    """A model by name, one made of folders of weights, or that of an archive.

    Attributes:
        reference: How the archive refers to it.
    """

    def __init__(
        self,
        archive: str,
        collection: "StoredCollection | None",
        given: str | None,
        folders: "dict[str, Path]",
        place: "Callable[[Embedder], None]",
    ) -> None:
        """Find it; nothing is loaded.

        Args:
            archive: Where the archive is.
            collection: The archive; None if it is new.
            given: What `--model` names.
            folders: Folders of weights by the tower that they are of.
            place: Puts the model where it computes.

        Raises:
            UserError: Folders are given for a run, or for an archive in a bucket.
        """
        self._collection = collection
        self._place = place
        self._own = collection if given is None and not folders else None
        self._experiment: Experiment | None = None
        if folders:
            option = f"--model.{next(iter(folders))}.name"
            require(
                not in_bucket(archive),
                f"{option}: an archive in a bucket has no place for a model: make a run of the folders "
                "with 'trichord train clip-clap', and name it with --model.",
            )
            self._experiment = _experiment_of(given or CLIP_CLAP, folders, option)
            self.reference = str(Path(archive).absolute() / FOLDER)
        else:
            self.reference = self._own.run if self._own else persistent(given or CLIP_CLAP)

    @property
    def known(self) -> bool:
        """Whether the archive refers to it already, so that it need not be loaded to be compared."""
        if self._collection is None:
            return False
        if self._experiment is None:
            return self.reference == self._collection.run
        from trichord.config import read_experiment

        own = Path(self.reference)
        same = self.reference == self._collection.run and is_run(own)
        return same and read_experiment(own / "experiment.json") == self._experiment

    @cached_property
    def embedder(self) -> "Embedder":
        """The model, loaded at first use.

        Raises:
            UserError: It is missing, cannot be read, or is not the one of the archive's vectors.
        """
        name = self._experiment or (run_of(self._own) if self._own else self.reference)
        fetch_towers(name)
        model = load_embedder(name)
        if self._collection is not None:
            self._collection.require(model.fingerprint)
        self._place(model)
        return model

    @property
    def loaded(self) -> "Embedder | None":
        """The model if it has been loaded."""
        return vars(self).get("embedder")

    def store(self) -> None:
        """Store in the archive which folders of weights the model is made of, as a run."""
        if self._experiment is None or self.known:
            return
        from trichord.checkpoint import Progress, Run

        run = Run(Path(self.reference))
        shutil.rmtree(run.path, ignore_errors=True)
        run.start(self._experiment, "folders of weights")
        run.finish(self.embedder, self._experiment.objective.build(), Progress())


def _experiment_of(name: str, folders: "dict[str, Path]", option: str) -> "Experiment":
    """The experiment of a named model with the weights of folders, those of texts too."""
    from trichord.experiments import load_experiment

    require(not is_run(Path(name)), f"{option}: {name} is a run, which has its own: leave it out.")
    experiment = load_experiment(name)
    towers = experiment.model.towers()
    names = {towers[role].name: str(folder.absolute()) for role, folder in folders.items()}
    return replace(experiment, model=experiment.model.renamed(names))


def cache_encoders(collection: "StoredCollection", model: "Embedder") -> None:
    """Write the text encoders as graphs where they are missing, or say why text queries load torch."""
    said = "Writing its text encoders as ONNX graphs, once: for text queries without torch."
    announce = partial(aside.print, said)
    if (reason := cache_text_encoders(collection, model, announce)) is not None:
        aside.print(f"Text queries load torch: {reason}.", markup=False, soft_wrap=True)
