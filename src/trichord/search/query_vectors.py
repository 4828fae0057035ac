"""A query as vectors: what sight and what sound are compared with."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trichord.media.decoder import Decoder
from trichord.media.probe import USABLE
from trichord.models.embedder import Embedder
from trichord.search.query import Query
from trichord.search.reading import Cut, read_moments
from trichord.search.table import Entry, Vector
from trichord.search.yardstick import Kind
from trichord.types import Modality, UserError


@dataclass(frozen=True, slots=True)
class QueryVectors:
    """What is compared with sight and with sound; None where nothing can be."""

    kind: Kind
    sight: Vector | None
    sound: Vector | None


def embed_query(
    query: Query, model: Embedder, decoder: Decoder, cut: Cut, token: float | None = None
) -> QueryVectors:
    """The vectors of a query.

    A file longer than a moment is cut as files of the collection are, and the mean of its moments'
    vectors is searched for. Where sight and sound share a space, a picture also searches sound, and
    a sound also pictures.

    Args:
        query: What is searched for.
        model: Of the collection.
        decoder: Reads the query's file.
        cut: Of the collection.
        token: Where to listen to a file between verbal (0) and nonverbal (1); None: as the model
            does.

    Raises:
        UserError: The file is missing, broken, or lacks what is asked of it.
    """
    if query.kind == "text":
        texts = [query.given]
        sight, sound = model.embed_text(texts, "vision")[0], model.embed_text(texts, "audio")[0]
        return QueryVectors("text", sight, sound)
    looked_at: dict[str, tuple[Modality, ...]] = {"image": ("vision",), "audio": ("audio",)}
    entries = _entries(
        Path(query.given),
        read_moments(
            model,
            decoder,
            [query.given],
            cut,
            tokens=() if token is None else (token,),
            modalities=looked_at.get(query.kind, ("audio", "vision")),
        ),
    )
    seen, heard = _mean([one.vision for one in entries]), _mean([one.audio for one in entries])
    if seen is None and heard is None:
        wanted = {"image": "picture", "audio": "sound"}.get(query.kind, "picture and no sound")
        raise UserError(
            f"{query.given} has no {wanted} ({_labels(entries)}): give another file or use another "
            "of --image, --audio and --video."
        )
    kind = (
        "both" if seen is not None and heard is not None else "audio" if seen is None else "vision"
    )
    if not model.aligned:
        return QueryVectors(kind, seen, heard)
    return QueryVectors(kind, heard if seen is None else seen, seen if heard is None else heard)


def _entries(path: Path, moments: Iterator[Entry]) -> list[Entry]:
    if not path.is_file():
        raise UserError(f"{path}: no such file to search with: check the path.")
    entries = list(moments)
    if not any(one.status in USABLE for one in entries):
        raise UserError(
            f"{path} cannot be searched with ({_labels(entries)}): give a playable video, sound or "
            "picture."
        )
    return entries


def _labels(entries: list[Entry]) -> str:
    labels = (f"{one.status}: {one.reason}" if one.reason else one.status for one in entries)
    return ", ".join(dict.fromkeys(labels))


def _mean(vectors: list[Vector | None]) -> Vector | None:
    """The direction in which vectors point together; None without vectors."""
    there = [vector for vector in vectors if vector is not None]
    if not there:
        return None
    mean = np.mean(there, axis=0, dtype=np.float64)
    size = float(np.linalg.norm(mean))
    return np.asarray(mean / size if size > 0 else there[0], np.float32)
