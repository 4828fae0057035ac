"""The parts of a query as vectors: what sight and what sound are compared with."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b, file_digest
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import numpy as np

from trichord.media.decoder import Decoder
from trichord.media.probe import USABLE
from trichord.search.calibration import Kind
from trichord.search.cutting import Cut
from trichord.search.entries import Entry, Vector
from trichord.search.gallery import Gallery
from trichord.search.query import Part, PartKind
from trichord.search.query_model import QueryModel, whole
from trichord.types import Modality, UserError

if TYPE_CHECKING:  # a search by text never loads torch
    from trichord.models.embedder import Embedder

Toward = Literal["vision", "audio"]

TEXTS = 4096
"""Texts whose vectors are remembered: 8 MiB at 512 dimensions."""
FILES = 256
"""Files whose vectors are remembered: 1 MiB at 512 dimensions."""

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class QueryVectors:
    """What is compared with sight and with sound; None where nothing can be."""

    kind: Kind
    vision: Vector | None
    audio: Vector | None


class Remembered(Generic[Key, Value]):
    """What was asked for lately, at most so much of it; for any number of threads."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        self._keeping = Lock()

    def find(self, key: Key) -> Value | None:
        """What is remembered by a key; None: nothing."""
        with self._keeping:
            if (value := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
            return value

    def keep(self, key: Key, value: Value) -> None:
        """Remember, and forget what was not asked for for longest."""
        with self._keeping:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self.room:
                self._kept.popitem(last=False)


class TextVectors:
    """A model's vectors of texts, the latest remembered; for any number of threads."""

    def __init__(self, model: "Embedder | QueryModel", room: int = TEXTS) -> None:
        self.model = model
        self._kept = Remembered[tuple[str, Toward], Vector](room)
        # A tokenizer must not be used by two threads at once; known texts don't wait for it.
        self._reading = Lock()

    def of(self, texts: Sequence[str], toward: Toward) -> list[Vector]:
        """The vectors of texts; those that are not remembered are made together.

        Raises:
            UserError: A text is empty.
        """
        space: Toward = toward if self.model.texts_differ else "vision"
        found = {text: self._kept.find((text, space)) for text in texts}
        if missing := [text for text, vector in found.items() if vector is None]:
            with self._reading:
                made = self.model.embed_text(missing, space)
            found |= dict(zip(missing, made.astype(np.float32), strict=True))
        vectors = [vector for text in texts if (vector := found[text]) is not None]
        for text, vector in zip(texts, vectors, strict=True):
            self._kept.keep((text, space), vector)
        return vectors


class PartReader:
    """Turns parts of queries into vectors; for any number of threads."""

    def __init__(self, model: "Embedder | QueryModel", decoder: Decoder, cut: Cut) -> None:
        """Read for a collection.

        Args:
            model: Of the collection.
            decoder: Reads files.
            cut: Of the collection.
        """
        self.model = model
        self.decoder = decoder
        self.cut = cut
        self.texts = TextVectors(model)
        self._files = Remembered[_Asked, QueryVectors](FILES)
        # A model that listens at an audio type token of the query's holds it meanwhile.
        self.reading = Lock()

    def read(self, part: Part, gallery: Gallery, token: float | None = None) -> QueryVectors:
        """The vectors of a part.

        A file longer than a moment is cut into windows of that length, and the mean of their
        vectors is searched for. Where sight and sound share a space, a picture also searches sound, and
        a sound also pictures; a moment of the collection, where only one of the two is asked for,
        does not.

        Files are remembered by their content, so that one that is searched with again and again,
        weighted otherwise each time, is decoded once.

        Args:
            part: What is asked for.
            gallery: Where moments of the collection have their vectors.
            token: Where to listen to a file between verbal (0) and nonverbal (1); None: as the model
                does.

        Raises:
            UserError: The file is missing, broken, or lacks what is asked of it; the collection has
                no such moment.
        """
        if part.kind == "text":
            vision, audio = (self.texts.of([part.given], toward)[0] for toward in _TOWARDS)
            return QueryVectors("text", vision, audio)
        if part.kind == "moment":
            return self._crossed(_stored(part, gallery), part.by == "both")
        return self._crossed(self._decoded(part, token), True)

    def _decoded(self, part: Part, token: float | None) -> QueryVectors:
        path = Path(part.given)
        if not path.is_file():
            raise UserError(f"{path}: no such file to search with: check the path.")
        asked = _Asked(_content(path), part.kind, self.cut, token)
        found = self._files.find(asked)
        if found is None:
            with self.reading:
                # Another thread may have read it meanwhile.
                found = self._files.find(asked) or self._read(part, token)
            self._files.keep(asked, found)
        return found

    def _read(self, part: Part, token: float | None) -> QueryVectors:
        from trichord.search.reading import read_moments  # with torch

        looked_at: dict[str, tuple[Modality, ...]] = {"image": ("vision",), "audio": ("audio",)}
        moments = read_moments(
            whole(self.model),
            self.decoder,
            [part.given],
            self.cut,
            tokens=() if token is None else (token,),
            modalities=looked_at.get(part.kind, ("audio", "vision")),
        )
        entries = _usable(part.given, moments)
        seen, heard = _mean([one.vision for one in entries]), _mean([one.audio for one in entries])
        if seen is None and heard is None:
            wanted = {"image": "picture", "audio": "sound"}.get(part.kind, "picture and no sound")
            raise UserError(
                f"{part.given} has no {wanted} ({_labels(entries)}): give another file or use another "
                "of --image, --audio and --video."
            )
        return QueryVectors(_kind(seen, heard), seen, heard)

    def _crossed(self, found: QueryVectors, across: bool) -> QueryVectors:
        """Where the space is shared, what is missing is searched with what is there."""
        if not (across and self.model.compares("audio", "vision")):
            return found
        seen, heard = found.vision, found.audio
        return QueryVectors(
            found.kind, heard if seen is None else seen, seen if heard is None else heard
        )


_TOWARDS: tuple[Toward, Toward] = ("vision", "audio")


def _stored(part: Part, gallery: Gallery) -> QueryVectors:
    """The vectors that the collection has of a moment."""
    row = gallery.row_of(part.given, part.start)
    if row is None:
        raise UserError(
            f"{part.given} has no moment at {part.start:g} s in the collection: search again, it may "
            "have changed."
        )
    seen = gallery.vision[row] if part.by != "audio" and gallery.has_vision[row] else None
    heard = gallery.audio[row] if part.by != "visual" and gallery.has_audio[row] else None
    if seen is None and heard is None:
        wanted = "picture" if part.by == "visual" else "sound"
        raise UserError(
            f"{part.given} has no {wanted} at {part.start:g} s: ask for what is like it otherwise."
        )
    return QueryVectors(_kind(seen, heard), seen, heard)


def _kind(seen: Vector | None, heard: Vector | None) -> Kind:
    if seen is not None and heard is not None:
        return "both"
    return "audio" if seen is None else "vision"


@dataclass(frozen=True, slots=True)
class _Asked:
    """All that decides the vectors of a file, beside the model."""

    content: str
    kind: PartKind
    cut: Cut
    token: float | None


def _content(path: Path) -> str:
    """Digest of a file, which takes a hundredth of the time that decoding it does."""
    try:
        with path.open("rb") as file:
            return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
    except OSError:
        return ""  # it cannot be decoded either


def _usable(path: str, moments: Iterator[Entry]) -> list[Entry]:
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
