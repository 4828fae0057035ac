"""Who carries out shards, and how what they say becomes one account of the work."""

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol, runtime_checkable

from trichord.bulk.shard_worker import Hand
from trichord.bulk.shards import Indexing, Part, Shard, shards_of_files
from trichord.bulk.sharing import Sharing
from trichord.features.extraction import Extracted
from trichord.media import Decoder
from trichord.models.embedder import Embedder
from trichord.search.table import FileVersion
from trichord.search.updating import Indexed, Readers
from trichord.types import Clip


@runtime_checkable
class Runner(AbstractContextManager["Runner"], Protocol):
    """Carries out shards."""

    def run(self, shards: Sequence[Shard]) -> Iterator[Part]:
        """Parts of shards as they are stored; of a shard that is done again they may come twice."""
        ...


class Here:
    """This process, with a model and a decoder that are there already."""

    def __init__(self, model: Embedder, decoder: Decoder) -> None:
        self._hand = Hand(model, decoder)

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, shards: Sequence[Shard]) -> Iterator[Part]:
        """One shard after another."""
        for shard in shards:
            yield from self._hand.carry_out(shard)


def runner_of(sharing: Sharing, model: Embedder, decoder: Decoder) -> Runner:
    """The one that is asked for.

    Args:
        sharing: Says which.
        model: Used by this process alone.
        decoder: Likewise.

    Raises:
        UserError: It is not installed.
    """
    if sharing.runner == "ray":
        from trichord.bulk.cluster import Cluster

        return Cluster(sharing.jobs)
    return Here(model, decoder)


def extracted(runner: Runner, shards: Sequence[Shard]) -> Iterator[Extracted]:
    """Have shards of an extraction carried out; each clip and caption is told once.

    Args:
        runner: Carries them out.
        shards: Of captions, or of clips.
    """
    # With the kind, for a caption may read like a clip's id. The first status
    # counts: of what is done twice the second one says only that it was there.
    told: set[tuple[str, str]] = set()
    for part in runner.run(_shuffled(runner, shards)):
        assert isinstance(part, Extracted)
        fresh = [i for i, key in enumerate(part.keys) if (part.what, key) not in told]
        told |= {(part.what, part.keys[i]) for i in fresh}
        yield replace(
            part,
            keys=tuple(part.keys[i] for i in fresh),
            statuses=tuple(part.statuses[i] for i in fresh),
        )


def readers(runner: Runner, whole: Indexing, told: Sequence[Clip], count: int | None) -> Readers:
    """What reads files for `indexing.index` in shards; each file is told once.

    Args:
        runner: Carries them out.
        whole: What all shards have in common.
        told: Clips whose captions and labels go to the moments of the files.
        count: Shards; None: small ones.
    """

    def read(versions: Sequence[FileVersion]) -> Iterator[Indexed]:
        done: set[str] = set()
        shards = shards_of_files(whole, versions, told, count)
        for part in runner.run(_shuffled(runner, shards)):
            assert isinstance(part, Indexed)
            if part.file not in done:
                yield part
            done.add(part.file)

    return read


def _shuffled(runner: Runner, shards: Sequence[Shard]) -> list[Shard]:
    """Other processes take shards in an order of chance.

    Two commands at the same time then meet late, and find most of each other's work done.
    """
    order = list(shards)
    if not isinstance(runner, Here):
        # Not by the seeded generator: two commands of one seed would take the same order.
        random.SystemRandom().shuffle(order)
    return order
