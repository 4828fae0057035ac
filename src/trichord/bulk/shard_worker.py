"""The one function that runs a shard, for all runners."""

from collections.abc import Iterator
from pathlib import Path

from trichord.bulk.shards import Extraction, Part, Shard, WorkerModel, fingerprints
from trichord.checkpoint import Run, fresh_model
from trichord.config import Experiment
from trichord.features.extraction import extract_media, extract_texts
from trichord.features.store import FeatureFolder
from trichord.media import Decoder
from trichord.models.embedder import Embedder
from trichord.search.collection import StoredCollection
from trichord.search.indexing import read_versions
from trichord.types import UserError


class ShardWorker:
    """Runs shards one after another; keeps model and decoder between them.

    A shard may run any number of times, also in several workers at once: what is stored already is
    skipped, and repeated rows replace one another. Use it as a context manager.
    """

    def __init__(self, model: Embedder | None = None, decoder: Decoder | None = None) -> None:
        """Prepare for work.

        Args:
            model: Used for every shard; None: load the model that the shard names.
            decoder: Used for every shard, and closed by the caller; None: start one.
        """
        self._own_model = model
        self._own_decoder = decoder
        self._loaded_model: tuple[WorkerModel, Embedder] | None = None
        self._decoder: Decoder | None = None

    def __enter__(self) -> "ShardWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that decode."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def run_shard(self, shard: Shard) -> Iterator[Part]:
        """Do what is left of a shard; gives each part once it is stored.

        Raises:
            UserError: The towers are not those that the work was planned with, or the results cannot
                be stored.
        """
        model, decoder = self._model(shard.towers), self._reader(shard.towers)
        if isinstance(shard, Extraction):
            if shard.tower_fingerprints != fingerprints(model, shard.modalities):
                raise UserError(
                    f"The towers of {_model_name(shard.towers)} differ from those of the machine that "
                    "planned the work: make them the same on all machines, and repeat the command."
                )
            folder = FeatureFolder(shard.features)
            yield from extract_texts(model, shard.texts, folder)
            yield from extract_media(model, shard.clips, folder, decoder, shard.modalities)
            return
        # No check of the towers here: `read_versions` compares the model with the collection's.
        yield from read_versions(
            StoredCollection.open(shard.collection),
            model,
            decoder,
            shard.files,
            metadata=shard.metadata,
            speech=shard.speech,
        )

    def _model(self, towers: WorkerModel) -> Embedder:
        if self._own_model is not None:
            return self._own_model
        if self._loaded_model is None or self._loaded_model[0] != towers:
            name = towers.model
            if name is None:
                raise ValueError("The shard names no model, and there is none.")
            model = Run(name).load() if isinstance(name, Path) else fresh_model(name)
            self._loaded_model = towers, model.to(towers.device)
        return self._loaded_model[1]

    def _reader(self, towers: WorkerModel) -> Decoder:
        if self._own_decoder is not None:
            return self._own_decoder
        if self._decoder is None:
            self._decoder = Decoder(workers=towers.decoders)
        return self._decoder


def _model_name(towers: WorkerModel) -> str:
    name = towers.model
    return name.system if isinstance(name, Experiment) else str(name)
