"""Whether a caption finds the moment that it was written of: cosines of its vector with sight and sound."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from trichord.types.arrays import Bool, Float, Int

Weights = tuple[float, float]
"""Of sight and of sound, neither of them 0."""
EVEN: Weights = (1.0, 1.0)
TOLERANCE = 1e-6
"""Cosines nearer than this are equal: so far may batches move them."""
AT_ONCE = 1024
"""Captions ranked at once; changes memory, never the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Unit vectors of texts toward sight and toward sound; the same if one encoder reads them."""

    toward_vision: Float[ndarray, "text dim"]
    toward_audio: Float[ndarray, "text audio_dim"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Unit vectors of moments, zero in rows that lack the modality, and which rows have it."""

    vision: Float[ndarray, "moment dim"]
    has_vision: Bool[ndarray, " moment"]
    audio: Float[ndarray, "moment audio_dim"]
    has_audio: Bool[ndarray, " moment"]


def likeness(texts: Texts, shown: Shown, weights: Weights = EVEN) -> Float[ndarray, "text moment"]:
    """How like each text is to each moment: the weighted mean of its cosines with what is there.

    Args:
        texts: Their vectors.
        shown: The moments; each is compared by what it has.
        weights: Of sight and of sound.

    Returns:
        NaN for moments that have neither.

    Raises:
        ValueError: A weight is not positive.
    """
    if not all(weight > 0 for weight in weights):
        raise ValueError(f"Weights of sight and sound are positive, not {weights}.")
    vision, audio = (
        weight * present
        for weight, present in zip(weights, (shown.has_vision, shown.has_audio), strict=True)
    )
    cosines = vision * (texts.toward_vision @ shown.vision.T)
    cosines = cosines + audio * (texts.toward_audio @ shown.audio.T)
    total = np.where(vision + audio > 0, vision + audio, np.nan)
    return (cosines / total).astype(np.float32)


def best(match: Float[ndarray, " text"], likelihood: Float[ndarray, " text"]) -> int:
    """Which of some captions finds its moment best; of equals the likeliest, then the first.

    Args:
        match: How like each is to the moment.
        likelihood: Log-likelihood of each.
    """
    equal = match >= match.max() - TOLERANCE
    return int(np.where(equal, likelihood, -np.inf).argmax())


def own_ranks(texts: Texts, shown: Shown, weights: Weights = EVEN) -> Int[ndarray, " text"]:
    """At which place each text finds the moment of the same row, among all of them; ties count against it.

    Args:
        texts: Of captions, one a moment.
        shown: The moments, each with sight or sound.
        weights: Of sight and of sound.
    """
    ranks = np.ones(len(texts.toward_vision), np.int64)
    for start in range(0, len(ranks), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        some = Texts(toward_vision=texts.toward_vision[part], toward_audio=texts.toward_audio[part])
        found = likeness(some, shown, weights)
        own = np.arange(start, start + len(found))
        least = found[np.arange(len(found)), own] - TOLERANCE
        ranks[part] = (found >= least[:, None]).sum(axis=1)  # itself is one of them
    return ranks
