"""Shards: pieces of bulk work as plain values that convert to JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trichord.config import Experiment
from trichord.features.extraction import Extracted
from trichord.features.store import FeatureFolder
from trichord.models.embedder import Embedder
from trichord.search.collection import whereabouts
from trichord.search.table import FileVersion
from trichord.search.updating import Indexed
from trichord.types import MODALITIES, Clip, Modality

if TYPE_CHECKING:
    from pydantic import TypeAdapter

CLIPS_A_SHARD = 512
"""The most that a dead worker costs, unless the number of shards is given."""
# Fewer files, because a file has many moments; more captions, because they need no decoding.
FILES_A_SHARD = 128
TEXTS_A_SHARD = 8192


@dataclass(frozen=True, kw_only=True)
class WorkerModel:
    """The model that a worker loads, and how."""

    model: Path | Experiment | None = None
    """The absolute path of a run, or an experiment for its pretrained towers; None: the worker has the
    model already."""
    device: str = "cpu"
    decoders: int = 1
    """Decoding processes of each worker."""


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A shard of `trichord extract`: captions and clips, and the folder of their features."""

    kind: Literal["extraction"] = "extraction"
    towers: WorkerModel
    features: str
    tower_fingerprints: dict[str, str]
    """Fingerprint of each tower; a worker with other towers refuses the shard."""
    modalities: tuple[Modality, ...] = MODALITIES
    texts: tuple[str, ...] = ()
    clips: tuple[Clip, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Indexing:
    """A shard of `trichord index`: files to read, and their collection."""

    kind: Literal["indexing"] = "indexing"
    towers: WorkerModel
    collection: str
    files: tuple[FileVersion, ...]
    metadata: tuple[Clip, ...] = ()
    speech: bool = True


Shard = Extraction | Indexing
Part = Extracted | Indexed
"""A part of a shard that is done and stored."""


def fingerprints(model: Embedder, modalities: Sequence[Modality]) -> dict[str, str]:
    """Fingerprints of the towers for modalities, by name."""
    needed = {*modalities} | ({"sound_text"} if "text" in modalities else set())
    return {n: tower.fingerprint for n, tower in model.encoders().items() if n in needed}


def extraction_of(
    model: Embedder,
    folder: FeatureFolder,
    modalities: Sequence[Modality],
    towers: WorkerModel | None = None,
) -> Extraction:
    """What all shards of an extraction have in common."""
    local = folder.storage.local
    return Extraction(
        towers=towers or WorkerModel(),
        # Absolute, because a worker may have another working directory.
        features=folder.name if local is None else str(local.absolute()),
        tower_fingerprints=fingerprints(model, modalities),
        modalities=tuple(modalities),
    )


def shards_of_texts(template: Extraction, texts: Sequence[str], count: int | None) -> list[Shard]:
    """Shards of captions, each text once; other fields are those of `template`."""
    distinct = list(dict.fromkeys(texts))
    size = _size(len(distinct), count, TEXTS_A_SHARD)
    parts = (tuple(distinct[i : i + size]) for i in range(0, len(distinct), size))
    return [replace(template, texts=chunk, clips=()) for chunk in parts]


def shards_of_clips(template: Extraction, clips: Sequence[Clip], count: int | None) -> list[Shard]:
    """Shards of clips, those of one file together, without their captions."""
    size = _size(len(clips), count, CLIPS_A_SHARD)
    # Captions have shards of their own.
    bare = [replace(clip, captions=(), labels=()) for clip in clips]
    return [replace(template, clips=tuple(chunk), texts=()) for chunk in _whole_files(bare, size)]


def shards_of_files(
    template: Indexing, files: Sequence[FileVersion], metadata: Sequence[Clip], count: int | None
) -> list[Shard]:
    """Shards of files, each with the clips that describe it."""
    size = _size(len(files), count, FILES_A_SHARD)
    of_file: dict[str, list[Clip]] = {}
    for clip in metadata:
        # A collection names files by this path; a manifest may reach them through a link.
        of_file.setdefault(str(whereabouts(Path(clip.path))), []).append(clip)
    shards: list[Shard] = []
    for i in range(0, len(files), size):
        chunk = tuple(files[i : i + size])
        part_metadata = tuple(clip for one in chunk for clip in of_file.get(one.file, ()))
        shards.append(replace(template, files=chunk, metadata=part_metadata))
    return shards


@cache
def adapter(kind: Any) -> "TypeAdapter[Any]":
    """What turns a `Shard` or a `Part` into JSON and back; making it takes longer than its use."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _size(items: int, count: int | None, most: int) -> int:
    """Items per shard, by the number of shards or, without one, by the default size."""
    return max(1, -(-items // count) if count else most)


def _whole_files(clips: Sequence[Clip], size: int) -> Iterator[list[Clip]]:
    """Groups of about this size that do not divide a file."""
    chunk: list[Clip] = []
    # Neighbours only: a manifest in another order costs extra passes over files, no results.
    for _, same in groupby(clips, key=lambda clip: clip.path):
        chunk += same
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
