"""Whether a caption finds its own moment: cosines of its vector with vision and audio."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy import ndarray

from trichord.types.arrays import Bool, Float, Int

Weights = tuple[float, float]
"""Visual and audio weight, both above 0."""
EVEN: Weights = (1.0, 1.0)
TOLERANCE = 1e-6
"""Cosines nearer than this count as equal: batches may change them by so much."""
AT_ONCE = 1024
"""Captions ranked at once; it changes the memory, not the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenVectors:
    """Unit vectors of captions for vision and for audio; the same if there is one text encoder."""

    toward_vision: Float[ndarray, "text dim"]
    toward_audio: Float[ndarray, "text audio_dim"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentVectors:
    """Unit vectors of moments, zero if the modality is missing, and which rows have it."""

    vision: Float[ndarray, "moment dim"]
    has_vision: Bool[ndarray, " moment"]
    audio: Float[ndarray, "moment audio_dim"]
    has_audio: Bool[ndarray, " moment"]


Vectors = TypeVar("Vectors", WrittenVectors, MomentVectors)


def concatenate(parts: Sequence[Vectors]) -> Vectors:
    """The rows of several parts together."""
    names = [field.name for field in fields(parts[0])]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return type(parts[0])(**columns)


def rows_of(vectors: Vectors, rows: slice) -> Vectors:
    """Some of the rows."""
    columns = {field.name: getattr(vectors, field.name)[rows] for field in fields(vectors)}
    return type(vectors)(**columns)


def similarity(
    texts: WrittenVectors, moments: MomentVectors, weights: Weights = EVEN
) -> Float[ndarray, "text moment"]:
    """Similarity of each text and moment: the weighted mean of the cosines with what the moment has.

    Args:
        texts: Vectors of the texts.
        moments: Vectors of the moments.
        weights: Visual and audio weight.

    Returns:
        NaN for moments without vectors.

    Raises:
        ValueError: A weight is not positive.
    """
    if not all(weight > 0 for weight in weights):
        raise ValueError(f"Visual and audio weight must be positive, not {weights}.")
    vision, audio = (
        weight * present
        for weight, present in zip(weights, (moments.has_vision, moments.has_audio), strict=True)
    )
    cosines = vision * (texts.toward_vision @ moments.vision.T)
    cosines = cosines + audio * (texts.toward_audio @ moments.audio.T)
    total = np.where(vision + audio > 0, vision + audio, np.nan)
    return (cosines / total).astype(np.float32)


def best(match: Float[ndarray, " text"], likelihood: Float[ndarray, " text"]) -> int:
    """The caption that is most similar to its moment; of equals the likeliest, then the first.

    Args:
        match: Similarity of each to the moment.
        likelihood: Log-likelihood of each.
    """
    equal = match >= match.max() - TOLERANCE
    return int(np.where(equal, likelihood, -np.inf).argmax())


def own_ranks(
    texts: WrittenVectors, moments: MomentVectors, weights: Weights = EVEN
) -> Int[ndarray, " text"]:
    """The rank of each text's own moment (the same row) among all moments; ties count against it.

    Args:
        texts: Captions, one for each moment.
        moments: The moments, each with vision or audio.
        weights: Visual and audio weight.
    """
    ranks = np.ones(len(texts.toward_vision), np.int64)
    for start in range(0, len(ranks), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        scores = similarity(rows_of(texts, part), moments, weights)
        own = np.arange(start, start + len(scores))
        least = scores[np.arange(len(scores)), own] - TOLERANCE
        ranks[part] = (scores >= least[:, None]).sum(axis=1)  # itself is one of them
    return ranks
