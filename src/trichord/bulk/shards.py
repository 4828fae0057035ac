"""Shards: pieces of bulk work as plain values that JSON knows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trichord.config import Experiment
from trichord.features.extraction import Extracted
from trichord.features.store import FeatureFolder
from trichord.models.embedder import Embedder
from trichord.search.collection import Collection, whereabouts
from trichord.search.table import FileVersion
from trichord.search.updating import Indexed
from trichord.types import MODALITIES, Clip, Modality

if TYPE_CHECKING:
    from pydantic import TypeAdapter

CLIPS_A_SHARD = 512
"""What a dead worker costs at most, unless the number of shards is chosen."""
# A file has many moments, and a caption needs no decoding: so fewer of the one, more of the other.
FILES_A_SHARD = 128
TEXTS_A_SHARD = 8192


@dataclass(frozen=True, kw_only=True)
class WorkerModel:
    """The model that a shard's worker loads, and how."""

    model: Path | Experiment | None = None
    """A run's whole path, or an experiment for its towers as they come; None: whoever carries the
    shard out has the model already."""
    device: str = "cpu"
    decoders: int = 1
    """Child processes that decode, of each worker."""


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A shard of `trichord extract`: captions and clips, and where their features go."""

    kind: Literal["extraction"] = "extraction"
    towers: WorkerModel
    features: str
    made_by: dict[str, str]
    """Fingerprint of each tower; a worker whose towers are others refuses the shard."""
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
    told: tuple[Clip, ...] = ()
    speech: bool = True


Shard = Extraction | Indexing
Part = Extracted | Indexed
"""What has been done of a shard, and is stored."""


def fingerprints(model: Embedder, modalities: Sequence[Modality]) -> dict[str, str]:
    """Of the towers that are read for modalities, by name."""
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
        # Whole paths: a worker may have another working directory.
        features=folder.name if local is None else str(local.absolute()),
        made_by=fingerprints(model, modalities),
        modalities=tuple(modalities),
    )


def indexing_of(collection: Collection, towers: WorkerModel, *, speech: bool) -> Indexing:
    """What all shards of an indexing have in common."""
    local = collection.storage.local
    place = collection.name if local is None else str(local.absolute())
    return Indexing(towers=towers, collection=place, files=(), speech=speech)


def shards_of_texts(whole: Extraction, texts: Sequence[str], count: int | None) -> list[Shard]:
    """Share out captions, each once; the rest of a shard is that of `whole`."""
    distinct = list(dict.fromkeys(texts))
    size = _size(len(distinct), count, TEXTS_A_SHARD)
    parts = (tuple(distinct[i : i + size]) for i in range(0, len(distinct), size))
    return [replace(whole, texts=part, clips=()) for part in parts]


def shards_of_clips(whole: Extraction, clips: Sequence[Clip], count: int | None) -> list[Shard]:
    """Share out clips, those of one file together; their captions are not sent along."""
    size = _size(len(clips), count, CLIPS_A_SHARD)
    # Captions have shards of their own.
    bare = [replace(clip, captions=(), labels=()) for clip in clips]
    return [replace(whole, clips=tuple(part), texts=()) for part in _whole_files(bare, size)]


def shards_of_files(
    whole: Indexing, files: Sequence[FileVersion], told: Sequence[Clip], count: int | None
) -> list[Shard]:
    """Share out files, each with what is told of it."""
    size = _size(len(files), count, FILES_A_SHARD)
    of_file: dict[str, list[Clip]] = {}
    for clip in told:
        # A collection calls files by this path; a manifest may reach them through a link.
        of_file.setdefault(str(whereabouts(Path(clip.path))), []).append(clip)
    shards: list[Shard] = []
    for i in range(0, len(files), size):
        part = tuple(files[i : i + size])
        said = tuple(clip for one in part for clip in of_file.get(one.file, ()))
        shards.append(replace(whole, files=part, told=said))
    return shards


def shard_line(shard: Shard) -> str:
    """A shard as a line of JSON."""
    return _shards().dump_json(shard).decode()


def read_shard(line: str) -> Shard:
    """The shard that `shard_line` wrote."""
    return _shards().validate_json(line)


def part_line(part: Part) -> str:
    """A part as a line of JSON."""
    return _parts().dump_json(part).decode()


def read_part(line: str) -> Part:
    """The part that `part_line` wrote."""
    return _parts().validate_json(line)


@cache
def _shards() -> "TypeAdapter[Shard]":
    from pydantic import TypeAdapter

    return TypeAdapter(Shard)


@cache
def _parts() -> "TypeAdapter[Part]":
    from pydantic import TypeAdapter

    return TypeAdapter(Part)


def _size(items: int, count: int | None, most: int) -> int:
    """Items of a shard, for so many shards or, if it is left open, shards of a bearable size."""
    return max(1, -(-items // count) if count else most)


def _whole_files(clips: Sequence[Clip], size: int) -> Iterator[list[Clip]]:
    """Portions of about a size that part no file."""
    part: list[Clip] = []
    # Neighbours only: a manifest that mixes its files costs passes over them, never rows.
    for _, same in groupby(clips, key=lambda clip: clip.path):
        part += same
        if len(part) >= size:
            yield part
            part = []
    if part:
        yield part
