"""The seven retrieval tasks of SLAVA (Table II), both ways, and two more with composed captions.

Missing modalities are masked: a clip without the gallery's modality is not in the gallery, and its
captions are no queries. Clips without captions of the asked kind stay in the gallery.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from trichord.evaluation.bootstrap import Estimate
from trichord.evaluation.metrics import Forward, Measure, Reverse
from trichord.evaluation.ranks import Ties, ranks_of_answers, ranks_of_sets
from trichord.types import CaptionKind

Gallery = Literal["vision", "audio"]


@dataclass(frozen=True, slots=True)
class Task:
    """What is searched and what is asked; `number` is the paper's, None where it has none."""

    name: str
    gallery: Gallery
    query: CaptionKind | Literal["sound"]
    number: int | None


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
)


@dataclass(frozen=True, slots=True)
class CaptionVectors:
    """Captions of one kind, as asked of pictures and as asked of sounds.

    The two differ in an untrained CLIP + CLAP pair, whose text towers live in two spaces. `owner`
    is the row of the clip each caption belongs to.
    """

    texts: tuple[str, ...]
    owner: Int[ndarray, " caption"]
    toward_vision: Float[ndarray, "caption dim"]
    toward_audio: Float[ndarray, "caption other"]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.owner):
            raise ValueError(f"{len(self.texts)} caption texts, but {len(self.owner)} owners.")

    def toward(self, gallery: Gallery) -> Float[ndarray, "caption dim"]:
        """The vectors to search this gallery with."""
        return self.toward_vision if gallery == "vision" else self.toward_audio


@dataclass(frozen=True, slots=True)
class ClipVectors:
    """Clips in the shared space; a row without the modality may hold anything: it is never read.

    `aligned` is False where pictures and sounds live in two spaces, as in an untrained CLIP + CLAP
    pair: the two are then not compared, and `visual<-sound` has nothing to ask.

    Raises:
        ValueError: Rows differ in number, an id repeats, a caption belongs to no clip, or a vector
            that should be there is zero or not finite; the clips or captions are named.
    """

    ids: tuple[str, ...]
    vision: Float[ndarray, "clip dim"]
    has_vision: Bool[ndarray, " clip"]
    audio: Float[ndarray, "clip other"]
    has_audio: Bool[ndarray, " clip"]
    captions: dict[CaptionKind, CaptionVectors]
    aligned: bool = True

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.has_vision):
            raise ValueError(f"{len(self.ids)} clip ids, but {len(self.has_vision)} rows.")
        if len(set(self.ids)) < len(self.ids):
            raise ValueError("Clip ids repeat; each clip is evaluated once.")
        _require_directions("vision", self.vision, self.has_vision, self.ids)
        _require_directions("audio", self.audio, self.has_audio, self.ids)
        for kind, captions in self.captions.items():
            if ((captions.owner < 0) | (captions.owner >= len(self.ids))).any():
                raise ValueError(f"A caption of kind {kind} belongs to no clip.")
            every = np.ones(len(captions.texts), dtype=np.bool_)
            _require_directions(f"{kind} caption", captions.toward_vision, every, captions.texts)
            _require_directions(f"{kind} caption", captions.toward_audio, every, captions.texts)

    def gallery(
        self, gallery: Gallery
    ) -> tuple[Float[ndarray, "clip dim"], Bool[ndarray, " clip"]]:
        """The vectors of one modality, and which clips have it."""
        if gallery == "vision":
            return self.vision, self.has_vision
        return self.audio, self.has_audio


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """One task's numbers; `forward` and `reverse` are None where there was nothing to ask."""

    name: str
    queries: int
    gallery: int
    forward: Forward | None
    reverse: Reverse | None

    def recall(self, k: int) -> Estimate | None:
        """R@k from text or sound to media, as in the paper; None where there was nothing to ask."""
        return None if self.forward is None else self.forward.recall[k]

    def chance(self, k: int) -> float | None:
        """R@k of drawing at random; None for an empty gallery."""
        return min(1.0, k / self.gallery) if self.gallery else None


def evaluate(
    vectors: ClipVectors, *, ties: Ties = "pessimistic", resamples: int = 1000, seed: int = 0
) -> tuple[TaskResult, ...]:
    """Measure every task, in the order of `TASKS`."""
    measure = Measure(ties=ties, resamples=resamples, seed=seed)
    return tuple(_measure_task(task, vectors, measure) for task in TASKS)


def recalls_at(k: int, vectors: ClipVectors, tasks: Sequence[str]) -> dict[str, float]:
    """R@k of the named tasks that have something to ask, without intervals: to choose an epoch by.

    Raises:
        ValueError: No task has such a name.
    """
    known = {task.name: task for task in TASKS}
    if unknown := [name for name in tasks if name not in known]:
        raise ValueError(f"No such task: {', '.join(unknown)}; there are {', '.join(known)}.")
    asked = {name: _ask(known[name], vectors) for name in tasks}
    return {
        name: float(ranks_of_answers(one.queries, one.media, one.answers).hit(k).mean())
        for name, one in asked.items()
        if len(one.queries)
    }


def _measure_task(task: Task, vectors: ClipVectors, measure: Measure) -> TaskResult:
    one = _ask(task, vectors)
    if len(one.queries) == 0:
        return TaskResult(
            name=task.name, queries=0, gallery=len(one.media), forward=None, reverse=None
        )
    asked, owner = np.unique(one.answers, return_inverse=True)
    forward = ranks_of_answers(one.queries, one.media, one.answers)
    reverse = ranks_of_sets(one.media[asked], one.queries, owner)
    return TaskResult(
        name=task.name,
        queries=len(one.queries),
        gallery=len(one.media),
        forward=measure.forward(forward, one.answers),
        reverse=measure.reverse(reverse),
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A task's queries, its gallery, and the row of the gallery that is right for each query."""

    queries: Float[ndarray, "query dim"]
    media: Float[ndarray, "item dim"]
    answers: Int[ndarray, " query"]


def _ask(task: Task, vectors: ClipVectors) -> _Asked:
    media, present = vectors.gallery(task.gallery)
    queries, owner = _queries(task, vectors, media, present)
    clips = np.flatnonzero(present)
    return _Asked(queries, media[clips], np.searchsorted(clips, owner))


def _queries(
    task: Task,
    vectors: ClipVectors,
    media: Float[ndarray, "clip dim"],
    present: Bool[ndarray, " clip"],
) -> tuple[Float[ndarray, "query dim"], Int[ndarray, " query"]]:
    """The query vectors whose clip is in the gallery, and the row of that clip."""
    if task.query == "sound" and vectors.aligned:
        owner = np.flatnonzero(present & vectors.has_audio)
        return vectors.audio[owner], owner
    captions = None if task.query == "sound" else vectors.captions.get(task.query)
    if captions is None:
        return media[:0], np.empty(0, dtype=np.int64)
    kept = present[captions.owner]
    return captions.toward(task.gallery)[kept], captions.owner[kept]


def _require_directions(
    name: str,
    vectors: Float[ndarray, "row dim"],
    present: Bool[ndarray, " row"],
    called: tuple[str, ...],
) -> None:
    """Refuse vectors without a direction: zeros and NaN would be ranked as if they meant it."""
    length = np.linalg.norm(vectors, axis=1)
    broken = np.flatnonzero(present & ~(np.isfinite(length) & (length > 0))).tolist()
    if broken:
        shown = ", ".join(repr(called[row]) for row in broken[:3])
        raise ValueError(f"{len(broken)} {name} vectors are zero or not finite, such as {shown}.")
