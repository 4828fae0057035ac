"""What is done about clips without sound: nothing, another clip's sound, or they are left out.

A missing modality is masked by default: the clip is found by its picture alone. CLIP4VLA lends it the
sound of the training clip that looks most like it. Either is something that evaluation does to a
source; the model never learns of it.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy import ndarray

from trichord.evaluation.lending import LentSource, SomeSource
from trichord.evaluation.pairs import measuring
from trichord.evaluation.protocol import MISSING_RULE, digest
from trichord.features.source import Source, portions
from trichord.models.embedder import Embedder
from trichord.types import UserError
from trichord.types.arrays import Bool, Float, Int
from trichord.types.tensors import Padded

SilentRule = Literal["masked", "borrowed", "random", "out"]
CLIPS_AT_ONCE = 32
"""Few enough for frames that no tower has read yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Clips after a rule has been applied to the silent ones.

    `silent` has those of them that it changed or could not change, and the training clip that lends
    each its sound, None where none does; `rule` is what a protocol says of it.
    """

    source: Source
    silent: dict[str, str | None]
    rule: str


def heard_by(
    rule: SilentRule, model: Embedder, source: Source, training: Callable[[], Source]
) -> Heard:
    """Apply a rule to the silent clips; masked ones need nothing done to them.

    Args:
        rule: What to do about them.
        model: Says who looks alike.
        source: The clips.
        training: Opens the clips that may lend their sounds, if that is needed.

    Raises:
        UserError: The rule cannot be followed.
    """
    match rule:
        case "masked":
            return Heard(source=source, silent={}, rule=MISSING_RULE)
        case "borrowed":
            return borrow(model, source, training())
        case "random":
            return draw(source, training())
        case "out":
            return leave_out(source)


def leave_out(source: Source) -> Heard:
    """Without the silent clips: they are neither in a gallery nor asked for.

    Raises:
        UserError: Every clip is silent.
    """
    heard = with_audio(source)
    if not heard.any():
        raise UserError("Every clip is silent: without silent clips there is nothing to measure.")
    lacking = np.flatnonzero(~heard).tolist()
    silent: dict[str, str | None] = {source.clips[i].id: None for i in lacking}
    some = SomeSource(source, np.flatnonzero(heard))
    return Heard(source=some, silent=silent, rule=f"{MISSING_RULE}, silent clips left out")


def borrow(model: Embedder, source: Source, training: Source) -> Heard:
    """Silent clips with the sound of the training clip that looks most like them.

    Likeness is the cosine of the model's pooled vision vectors; as published, these are means of unit
    vectors. A silent clip without a picture stays silent.

    Source: CLIP4VLA, "Video Retrieval" among its experiments; `v2v` as published.

    Raises:
        UserError: No training clip has both sound and picture.
    """
    silent = np.flatnonzero(~with_audio(source))
    if not len(silent):
        return Heard(source=source, silent={}, rule=MISSING_RULE)
    with measuring(model):
        looks = list(_looks(model, source, silent))
        asked = np.concatenate([look.clips[look.sees] for look in looks])
        vectors = np.concatenate([look.vectors[look.sees] for look in looks])
        donors, nearest = _most_alike(model, training, vectors)
    lent = dict(zip(asked.tolist(), nearest.tolist(), strict=True))
    return _lend(source, training, silent, lent, f"borrowed from {_pool(training, donors)}")


def draw(source: Source, training: Source, *, seed: int = 0) -> Heard:
    """Silent clips with the sound of a training clip, which `seed` and their own id draw.

    Source: the authors' released loader, where a clip has no sound file.

    Raises:
        UserError: No training clip has sound.
    """
    silent = np.flatnonzero(~with_audio(source))
    if not len(silent):
        return Heard(source=source, silent={}, rule=MISSING_RULE)
    donors = np.flatnonzero(with_audio(training))
    if not len(donors):
        raise UserError("No training clip has sound to lend: choose --silent masked.")
    by_id = sorted(donors.tolist(), key=lambda i: training.clips[i].id)
    lent: dict[int, int] = {}
    for i in silent.tolist():
        name = f"{seed} {source.clips[i].id}".encode("utf-8", "surrogateescape")
        drawn = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
        lent[i] = by_id[drawn % len(by_id)]
    rule = f"drawn from {_pool(training, donors)}, seed {seed}"
    return _lend(source, training, silent, lent, rule)


def with_audio(source: Source) -> Bool[ndarray, " clip"]:
    """Which clips of a source have sound; nothing is embedded."""
    found = [
        _present(source.batch(rows, None).audio, len(rows))
        for rows in portions(len(source.clips), CLIPS_AT_ONCE)
    ]
    return np.concatenate([np.zeros(0, np.bool_), *found])


@dataclass(frozen=True, slots=True)
class _Look:
    """What some clips, by number, look like, and whether they have picture and sound."""

    clips: Int[ndarray, " clip"]
    vectors: Float[ndarray, "clip dim"]
    sees: Bool[ndarray, " clip"]
    hears: Bool[ndarray, " clip"]


def _looks(model: Embedder, source: Source, clips: Int[ndarray, " clip"]) -> Iterator[_Look]:
    for rows in portions(len(clips), CLIPS_AT_ONCE):
        batch = source.batch(clips[rows], None)
        if batch.vision is None:
            raise UserError(
                "Borrowed sounds are chosen by pictures, and none are read here: choose --silent "
                "random or masked."
            )
        hears = _present(batch.audio, len(rows))
        vision = model(replace(batch, audio=None).to(model.device)).vision
        sees = _present(batch.vision, len(rows))
        yield _Look(clips[rows], vision.pooled.cpu().numpy(), sees, hears)


def _most_alike(
    model: Embedder, training: Source, vectors: Float[ndarray, "asked dim"]
) -> tuple[Int[ndarray, " donor"], Int[ndarray, " asked"]]:
    """The training clips that can lend, and which of them each vector is most like."""
    donors: list[Int[ndarray, " some"]] = []
    best, likeness = np.zeros(len(vectors), np.int64), np.full(len(vectors), -np.inf)
    for look in _looks(model, training, np.arange(len(training.clips))):
        able = np.flatnonzero(look.sees & look.hears)
        if not len(able):
            continue
        donors.append(look.clips[able])
        like = vectors @ look.vectors[able].T
        first = like.argmax(axis=1)
        highest = like.max(axis=1)
        best = np.where(highest > likeness, look.clips[able][first], best)
        likeness = np.maximum(highest, likeness)
    if not donors:
        raise UserError(
            "No training clip has sound and picture, to lend by: choose --silent masked."
        )
    return np.concatenate(donors), best


def _lend(
    source: Source, training: Source, silent: Int[ndarray, " clip"], lent: dict[int, int], how: str
) -> Heard:
    donor = {clip: training.clips[number].id for clip, number in lent.items()}
    return Heard(
        source=LentSource(source, training, lent),
        silent={source.clips[i].id: donor.get(i) for i in silent.tolist()},
        rule=f"{MISSING_RULE}, sound {how}",
    )


def _pool(training: Source, donors: Int[ndarray, " donor"]) -> str:
    """Who may lend: part of the protocol, because another training set lends other sounds."""
    return f"{len(donors)} training clips ({digest(training.clips[i].id for i in donors)})"


def _present(inputs: Padded | None, rows: int) -> Bool[ndarray, " clip"]:
    return np.zeros(rows, np.bool_) if inputs is None else inputs.present.numpy()
