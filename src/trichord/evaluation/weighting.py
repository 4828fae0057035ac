"""How much picture and sound should count where a search does not say: learnt from captions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from trichord.evaluation.bootstrap import Estimate, estimates
from trichord.evaluation.gallery import CaptionVectors, ClipVectors
from trichord.evaluation.ranks import TOLERANCE
from trichord.evaluation.scores import unit
from trichord.models.calibration import Background, CosineScale, QueryCalibration, blend, measure
from trichord.types import CaptionKind
from trichord.types.arrays import Bool, Float, Int

RATIOS = tuple(2.0 ** (step / 2) for step in range(-8, 9))
"""Ratios of visual to audio weight: 1:16 to 16:1. Never all on one: clips without it would be lost."""
CAPTIONS = 2000
"""At most so many captions ask, evenly chosen: an interval of one point or so."""
BACKGROUND = 256
"""At most so many of them measure the scales, as in a collection."""
AT_ONCE = 64
"""Captions ranked at once; changes memory, never the result."""

Reciprocal = Float[ndarray, "caption ratio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighting:
    """Weights of picture and sound, whose sum is 2, and what they are worth.

    Attributes:
        visual: 1 where nothing better was found.
        audio: Likewise.
        captions: How many asked.
        clips: Among how many each looked for its own.
        even: Mean reciprocal rank of the right clip where both weigh the same.
        gain: What choosing a weighting adds to that among clips it was not chosen on, with its 95 %
            interval over clips.
    """

    visual: float
    audio: float
    captions: int
    clips: int
    even: float
    gain: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """Clips with something to find, as unit vectors, zero where they lack a modality."""

    vision: Float[ndarray, "clip _"]
    has_vision: Bool[ndarray, " clip"]
    audio: Float[ndarray, "clip _"]
    has_audio: Bool[ndarray, " clip"]


def learn_weighting(
    vectors: ClipVectors,
    kinds: Sequence[CaptionKind] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Weighting:
    """Find the weights by which captions find their clips best, as a search scores moments.

    Cosines are standardised and blended by `models.yardstick`, whose scales are measured with the
    captions themselves against clips that are not theirs. The weights with the highest mean reciprocal
    rank are taken, the evenest of equals; ties count against us.

    Weights chosen on some captions look better there than they are. So each half of the clips is also
    asked with the weights that the other half chooses, and only where that helps beyond doubt (the
    whole interval of the gain lies above 0) are weights other than 1:1 returned.

    Args:
        vectors: Of validation clips, never of those that will be reported on.
        kinds: Captions that ask; None: of every kind, as searchers ask for what they like.
        resamples: Of the interval.
        seed: Of the interval.

    Raises:
        ValueError: Fewer than two clips have captions of these kinds.
    """
    clips = np.flatnonzero(vectors.has_vision | vectors.has_audio)
    sides = _sides(vectors, clips)
    toward_vision, toward_audio, owner = _captions(vectors, kinds, clips)
    if len(np.unique(owner)) < 2:
        raise ValueError("A weighting is learnt from the captions of two clips at least.")
    # The scales of captions that ask for what is not theirs.
    count = min(len(owner), BACKGROUND)
    some = (np.arange(count) * len(owner)) // count
    background = Background(
        vision=toward_vision[some],
        audio=toward_audio[some],
        allowed=owner[some][:, None] != np.arange(len(clips))[None, :],
    )
    stick = measure(sides, background)
    found = _reciprocal(sides, (toward_vision, toward_audio), owner, stick)
    even = RATIOS.index(1.0)
    best = _best(found)
    gain = _held_out(found, owner) - found[:, even]
    [estimate] = estimates(gain[:, None], owner, resamples=resamples, seed=seed)
    ratio = RATIOS[best] if estimate.low > 0 else 1.0
    return Weighting(
        visual=2 * ratio / (1 + ratio),
        audio=2 / (1 + ratio),
        captions=len(owner),
        clips=len(clips),
        even=float(found[:, even].mean()),
        gain=estimate,
    )


def _sides(vectors: ClipVectors, clips: Int[ndarray, " clip"]) -> _Sides:
    def clean(
        rows: Float[ndarray, "clip _"], present: Bool[ndarray, " clip"]
    ) -> Float[ndarray, "clip _"]:
        found = np.zeros(rows.shape)
        found[present] = unit(rows[present], "clip")
        return found[clips]

    return _Sides(
        vision=clean(vectors.vision, vectors.has_vision),
        has_vision=vectors.has_vision[clips],
        audio=clean(vectors.audio, vectors.has_audio),
        has_audio=vectors.has_audio[clips],
    )


def _captions(
    vectors: ClipVectors, kinds: Sequence[CaptionKind] | None, clips: Int[ndarray, " clip"]
) -> tuple[Float[ndarray, "caption _"], Float[ndarray, "caption _"], Int[ndarray, " caption"]]:
    """Text vectors towards vision and towards audio, and the place of each caption's clip among `clips`."""
    chosen: list[CaptionVectors] = [
        vectors.captions[kind] for kind in kinds or vectors.captions if kind in vectors.captions
    ]
    if not chosen:
        raise ValueError("A weighting is learnt from captions, and there are none of these kinds.")
    owner = np.concatenate([one.owner for one in chosen])
    rows = np.flatnonzero(np.isin(owner, clips))
    rows = rows[
        (np.arange(min(len(rows), CAPTIONS)) * len(rows)) // max(1, min(len(rows), CAPTIONS))
    ]
    vision = np.concatenate([one.toward_vision for one in chosen])[rows]
    audio = np.concatenate([one.toward_audio for one in chosen])[rows]
    place = np.searchsorted(clips, owner[rows])
    return unit(vision, "caption"), unit(audio, "caption"), place


def _reciprocal(
    sides: _Sides,
    texts: tuple[Float[ndarray, "caption _"], Float[ndarray, "caption _"]],
    owner: Int[ndarray, " caption"],
    stick: QueryCalibration,
) -> Reciprocal:
    """1 / rank of each caption's clip at each ratio of the weights."""
    found = np.empty((len(owner), len(RATIOS)))
    for first in range(0, len(owner), AT_ONCE):
        rows = slice(first, first + AT_ONCE)
        seen = _standard(texts[0][rows], sides.vision, sides.has_vision, stick.vision)
        heard = _standard(texts[1][rows], sides.audio, sides.has_audio, stick.audio)
        for place, ratio in enumerate(RATIOS):
            weights = sides.has_vision * ratio, sides.has_audio * 1.0
            ones = np.ones(len(sides.has_vision))
            visual, audio = blend(ones, ones, weights, stick.agreement)
            scores = visual * seen + audio * heard
            right = scores[np.arange(len(scores)), owner[rows]][:, None]
            # The right clip is no better than itself: its rank is how many are at least as good.
            found[rows, place] = 1.0 / (scores >= right - TOLERANCE).sum(axis=1)
    return found


def _standard(
    texts: Float[ndarray, "caption dim"],
    vectors: Float[ndarray, "clip dim"],
    present: Bool[ndarray, " clip"],
    scale: CosineScale,
) -> Float[ndarray, "caption clip"]:
    cosines = texts @ vectors.T
    return scale.standardise(cosines, np.broadcast_to(present, cosines.shape))


def _best(found: Reciprocal) -> int:
    """The ratio with the highest mean; of equals the one nearest to 1:1."""
    means = found.mean(axis=0)
    equal = np.flatnonzero(means >= means.max() - 1e-9)
    return int(equal[np.argmin(np.abs(np.log(np.array(RATIOS)[equal])))])


def _held_out(found: Reciprocal, owner: Int[ndarray, " caption"]) -> Float[ndarray, " caption"]:
    """What each caption reaches by the ratio that the captions of the other half's clips choose."""
    clips = np.unique(owner)
    half = np.searchsorted(clips, owner) % 2 == 0
    chosen = np.where(half, _best(found[~half]), _best(found[half]))
    return found[np.arange(len(found)), chosen]
