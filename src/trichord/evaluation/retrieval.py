"""The seven retrieval tasks of SLAVA (Table II) both ways, and those of CLIP4VLA, which ask for clips.

A clip without the gallery's modality is not in the gallery, and its captions are no queries. Clips
without captions of the asked kind stay in the gallery.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy import ndarray

from trichord.evaluation.dual_softmax import Similarity, dual_softmax, rank_by_dual_softmax
from trichord.evaluation.gallery import ClipVectors, Gallery
from trichord.evaluation.metrics import Measure, Metric
from trichord.evaluation.ranks import Ranks, RanksOfSets, Ties, rank_answers, rank_both
from trichord.evaluation.row import ReportRow
from trichord.evaluation.scores import Products, Scores
from trichord.evaluation.top_hits import TopHits, top_hits
from trichord.types import CaptionKind
from trichord.types.arrays import Int
from trichord.types.comparable import not_comparable


@dataclass(frozen=True, slots=True)
class Task:
    """What is searched and what is asked; `number` is the paper's, None where it has none."""

    name: str
    gallery: Gallery
    query: CaptionKind | Literal["sound"]
    number: int | None

    @property
    def back(self) -> str:
        """The name of the same task the other way, from media to text or sound."""
        return self.name.replace("<-", "->")


TASKS: tuple[Task, ...] = (
    Task("visual<-visual", "vision", "visual", 1),
    Task("visual<-audio", "vision", "audio", 2),
    Task("visual<-audio_visual", "vision", "audio_visual", 3),
    Task("audio<-audio", "audio", "audio", 4),
    Task("audio<-visual", "audio", "visual", 5),
    Task("audio<-audio_visual", "audio", "audio_visual", 6),
    Task("visual<-sound", "vision", "sound", 7),
    Task("visual<-composed", "vision", "composed", None),
    Task("audio<-composed", "audio", "composed", None),
    Task("clip<-visual", "clip", "visual", None),
    Task("clip<-audio", "clip", "audio", None),
    Task("clip<-audio_visual", "clip", "audio_visual", None),
    Task("clip<-composed", "clip", "composed", None),
)


def tasks_named(names: Sequence[str]) -> tuple[Task, ...]:
    """Tasks by name, in the order given.

    Raises:
        ValueError: No task has such a name.
    """
    known = {task.name: task for task in TASKS}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"No such task: {', '.join(unknown)}; there are {', '.join(known)}.")
    return tuple(known[name] for name in names)


def evaluate(
    vectors: ClipVectors,
    tasks: Sequence[Task] = TASKS,
    *,
    ties: Ties = "pessimistic",
    metrics: Sequence[Metric] = (),
    similarity: Similarity = "pairwise",
) -> tuple[ReportRow, ...]:
    """Measure tasks in their order; those that ask for fused clips only where there are any.

    A row for each task, which measures nothing where there was nothing to ask; then one for each that was
    answered the other way.

    Args:
        vectors: Of clips and captions.
        tasks: Which.
        ties: How a tie counts.
        metrics: What to measure beside the usual numbers, from text or sound to media.
        similarity: What queries and candidates are ranked by.

    Raises:
        ValueError: A dual softmax is asked for, and a fusion scores pairs by something else than cosines.
    """
    answered = answer(vectors, tasks, similarity=similarity)
    return measured_rows(answered, Measure(ties=ties, metrics=tuple(metrics)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One task with the ranks of its queries, in both directions.

    Attributes:
        task: The task.
        clips: Rows of the clips in the gallery.
        queries: Rows of the captions among those of their kind; of sounds, rows of their clips.
        right: Which clip of the gallery is right for each query.
        ranks: Of the right clip of each query.
        sets: The other way: each clip that is right for a query searches the queries.
        hits: The first clips of each query, if they were asked for.
        back_hits: The first queries of each clip that searches.
    """

    task: Task
    clips: Int[ndarray, " item"]
    queries: Int[ndarray, " query"]
    right: Int[ndarray, " query"]
    ranks: Ranks
    sets: RanksOfSets
    hits: TopHits | None = None
    back_hits: TopHits | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A task without a query, and how many clips its gallery has."""

    task: Task
    gallery: int


def answer(
    vectors: ClipVectors,
    tasks: Sequence[Task] = TASKS,
    *,
    similarity: Similarity = "pairwise",
    hits: int = 0,
) -> Iterator[Answered | Unanswered]:
    """Rank every query of tasks in their order; those for fused clips only where there are any.

    Args:
        vectors: Of clips and captions.
        tasks: Which.
        similarity: What queries and candidates are ranked by.
        hits: How many first hits of each query to keep.

    Raises:
        ValueError: A dual softmax is asked for, and a fusion scores pairs by something else than cosines.
    """
    for task in tasks:
        if task.gallery == "clip" and vectors.fused is None:
            continue
        asked = _ask(task, vectors)
        if asked.scores is None:
            yield Unanswered(task, len(asked.clips))
            continue
        right = asked.answers
        ranks, sets = _rank(asked.scores, right, similarity)
        found = _first_hits(asked.scores, right, similarity, hits) if hits else (None, None)
        yield Answered(
            task=task,
            clips=asked.clips,
            queries=asked.queries,
            right=right,
            ranks=ranks,
            sets=sets,
            hits=found[0],
            back_hits=found[1],
        )


def _rank(
    scores: Scores, right: Int[ndarray, " query"], similarity: Similarity
) -> tuple[Ranks, RanksOfSets]:
    if similarity == "pairwise":
        return rank_both(scores, right)
    return rank_by_dual_softmax(_cosines(scores), right)


def _first_hits(
    scores: Scores, right: Int[ndarray, " query"], similarity: Similarity, count: int
) -> tuple[TopHits, TopHits]:
    pairwise = similarity == "pairwise"
    there, back = (scores, scores) if pairwise else dual_softmax(_cosines(scores), right)
    return top_hits(there, count), top_hits(back, count, back=np.unique(right))


def _cosines(scores: Scores) -> Products:
    if isinstance(scores, Products):
        return scores
    raise ValueError("A dual softmax is of cosines, and this fusion has none.")


def measured_rows(
    answered: Iterable[Answered | Unanswered], measure: Measure
) -> tuple[ReportRow, ...]:
    """A row for each task, then one for each that was answered the other way."""
    forward: list[ReportRow] = []
    back: list[ReportRow] = []
    for one in answered:
        if isinstance(one, Unanswered):
            sizes = {"queries": 0, "gallery": one.gallery}
            forward.append(ReportRow(name=one.task.name, sizes=sizes))
            continue
        forward.append(measure.forward(one.task.name, len(one.clips), one.ranks, one.right))
        back.append(measure.reverse(one.task.back, one.sets))
    return (*forward, *back)


def left_out(vectors: ClipVectors, tasks: Sequence[Task] = TASKS) -> dict[str, str]:
    """Of these tasks, those that the model cannot answer, each with the reason."""
    sounds = [task.name for task in tasks if task.query == "sound"]
    if not vectors.compares("audio", "vision"):
        return dict.fromkeys(sounds, not_comparable("audio", "vision"))
    if vectors.mingled:
        why = "the fusion has let each sound attend to its picture, so it would search for itself"
        return dict.fromkeys(sounds, why)
    return {}


@dataclass(frozen=True, slots=True)
class Ranked:
    """One task's ranks, a query each, and how many candidates each query ranks."""

    ranks: Ranks
    candidates: int

    @property
    def queries(self) -> int:
        """How many there are; at least one."""
        return len(self.ranks.better)


def ranked(vectors: ClipVectors, tasks: Sequence[str]) -> dict[str, Ranked]:
    """Ranks of the named tasks that have something to ask.

    Raises:
        ValueError: No task has such a name.
    """
    asked = {task.name: _ask(task, vectors) for task in tasks_named(tasks)}
    return {
        name: Ranked(rank_answers(one.scores, one.answers), len(one.clips))
        for name, one in asked.items()
        if one.scores is not None
    }


def recalls_at(k: int, vectors: ClipVectors, tasks: Sequence[str]) -> dict[str, float]:
    """R@k of the named tasks that have something to ask, without intervals.

    Raises:
        ValueError: No task has such a name.
    """
    found = ranked(vectors, tasks)
    return {name: float(one.ranks.hit(k).mean()) for name, one in found.items()}


@dataclass(frozen=True, slots=True)
class _Asked:
    """The clips of a task's gallery, its queries, the clip that is right for each, and the scores if any.

    Rows are those of `Answered`.
    """

    clips: Int[ndarray, " item"]
    queries: Int[ndarray, " query"]
    answers: Int[ndarray, " query"]
    scores: Scores | None


def _ask(task: Task, vectors: ClipVectors) -> _Asked:
    present = vectors.present(task.gallery)
    clips = np.flatnonzero(present)
    if task.query == "sound":
        able = not left_out(vectors, (task,))
        owner = np.flatnonzero(present & vectors.has_audio & able)
        scores = (
            Products.cosines(vectors.audio[owner], vectors.vision[clips]) if len(owner) else None
        )
        return _Asked(clips, owner, np.searchsorted(clips, owner), scores)
    captions = vectors.captions.get(task.query)
    if captions is None or (task.gallery == "clip" and vectors.fused is None):
        return _Asked(clips, clips[:0], clips[:0], None)
    kept = np.flatnonzero(present[captions.owner])
    scores = vectors.scores(task.gallery, task.query, kept, clips) if len(kept) else None
    return _Asked(clips, kept, np.searchsorted(clips, captions.owner[kept]), scores)
