"""The one function that runs a shard, for all runners, and a worker that loads its own model."""

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


def run_shard(shard: Shard, model: Embedder, decoder: Decoder) -> Iterator[Part]:
    """Do what is left of a shard; gives each part once it is stored.

    A shard may run any number of times, also in several workers at once: what is stored already is
    skipped, and repeated rows replace one another.

    Raises:
        UserError: The towers are not those that the work was planned with, or the results cannot be
            stored.
    """
    if isinstance(shard, Extraction):
        if shard.tower_fingerprints != fingerprints(model, shard.modalities):
            name = shard.towers.model
            raise UserError(
                f"The towers of {name.system if isinstance(name, Experiment) else name} differ from "
                "those of the machine that planned the work: make them the same on all machines, and "
                "repeat the command."
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


class ShardWorker:
    """Runs shards one after another, with a model and a decoder of its own, which it keeps.

    Use it as a context manager: that ends the processes that decode.
    """

    def __init__(self) -> None:
        """Prepare for work; the first shard names the model and the number of decoders."""
        self._loaded: tuple[WorkerModel, Embedder] | None = None
        self._decoder: Decoder | None = None

    def __enter__(self) -> "ShardWorker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._decoder is not None:
            self._decoder.close()

    def run_shard(self, shard: Shard) -> Iterator[Part]:
        """As the function, with the model that the shard names."""
        towers, name = shard.towers, shard.towers.model
        if name is None:
            raise ValueError("The shard names no model, and there is none.")
        if self._loaded is None or self._loaded[0] != towers:
            model = Run(name).load() if isinstance(name, Path) else fresh_model(name)
            self._loaded = towers, model.to(towers.device)
        if self._decoder is None:
            self._decoder = Decoder(workers=towers.decoders)
        yield from run_shard(shard, self._loaded[1], self._decoder)
