"""What a collection holds, as clients see it."""

from pathlib import Path
from typing import Literal

import numpy as np

from trichord.search.engine import SearchEngine
from trichord.search.query import QueryPart
from trichord.service.catalogue import Catalogue
from trichord.service.schemas import CollectionResponse, SearchWeights
from trichord.types import UserError


def describe(engine: SearchEngine, catalogue: Catalogue) -> CollectionResponse:
    """What a collection holds; it reads the whole table."""
    collection, gallery = engine.collection, catalogue.gallery
    description = collection.description
    visual, audio = engine.weighting
    return CollectionResponse(
        name=Path(collection.name).name,
        files=len(gallery.files),
        moments=len(gallery),
        statuses={str(status): count for status, count in collection.counts().items()},
        seconds=description.seconds,
        hop=description.hop,
        audio_types=list(description.audio_types),
        comparable=sorted(engine.model.comparable),
        weighting=SearchWeights(visual=visual, audio=audio),
        tags=sorted(gallery.tags),
        captions=collection.table.captioned() > 0,
        speech=bool(np.isfinite(gallery.speech).any()),
        version=collection.table.version,
        model=Path(description.run).name,
    )


def embed_file(engine: SearchEngine, path: Path, toward: Literal["visual", "audio"]) -> list[float]:
    """The unit vector of a file's picture or sound.

    Raises:
        UserError: The file has no such modality, or cannot be decoded.
    """
    vectors = engine.reader.embed(QueryPart(kind="video", value=str(path)), engine.gallery)
    vector = vectors.vision if toward == "visual" else vectors.audio
    if vector is None:
        raise UserError(f"{path} has no {toward} part: ask for the other one.")
    return [float(value) for value in vector]
