"""BLEU (Papineni et al. 2002) with coco-caption's reference length and smoothing.

A corpus' value is that of its summed counts, not the mean of its captions' values; so what a caption
contributes is a row of counts, and any sum of rows has a value.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from trichord.evaluation.captions.metrics.tokens import Tokens, ngrams
from trichord.types.arrays import Float

ORDERS = 4
_TINY, _SMALL = 1e-15, 1e-9  # coco-caption's: an order without a hit is almost 0, never 0 / 0


def counts(candidate: Tokens, references: Sequence[Tokens]) -> Float[ndarray, " 10"]:
    """What one caption contributes: its length, the reference length, 4 hits, 4 possible hits.

    The reference length is that closest to the candidate's, the shorter one where two are as close.
    A hit counts as often as it stands in the one reference that has it most often.
    """
    length = len(candidate)
    closest = min((abs(len(one) - length), len(one)) for one in references)[1]
    own = ngrams(candidate, ORDERS)
    theirs: Counter[Tokens] = Counter()
    for reference in references:
        theirs |= Counter({gram: n for gram, n in ngrams(reference, ORDERS).items() if gram in own})
    hits = [0] * ORDERS
    for gram, count in own.items():
        hits[len(gram) - 1] += min(count, theirs[gram])
    possible = [max(0, length - order) for order in range(ORDERS)]
    return np.array([length, closest, *hits, *possible], dtype=float)


def values(counted: Float[ndarray, "*rows 10"]) -> Float[ndarray, "*rows 4"]:
    """BLEU-1 to BLEU-4 of each row of counts or of sums of them, in [0, 1]."""
    length, closest = counted[..., 0], counted[..., 1]
    hits, possible = counted[..., 2 : 2 + ORDERS], counted[..., 2 + ORDERS :]
    precision = np.cumprod((hits + _TINY) / (possible + _SMALL), axis=-1)
    mean = precision ** (1 / np.arange(1, ORDERS + 1))
    ratio = (length + _TINY) / (closest + _SMALL)
    return mean * np.exp(np.minimum(0, 1 - 1 / ratio))[..., None]
