"""Audio type tokens, from speech to events: those that moments are stored at, and those in between."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trichord.types.arrays import Float

if TYPE_CHECKING:  # collections are opened, and refused, before torch is loaded
    from trichord.models.embedder import Embedder

VERBAL, BETWEEN, NONVERBAL = 0.0, 0.5, 1.0


def tokens_of(model: "Embedder") -> tuple[float, ...]:
    """The audio type tokens that a collection of a model stores, the model's own first.

    Empty if there is no choice: the audio tower takes no audio type token, or the run was trained
    without one (`none`) or with both tokens together (`both`).
    """
    from trichord.encoders.encoder import UNKNOWN_AUDIO_TYPE

    token = model.audio.audio_type
    token = UNKNOWN_AUDIO_TYPE if token == "clip" else token
    if token is None or isinstance(token, str):
        return ()
    return tuple(dict.fromkeys((float(token), VERBAL, BETWEEN, NONVERBAL)))


def audio_at(
    stored: Float[np.ndarray, "moment wide"], tokens: Sequence[float], token: float
) -> Float[np.ndarray, "moment dim"]:
    """Audio vectors at an audio type token between the stored ones.

    The two neighbours are interpolated linearly and normalised to unit length; at a stored token the
    result is the stored vector itself.

    Args:
        stored: The vectors at each of `tokens`, concatenated; a row of zeros stays zero.
        tokens: From verbal (0) to nonverbal (1), in any order.
        token: Between the smallest and the largest of `tokens`.
    """
    vectors = dict(zip(tokens, np.split(stored, len(tokens), axis=1), strict=True))
    if token in vectors:
        return np.ascontiguousarray(vectors[token])
    below = max(known for known in tokens if known < token)
    above = min(known for known in tokens if known > token)
    share = np.float32((token - below) / (above - below))
    mixed = (1 - share) * vectors[below] + share * vectors[above]
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True).clip(min=1e-12)
