"""The one function that does a shard, whoever calls it."""

from collections.abc import Iterator
from pathlib import Path

from trichord.bulk.shards import Extraction, Part, Shard, Towers, fingerprints
from trichord.checkpoint import Run, fresh_model
from trichord.config import Experiment
from trichord.features.extraction import extract_media, extract_texts
from trichord.features.store import FeatureFolder
from trichord.media import Decoder
from trichord.models.embedder import Embedder
from trichord.search.collection import Collection
from trichord.search.indexing import read_versions
from trichord.types import UserError


class Hand:
    """Carries out shards, one after another; model and decoder stay from one to the next.

    A shard may be carried out any number of times, by several hands at once too: what is stored
    already is skipped, and rows that come twice replace one another. Use it as a context manager.
    """

    def __init__(self, model: Embedder | None = None, decoder: Decoder | None = None) -> None:
        """Take up work.

        Args:
            model: Used for every shard; None: the one that the shard names is loaded.
            decoder: Likewise; whoever gave it closes it.
        """
        self._given = model
        self._lent = decoder
        self._loaded: tuple[Towers, Embedder] | None = None
        self._decoder: Decoder | None = None

    def __enter__(self) -> "Hand":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that decode."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def carry_out(self, shard: Shard) -> Iterator[Part]:
        """Do what is left to do of a shard; gives each part of it once that is stored.

        Raises:
            UserError: The towers are others than those that the work was planned with, or what is
                made cannot be stored.
        """
        model, decoder = self._model(shard.towers), self._reader(shard.towers)
        if isinstance(shard, Extraction):
            if shard.made_by != fingerprints(model, shard.modalities):
                raise UserError(
                    f"The towers of {_name(shard.towers)} are others here than where the work was "
                    "shared out: make them the same on all machines, and repeat the command."
                )
            folder = FeatureFolder(shard.features)
            yield from extract_texts(model, shard.texts, folder)
            yield from extract_media(model, shard.clips, folder, decoder, shard.modalities)
            return
        # No check of the towers here: `read_versions` compares the model with the collection's.
        yield from read_versions(
            Collection.open(shard.collection),
            model,
            decoder,
            shard.files,
            metadata=shard.told,
            speech=shard.speech,
        )

    def _model(self, towers: Towers) -> Embedder:
        if self._given is not None:
            return self._given
        if self._loaded is None or self._loaded[0] != towers:
            named = towers.model
            if named is None:
                raise ValueError("The shard names no model, and there is none.")
            model = Run(named).load() if isinstance(named, Path) else fresh_model(named)
            self._loaded = towers, model.to(towers.device)
        return self._loaded[1]

    def _reader(self, towers: Towers) -> Decoder:
        if self._lent is not None:
            return self._lent
        if self._decoder is None:
            self._decoder = Decoder(workers=towers.decoders)
        return self._decoder


def _name(towers: Towers) -> str:
    named = towers.model
    return named.system if isinstance(named, Experiment) else str(named)
