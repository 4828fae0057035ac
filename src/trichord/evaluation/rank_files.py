"""A table of every query with its rank and its first hits, as JSON lines or Parquet."""

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy import ndarray

from trichord.evaluation.gallery import ClipVectors
from trichord.evaluation.query_ranks import query_texts
from trichord.evaluation.ranks import Ranks, Ties
from trichord.evaluation.report import RetrievalReport
from trichord.evaluation.retrieval import Answered, Unanswered
from trichord.evaluation.top_hits import TopHits
from trichord.types.arrays import Float
from trichord.types.files import replacing

HITS = 10
"""First hits of each query in a file."""
ROWS_AT_ONCE = 10_000
Write = Callable[[Iterable["RankedQuery"]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedQuery:
    """One query of one task of one run.

    Attributes:
        run: As the report calls it.
        experiment: What was trained.
        seed: Of the training.
        split: Of the manifest; None for all of it.
        protocol: The named protocol, if there was one.
        task: The task, `visual->audio` the other way.
        query: Id of the query: that of a clip, or of a caption, `CLIP#NUMBER`.
        clip: The clip that the query belongs to.
        caption: Number of the caption among the clip's captions of its kind; None where media search.
        text: Of the caption.
        right: Ids of the right items.
        rank: Of the best right item, ties counted by the rule of the protocol.
        better: Wrong items that score better than it.
        tied: Wrong items that score the same.
        hits: Ids of the first items, highest score first; right ones are among them.
        scores: Theirs.
    """

    run: str
    experiment: str
    seed: int
    split: str | None
    protocol: str | None
    task: str
    query: str
    clip: str
    caption: int | None
    text: str | None
    right: tuple[str, ...]
    rank: float
    better: int
    tied: int
    hits: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Query:
    """What is known of a query, or of an item, without its ranks."""

    id: str
    clip: str
    caption: int | None = None
    text: str | None = None


def ranked_queries(
    report: RetrievalReport, answered: Iterable[Answered | Unanswered], vectors: ClipVectors
) -> Iterator[RankedQuery]:
    """Every query of a report: tasks in their order, each followed by the same the other way.

    Args:
        report: Whose.
        answered: Its tasks, with hits.
        vectors: Names clips and captions.
    """
    for one in answered:
        if isinstance(one, Unanswered):
            continue
        assert one.hits is not None
        assert one.back_hits is not None
        clips = [_Query(vectors.ids[row], vectors.ids[row]) for row in one.clips.tolist()]
        queries = _queries(one, vectors)
        right = one.right.tolist()
        yield from _rows(
            report, one.task.name, queries, clips, [[i] for i in right], one.ranks, one.hits
        )
        asking = {item: np.flatnonzero(one.right == item).tolist() for item in sorted(set(right))}
        first = one.sets.place == 0
        best = Ranks(one.sets.better[first], one.sets.tied[first])
        searching = [clips[item] for item in asking]
        yield from _rows(
            report,
            one.task.back,
            searching,
            queries,
            list(asking.values()),
            best,
            one.back_hits,
            one.sets.rank(report.protocol.ties)[first],
        )


def _queries(one: Answered, vectors: ClipVectors) -> list[_Query]:
    texts = query_texts(one, vectors)
    clips = [vectors.ids[row] for row in one.clips[one.right].tolist()]
    if texts is None or one.task.query == "sound":
        return [_Query(clip, clip) for clip in clips]
    numbers = _numbers_in_clip(vectors.captions[one.task.query].owner.tolist())
    return [
        _Query(f"{clip}#{numbers[row]}", clip, numbers[row], text)
        for clip, row, text in zip(clips, one.queries.tolist(), texts, strict=True)
    ]


def _numbers_in_clip(owners: Sequence[int]) -> list[int]:
    counts: dict[int, int] = {}
    numbers: list[int] = []
    for owner in owners:
        numbers.append(counts.get(owner, 0))
        counts[owner] = numbers[-1] + 1
    return numbers


def _rows(
    report: RetrievalReport,
    task: str,
    queries: Sequence[_Query],
    items: Sequence[_Query],
    right: Sequence[Sequence[int]],
    ranks: Ranks,
    hits: TopHits,
    places: Float[ndarray, " query"] | None = None,
) -> Iterator[RankedQuery]:
    ties: Ties = report.protocol.ties
    places = ranks.rank(ties) if places is None else places
    for number, query in enumerate(queries):
        yield RankedQuery(
            run=report.run,
            experiment=report.experiment,
            seed=report.seed,
            split=report.protocol.split,
            protocol=report.protocol.name,
            task=task,
            query=query.id,
            clip=query.clip,
            caption=query.caption,
            text=query.text,
            right=tuple(items[i].id for i in right[number]),
            rank=float(places[number]),
            better=int(ranks.better[number]),
            tied=int(ranks.tied[number]),
            hits=tuple(items[i].id for i in hits.items[number].tolist()),
            scores=tuple(np.round(hits.scores[number], 6).tolist()),
        )


@contextmanager
def rank_file(path: Path) -> Generator[Write]:
    """A file for the queries of one run or several; it appears when all are written.

    Raises:
        UserError: It cannot be written.
    """
    with replacing(path) as file:
        if path.suffix == ".jsonl":
            yield lambda rows: _write_lines(file, rows)
            return
        from pyarrow import parquet

        with parquet.ParquetWriter(file, _schema(), compression="zstd") as writer:
            yield lambda rows: _write_parquet(writer, rows)


def _write_lines(file: BinaryIO, rows: Iterable[RankedQuery]) -> None:
    for row in rows:
        file.write(json.dumps(asdict(row), ensure_ascii=False).encode() + b"\n")


def _write_parquet(writer: Any, rows: Iterable[RankedQuery]) -> None:
    import pyarrow as pa

    left = iter(rows)
    while some := [asdict(row) for row in islice(left, ROWS_AT_ONCE)]:
        writer.write_table(pa.Table.from_pylist(some, writer.schema))


def _schema() -> Any:
    """Columns of the same names as in `RankedQuery`."""
    import pyarrow as pa

    texts = ("run", "experiment", "split", "protocol", "task", "query", "clip", "text")
    numbers = ("seed", "caption", "better", "tied")
    types = (
        dict.fromkeys(texts, pa.string())
        | dict.fromkeys(numbers, pa.int64())
        | {
            "rank": pa.float64(),
            "right": pa.list_(pa.string()),
            "hits": pa.list_(pa.string()),
            "scores": pa.list_(pa.float64()),
        }
    )
    return pa.schema([(one.name, types[one.name]) for one in fields(RankedQuery)])
