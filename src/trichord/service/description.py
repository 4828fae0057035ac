"""What a collection holds, as clients see it."""

from pathlib import Path
from typing import Literal

import numpy as np

from trichord.search.engine import SearchEngine
from trichord.search.query import Part
from trichord.service.catalogue import Catalogue
from trichord.service.schemas import CollectionResponse, Weighting
from trichord.types import UserError


def describe(engine: SearchEngine, catalogue: Catalogue) -> CollectionResponse:
    """What a collection holds; the whole table is gone through."""
    collection, gallery = engine.collection, catalogue.gallery
    there = collection.description
    visual, audio = engine.weighting
    return CollectionResponse(
        name=Path(collection.name).name,
        files=len(gallery.files),
        moments=len(gallery),
        statuses={str(status): count for status, count in collection.counts().items()},
        seconds=there.seconds,
        hop=there.hop,
        audio_types=list(there.audio_types),
        comparable=sorted(engine.model.comparable),
        weighting=Weighting(visual=visual, audio=audio),
        tags=sorted(gallery.tags),
        captions=collection.table.captioned() > 0,
        speech=bool(np.isfinite(gallery.speech).any()),
        version=collection.table.version,
        model=Path(there.run).name,
    )


def embed_file(engine: SearchEngine, path: Path, toward: Literal["visual", "audio"]) -> list[float]:
    """The unit vector that a file's picture or sound is searched with.

    Raises:
        UserError: The file has no such modality, or cannot be decoded.
    """
    found = engine.reader.read(Part(kind="video", given=str(path)), engine.gallery)
    vector = found.vision if toward == "visual" else found.audio
    if vector is None:
        raise UserError(f"{path} has no {toward} part: ask for the other one.")
    return [float(value) for value in vector]
