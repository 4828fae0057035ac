"""A model as an embedding function of LanceDB, for tables that are kept there.

from lancedb.pydantic import LanceModel, Vector
from trichord.api.lancedb import Trichord

visual = Trichord.create(run="runs/mine/seed-0", modality="vision")

class Video(LanceModel):
    path: str = visual.SourceField()
    vector: Vector(visual.ndims()) = visual.VectorField()
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lancedb.embeddings import EmbeddingFunction, register

from trichord.api.model import Model, load
from trichord.types import UserError

Row = np.ndarray[Any, np.dtype[np.float32]] | None


@register("trichord")
class Trichord(EmbeddingFunction):
    """Visual or audio vectors of the media files of a column; queries are texts or files.

    A file without the modality, or one that cannot be read, gets no vector (None).

    Attributes:
        run: A run's folder, or an experiment's name.
        modality: Which modality of the files is embedded.
        device: `cpu`, `cuda`, or `auto` for a GPU if there is one.
    """

    run: str = "clip-clap"
    modality: Literal["vision", "audio"] = "vision"
    device: str = "auto"
    max_retries: int = 0  # a file that cannot be read fails every time

    def ndims(self) -> int:
        """Size of a vector."""
        embedder = self._model.embedder
        return (embedder.vision if self.modality == "vision" else embedder.audio).dim

    def compute_query_embeddings(self, query: Any, *_: Any, **__: Any) -> list[Row]:
        """The vector of a text, or of a `Path`, an array or a Pillow image."""
        if isinstance(query, str):
            return list(self._model.embed_text([query], self.modality))
        return self.compute_source_embeddings([query])

    def compute_source_embeddings(self, sources: Iterable[Any], *_: Any, **__: Any) -> list[Row]:
        """The vectors of media files, given by their paths."""
        return [self._vector(one) for one in self.sanitize_input(sources)]

    def _vector(self, source: Any) -> Row:
        model = self._model
        embed = model.embed_vision if self.modality == "vision" else model.embed_audio
        try:
            [row] = embed([source])
        except UserError:
            if isinstance(source, (str, Path)):
                return None
            raise
        return row if np.isfinite(row).all() else None

    @property
    def _model(self) -> Model:
        return _loaded(self.run, self.device)


@lru_cache(maxsize=2)
def _loaded(run: str, device: str) -> Model:
    return load(run, device=device)
