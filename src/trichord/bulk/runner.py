"""Runs shards, and merges their results into one report of the work."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol, runtime_checkable

from trichord.bulk.options import BulkOptions
from trichord.bulk.shard_worker import run_shard
from trichord.bulk.shards import Indexing, Part, Shard, WorkerModel, shards_of_files
from trichord.features.extraction import Extracted
from trichord.media import Decoder
from trichord.models.embedder import Embedder
from trichord.search.collection import StoredCollection
from trichord.search.table import FileVersion
from trichord.search.updating import Indexed, Readers
from trichord.types import Clip


@runtime_checkable
class Runner(AbstractContextManager["Runner"], Protocol):
    """Runs shards."""

    def run(self, shards: Sequence[Shard]) -> Iterator[Part]:
        """Parts of shards in any order, once they are stored; those of a repeated shard may come twice."""
        ...


class LocalRunner:
    """Runs shards in this process, with a given model and decoder."""

    def __init__(self, model: Embedder, decoder: Decoder) -> None:
        self._model, self._decoder = model, decoder

    def __enter__(self) -> "LocalRunner":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, shards: Sequence[Shard]) -> Iterator[Part]:
        """One shard after another."""
        for shard in shards:
            yield from run_shard(shard, self._model, self._decoder)


def runner_of(sharing: BulkOptions, model: Embedder, decoder: Decoder) -> Runner:
    """The runner that the options choose.

    Args:
        sharing: The options.
        model: Used in this process only.
        decoder: Used in this process only.

    Raises:
        UserError: Ray is not installed.
    """
    if sharing.runner == "ray":
        from trichord.bulk.ray_runner import RayRunner

        return RayRunner(sharing.jobs)
    return LocalRunner(model, decoder)


def run_extraction(runner: Runner, shards: Sequence[Shard]) -> Iterator[Extracted]:
    """Run shards of an extraction; each clip and caption is reported once.

    Args:
        runner: Runs them.
        shards: Of captions, or of clips.
    """
    # With the kind, because a caption may equal a clip's id. The first status
    # counts: the second one of a repeated clip only says that it was done.
    seen: set[tuple[str, str]] = set()
    for part in runner.run(shards):
        assert isinstance(part, Extracted)
        new = [i for i, key in enumerate(part.keys) if (part.what, key) not in seen]
        seen |= {(part.what, part.keys[i]) for i in new}
        yield replace(
            part,
            keys=tuple(part.keys[i] for i in new),
            statuses=tuple(part.statuses[i] for i in new),
        )


def shard_readers(
    runner: Runner,
    collection: StoredCollection,
    towers: WorkerModel,
    metadata: Sequence[Clip],
    *,
    speech: bool,
    count: int | None,
) -> Readers:
    """The reader of files for `indexing.index`, in shards; each file is reported once.

    Args:
        runner: Runs them.
        collection: What the files are indexed in.
        towers: The model that each worker loads.
        metadata: Clips whose captions and labels go to the moments of the files.
        speech: Whether speech is measured.
        count: Number of shards; None: small ones.
    """
    local = collection.storage.local
    place = collection.name if local is None else str(local.absolute())
    template = Indexing(towers=towers, collection=place, files=(), speech=speech)

    def read(versions: Sequence[FileVersion]) -> Iterator[Indexed]:
        seen: set[str] = set()
        for part in runner.run(shards_of_files(template, versions, metadata, count)):
            assert isinstance(part, Indexed)
            if part.file not in seen:
                yield part
            seen.add(part.file)

    return read
