"""Whether a caption finds its own moment: cosines of its vector with vision and audio."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from trichord.types.arrays import Float, Int

Weights = tuple[float, float]
"""Visual and audio weight, both above 0."""
EVEN: Weights = (1.0, 1.0)
TOLERANCE = 1e-6
"""Cosines nearer than this count as equal: batches may change them by so much."""
AT_ONCE = 1024
"""Captions ranked at once; it changes the memory, not the result."""


@dataclass(frozen=True, slots=True)
class SideVectors:
    """Unit vectors of captions or moments for comparison by vision and by audio.

    Zero where a moment lacks the modality. Of captions both are the same if there is one text encoder.
    """

    vision: Float[ndarray, "row dim"]
    audio: Float[ndarray, "row audio_dim"]

    def rows(self, rows: slice) -> "SideVectors":
        """Some of the rows."""
        return SideVectors(self.vision[rows], self.audio[rows])


def similarity(
    texts: SideVectors, moments: SideVectors, weights: Weights = EVEN
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
    vision = weights[0] * moments.vision.any(axis=1)
    audio = weights[1] * moments.audio.any(axis=1)
    cosines = vision * (texts.vision @ moments.vision.T)
    cosines = cosines + audio * (texts.audio @ moments.audio.T)
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
    texts: SideVectors, moments: SideVectors, weights: Weights = EVEN
) -> Int[ndarray, " text"]:
    """The rank of each text's own moment (the same row) among all moments; ties count against it.

    Args:
        texts: Captions, one for each moment.
        moments: The moments, each with vision or audio.
        weights: Visual and audio weight.
    """
    ranks = np.ones(len(texts.vision), np.int64)
    for start in range(0, len(ranks), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        scores = similarity(texts.rows(part), moments, weights)
        own = np.arange(start, start + len(scores))
        least = scores[np.arange(len(scores)), own] - TOLERANCE
        ranks[part] = (scores >= least[:, None]).sum(axis=1)  # itself is one of them
    return ranks
