"""The parts of a query as vectors, for comparison with vision and audio."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b, file_digest
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from trichord.media.decoder import Decoder
from trichord.media.probe import USABLE
from trichord.search.calibration import Kind, Toward
from trichord.search.cutting import Cut
from trichord.search.entries import Entry, Vector
from trichord.search.gallery import Gallery
from trichord.search.query import PartKind, Query, QueryPart
from trichord.search.query_model import QueryModel, full_model
from trichord.types import Modality, UserError

if TYPE_CHECKING:  # a search by text never loads torch
    from trichord.models.embedder import Embedder

TEXTS = 4096
"""Texts whose vectors are cached: 8 MiB at 512 dimensions."""
FILES = 256
"""Files whose vectors are cached: 1 MiB at 512 dimensions."""

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class QueryVectors:
    """The vectors to compare with vision and audio; None if there is none."""

    kind: Kind
    vision: Vector | None
    audio: Vector | None


class LruCache(Generic[Key, Value]):
    """A cache of the most recently used values; for any number of threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Value | None:
        """The value of a key; None if it is not cached."""
        with self._lock:
            if (value := self._values.get(key)) is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Key, value: Value) -> None:
        """Cache a value, and drop the least recently used."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self.size:
                self._values.popitem(last=False)


class TextVectors:
    """A model's vectors of texts, the latest cached; for any number of threads."""

    def __init__(self, model: "Embedder | QueryModel", size: int = TEXTS) -> None:
        self.model = model
        self._cache = LruCache[tuple[str, Toward], Vector](size)
        # Two threads must not use a tokenizer at once; cached texts do not wait for it.
        self._embedding = Lock()

    def of(self, texts: Sequence[str], toward: Toward) -> list[Vector]:
        """The vectors of texts; those that are not cached are computed in one batch.

        Raises:
            UserError: A text is empty.
        """
        space: Toward = toward if self.model.texts_differ else "vision"
        known = {text: self._cache.get((text, space)) for text in texts}
        if missing := [text for text, vector in known.items() if vector is None]:
            with self._embedding:
                rows = self.model.embed_text(missing, space)
            known |= dict(zip(missing, rows.astype(np.float32), strict=True))
        vectors = [vector for text in texts if (vector := known[text]) is not None]
        for text, vector in zip(texts, vectors, strict=True):
            self._cache.put((text, space), vector)
        return vectors


class PartReader:
    """Turns the parts of queries into vectors; for any number of threads."""

    def __init__(self, model: "Embedder | QueryModel", decoder: Decoder, cut: Cut) -> None:
        """Prepare for the queries of a collection.

        Args:
            model: The model of the collection.
            decoder: Reads files.
            cut: How the collection cuts files into moments.
        """
        self.model = model
        self.decoder = decoder
        self.cut = cut
        self.texts = TextVectors(model)
        # By content, kind and audio type token: all that the vectors of a file depend on.
        self._files = LruCache[tuple[str, PartKind, float | None], QueryVectors](FILES)
        # The model holds the query's audio type token while it reads a file.
        self.reading = Lock()

    def embed_texts(self, queries: Sequence[Query]) -> None:
        """Embed all texts of queries in one batch; `embed` then reads them from the cache."""
        texts = [part.value for one in queries for part in one.parts if part.kind == "text"]
        for toward in _TOWARDS:
            self.texts.of(texts, toward)

    def embed(self, part: QueryPart, gallery: Gallery, token: float | None = None) -> QueryVectors:
        """The vectors of a part.

        A file longer than a moment is cut into windows of that length, whose mean vector is used. If
        vision and audio share a space, a picture is also compared with audio, and a sound with pictures;
        a moment of the collection only if `by` is "both".

        Files are cached by their content, so that a file is decoded once for many searches with other
        weights.

        Args:
            part: The part.
            gallery: Holds the vectors of the collection's moments.
            token: Audio type token for a file, from verbal (0) to nonverbal (1); None: that of the model.

        Raises:
            UserError: The file is missing, broken, or lacks the modality; the collection has no such
                moment.
        """
        if part.kind == "text":
            vision, audio = (self.texts.of([part.value], toward)[0] for toward in _TOWARDS)
            return QueryVectors("text", vision, audio)
        if part.kind == "moment":
            vectors = _stored_vectors(part, gallery)
            return self._cross(vectors) if part.by == "both" else vectors
        return self._cross(self._file_vectors(part, token))

    def _file_vectors(self, part: QueryPart, token: float | None) -> QueryVectors:
        path = Path(part.value)
        if not path.is_file():
            raise UserError(f"{path}: no such file to search with: check the path.")
        key = _content(path), part.kind, token
        vectors = self._files.get(key)
        if vectors is None:
            with self.reading:
                # Another thread may have read it meanwhile.
                vectors = self._files.get(key) or self._read_file(part, token)
            self._files.put(key, vectors)
        return vectors

    def _read_file(self, part: QueryPart, token: float | None) -> QueryVectors:
        from trichord.search.reading import read_moments  # with torch

        modalities: dict[str, tuple[Modality, ...]] = {"image": ("vision",), "audio": ("audio",)}
        moments = read_moments(
            full_model(self.model),
            self.decoder,
            [part.value],
            self.cut,
            tokens=() if token is None else (token,),
            modalities=modalities.get(part.kind, ("audio", "vision")),
        )
        entries = list(moments)
        if not any(entry.status in USABLE for entry in entries):
            raise UserError(
                f"{part.value} cannot be searched with ({_labels(entries)}): give a playable video, "
                "sound or picture."
            )
        vision = _mean([entry.vision for entry in entries])
        audio = _mean([entry.audio for entry in entries])
        if vision is None and audio is None:
            lacking = {"image": "picture", "audio": "sound"}.get(part.kind, "picture and no sound")
            raise UserError(
                f"{part.value} has no {lacking} ({_labels(entries)}): give another file or use another "
                "of --image, --audio and --video."
            )
        return QueryVectors(_kind(vision, audio), vision, audio)

    def _cross(self, vectors: QueryVectors) -> QueryVectors:
        """If the space is shared, compare a missing modality with the other one's vector."""
        vision, audio = vectors.vision, vectors.audio
        if not self.model.compares("audio", "vision"):
            return vectors
        return QueryVectors(
            vectors.kind, audio if vision is None else vision, vision if audio is None else audio
        )


_TOWARDS: tuple[Toward, Toward] = ("vision", "audio")


def _stored_vectors(part: QueryPart, gallery: Gallery) -> QueryVectors:
    """The collection's vectors of a moment."""
    row = gallery.row_at(part.value, part.start)
    if row is None:
        raise UserError(
            f"{part.value} has no moment at {part.start:g} s in the archive: search again, it may "
            "have changed."
        )
    vision = gallery.vision[row] if part.by != "audio" and gallery.has_vision[row] else None
    audio = gallery.audio[row] if part.by != "visual" and gallery.has_audio[row] else None
    if vision is None and audio is None:
        lacking = "picture" if part.by == "visual" else "sound"
        raise UserError(
            f"{part.value} has no {lacking} at {part.start:g} s: search by its other part."
        )
    return QueryVectors(_kind(vision, audio), vision, audio)


def _kind(vision: Vector | None, audio: Vector | None) -> Kind:
    if vision is not None and audio is not None:
        return "both"
    return "audio" if vision is None else "vision"


def _content(path: Path) -> str:
    """Digest of a file; it takes a hundredth of the time of decoding."""
    try:
        with path.open("rb") as file:
            return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
    except OSError:
        return ""  # it cannot be decoded either


def _labels(entries: list[Entry]) -> str:
    labels = (f"{e.status}: {e.reason}" if e.reason else e.status for e in entries)
    return ", ".join(dict.fromkeys(labels))


def _mean(vectors: list[Vector | None]) -> Vector | None:
    """The mean of vectors at unit length; None without vectors."""
    present = [vector for vector in vectors if vector is not None]
    if not present:
        return None
    mean = np.mean(present, axis=0, dtype=np.float64)
    size = float(np.linalg.norm(mean))
    return np.asarray(mean / size if size > 0 else present[0], np.float32)
