"""The order of clips and the drawing of captions: pure functions of seed, stage and epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trichord.config import Stage
from trichord.features.source import Captions
from trichord.types import Clip, UserError
from trichord.types.terms import term_of


@dataclass(frozen=True, slots=True)
class Sample:
    """One mini-batch: clips by number, a caption for each (None: no text), and their terms.

    `terms` has the rows of each term, `weights` its weight (the mean over those rows).
    """

    clips: Int[np.ndarray, " row"]
    captions: Int[np.ndarray, " row"] | None
    terms: dict[str, Bool[Tensor, " row"]]
    weights: dict[str, float]
    texts: Int[Tensor, " row"] | None = None
    """Equal numbers for equal captions, -1 for a clip without one; None: no text at all."""
    owners: Int[Tensor, " row"] | None = None
    """The clip of each caption, if a clip may have several rows; None: every clip has one."""
    masking: int | None = None
    """Seed of this epoch's masks, with each clip's id; None: no masks."""
    place: tuple[int, ...] = ()
    """Seed, stage, epoch and number of the mini-batch, which seed its step."""
    first: int = 0
    """Index of the first row in the whole mini-batch."""

    def parts(self, count: int) -> "list[Sample]":
        """Split the mini-batch into parts of almost equal size.

        Args:
            count: Of parts, at most the number of rows.
        """
        ends = [len(self.clips) * i // count for i in range(count + 1)]
        return [self._rows(slice(*ends[i : i + 2])) for i in range(count)]

    def _rows(self, rows: slice) -> "Sample":
        return replace(
            self,
            clips=self.clips[rows],
            captions=None if self.captions is None else self.captions[rows],
            terms={term: used[rows] for term, used in self.terms.items()},
            texts=None if self.texts is None else self.texts[rows],
            owners=None if self.owners is None else self.owners[rows],
            first=self.first + rows.start,
        )

    def seed_rng(self, *, of_rows: bool = False) -> None:
        """Seed torch's random numbers, such as dropout, by the mini-batch's place.

        Args:
            of_rows: Also by the first row, so that parts of a mini-batch differ.
        """
        where = (self.first,) if of_rows and self.first else ()
        seed = hash((*self.place, *where))
        # As `torch.manual_seed`, which records a stack trace for each unused kind of device.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)


def epoch_samples(
    stage: Stage,
    captions: Captions,
    clips: Sequence[Clip],
    *,
    seed: int,
    place: tuple[int, int],
    neighbours: Int[Tensor, "clip neighbour"] | None = None,
) -> Iterator[Sample]:
    """The mini-batches of one epoch; an incomplete last one is dropped.

    A clip occurs at most once in a batch, so that its own captions are not among its negatives, or as
    often as it has captions, which are all its positives.

    Args:
        stage: Batch size and draws.
        captions: Of all clips.
        clips: All clips; fewer than a batch make one smaller batch.
        seed: Of the run.
        place: Index of the stage, and epoch.
        neighbours: Hard negatives of each clip, the hardest first (-1: none), to stand in its batch.
    """
    random = np.random.default_rng([seed, *place])
    steps = steps_per_epoch(stage, len(clips))
    batches = _batches(stage, clips, steps, random, neighbours)
    for number, rows in enumerate(batches):
        turn = place[1] * steps + number
        choice = _choice(stage, len(rows), turn, random)
        drawn = _sample(stage, captions, rows, choice, random)
        if stage.captions_per_clip > 1 and drawn.captions is not None:
            drawn = _with_others(stage, captions, drawn, choice, random)
        masks = any("masked" in term_of(name).sides for name in drawn.terms)
        yield replace(
            drawn,
            texts=None
            if drawn.captions is None
            else torch.from_numpy(captions.wordings[drawn.captions]),
            masking=int(np.random.default_rng((seed, *place)).integers(2**62)) if masks else None,
            place=(seed, *place, number),
        )


def _batches(
    stage: Stage,
    clips: Sequence[Clip],
    steps: int,
    random: np.random.Generator,
    neighbours: Int[Tensor, "clip neighbour"] | None,
) -> Iterator[Int[np.ndarray, " row"]]:
    """Clips by number: each once per epoch, or from verbal and nonverbal clips in a ratio."""
    size = min(stage.batch_size, len(clips))
    if stage.nonverbal_share is None:
        order = random.permutation(len(clips))
        if neighbours is not None:
            order = grouped(order, neighbours.numpy(), size, stage.negatives)
        yield from (order[i * size : (i + 1) * size] for i in range(steps))
        return
    pools = pools_of(stage, clips)
    streams = [(_rounds(pool, random), count) for pool, count in pools]
    for _ in range(steps):
        yield np.concatenate([_take(stream, count) for stream, count in streams])


def grouped(
    order: Int[np.ndarray, " clip"],
    neighbours: Int[np.ndarray, "clip neighbour"],
    size: int,
    count: int,
) -> Int[np.ndarray, " clip"]:
    """An order of clips in which the first neighbours of a clip that are not used yet follow it.

    Args:
        order: Of all clips.
        neighbours: Of each clip, the first ones first; -1: none.
        size: Of a batch; a clip and its neighbours are in the same one.
        count: Of neighbours, at most.

    Source: GRIT-VLP (Byun et al., 2022), grouped mini-batch sampling, each group around a clip.
    """
    used = np.zeros(len(order), np.bool_)
    taken: list[int] = []
    for clip in order.tolist():
        if used[clip]:
            continue
        used[clip] = True
        room = size - len(taken) % size - 1
        free = [one for one in neighbours[clip].tolist() if one >= 0 and not used[one]]
        group = free[: min(count, room)]
        used[group] = True
        taken += [clip, *group]
    return np.array(taken, dtype=np.int64)


def pools_of(stage: Stage, clips: Sequence[Clip]) -> list[tuple[Int[np.ndarray, " clip"], int]]:
    """Nonverbal and other clips, and their numbers in a batch; empty without a ratio.

    Raises:
        UserError: There are too few.
    """
    if stage.nonverbal_share is None:
        return []
    size = min(stage.batch_size, len(clips))
    quota = round(stage.nonverbal_share * size)
    nonverbal = np.array([clip.audio_type == "nonverbal" for clip in clips])
    pools = [(np.flatnonzero(nonverbal), quota), (np.flatnonzero(~nonverbal), size - quota)]
    for (pool, share), kind in zip(pools, ("nonverbal", "other"), strict=True):
        if len(pool) < share:
            raise UserError(
                f"Stage '{stage.name}' wants {share} {kind} clips in every batch, but there are "
                f"{len(pool)}: change --stages.N.nonverbal-share or --stages.N.batch-size."
            )
    return pools


def _rounds(pool: Int[np.ndarray, " clip"], random: np.random.Generator) -> Iterator[int]:
    """Repeat a pool endlessly, in a new order each time."""
    while len(pool):
        yield from random.permutation(pool).tolist()


def _take(stream: Iterator[int], count: int) -> Int[np.ndarray, " row"]:
    """The next distinct clips of a stream; repeated ones are skipped."""
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        chosen[next(stream)] = None
    return np.array(list(chosen), dtype=np.int64)


def steps_per_epoch(stage: Stage, clips: int) -> int:
    """Number of mini-batches in an epoch; at least one."""
    return clips // min(stage.batch_size, clips)


def _choice(
    stage: Stage, rows: int, turn: int, random: np.random.Generator
) -> Int[np.ndarray, " row"]:
    """The draw of each row: one for the whole batch (SLAVA), in turns, or one per clip."""
    chances = np.array([draw.chance for draw in stage.draws])
    chances = chances / chances.sum()
    match stage.draw_per:
        case "batch":
            return np.full(rows, random.choice(len(stage.draws), p=chances))
        case "turn":
            return np.full(rows, turn % len(stage.draws))
        case "clip":
            return random.choice(len(stage.draws), size=rows, p=chances)


def _sample(
    stage: Stage,
    captions: Captions,
    rows: Int[np.ndarray, " row"],
    choice: Int[np.ndarray, " row"],
    random: np.random.Generator,
) -> Sample:
    drawn = np.full(len(rows), -1)
    weights_of: dict[str, Float[np.ndarray, " row"]] = {}
    for number, draw in enumerate(stage.draws):
        selected = choice == number
        if draw.captions:
            drawn[selected] = captions.draw(draw.captions, rows[selected], random)
        for term, weight in zip(draw.terms, draw.weights or (1.0,) * len(draw.terms), strict=True):
            weights_of.setdefault(term, np.zeros(len(rows)))[selected] = weight
    used: dict[str, Float[np.ndarray, " row"]] = {
        term: weights for term, weights in weights_of.items() if weights.any()
    }
    text = any(draw.captions for draw in stage.draws)
    terms: dict[str, Bool[Tensor, " row"]] = {
        term: torch.from_numpy(weights > 0) for term, weights in used.items()
    }
    counts: dict[str, float] = {
        term: float(weights[weights > 0].mean()) for term, weights in used.items()
    }
    return Sample(rows, drawn if text else None, terms, counts)


def _with_others(
    stage: Stage,
    captions: Captions,
    sample: Sample,
    choice: Int[np.ndarray, " row"],
    random: np.random.Generator,
) -> Sample:
    """The sample with more captions of its clips, each with a row of its own behind the others."""
    assert sample.captions is not None
    others = [
        captions.draw_others(
            stage.draws[draw].captions, clip, caption, stage.captions_per_clip - 1, random
        )
        for clip, caption, draw in zip(
            sample.clips.tolist(), sample.captions.tolist(), choice.tolist(), strict=True
        )
    ]
    copied = np.repeat(np.arange(len(sample.clips)), [len(some) for some in others])
    terms: dict[str, Bool[Tensor, " row"]] = {}
    for name, rows in sample.terms.items():
        # A second row of a clip would be a negative of the first: the vectors are equal.
        textual = "text" in term_of(name).sides
        more = rows[copied] if textual else torch.zeros(len(copied), dtype=torch.bool)
        terms[name] = torch.cat([rows, more])
    clips = np.concatenate([sample.clips, sample.clips[copied]])
    drawn = np.concatenate([sample.captions, *others])
    owners = torch.from_numpy(np.where(drawn < 0, -1, clips))
    return replace(sample, clips=clips, captions=drawn, terms=terms, owners=owners)
