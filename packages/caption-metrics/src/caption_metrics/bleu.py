"""BLEU (Papineni et al. 2002) with coco-caption's reference length and smoothing.

The score of a corpus is that of its summed statistics, not the mean over its captions.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from caption_metrics.tokens import Tokens, ngrams

ORDERS = 4
_TINY, _SMALL = 1e-15, 1e-9  # coco-caption's: an order without a match is almost 0, never 0 / 0


def statistics(hypothesis: Tokens, references: Sequence[Tokens]) -> NDArray[np.float64]:
    """Statistics of one caption, (10,): its length, the reference length, 4 matches, 4 n-gram counts.

    The reference length is the one closest to that of the caption, the shorter one of two as close.
    An n-gram matches as often as it occurs in the one reference that has it most often.
    """
    length = len(hypothesis)
    closest = min((abs(len(one) - length), len(one)) for one in references)[1]
    ours = ngrams(hypothesis, ORDERS)
    theirs: Counter[Tokens] = Counter()
    for reference in references:
        counts = ngrams(reference, ORDERS)
        theirs |= Counter({gram: count for gram, count in counts.items() if gram in ours})
    matches = [0] * ORDERS
    for gram, count in ours.items():
        matches[len(gram) - 1] += min(count, theirs[gram])
    totals = [max(0, length - order) for order in range(ORDERS)]
    return np.array([length, closest, *matches, *totals], dtype=float)


def scores(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """BLEU-1 to BLEU-4 of statistics or sums of them, in [0, 1]: (..., 10) -> (..., 4)."""
    length, closest = statistics[..., 0], statistics[..., 1]
    matches, totals = statistics[..., 2 : 2 + ORDERS], statistics[..., 2 + ORDERS :]
    product = np.cumprod((matches + _TINY) / (totals + _SMALL), axis=-1)
    mean = product ** (1 / np.arange(1, ORDERS + 1))
    ratio = (length + _TINY) / (closest + _SMALL)
    return mean * np.exp(np.minimum(0, 1 - 1 / ratio))[..., None]  # the brevity penalty
