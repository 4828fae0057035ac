"""CIDEr-D and plain CIDEr (Vedantam et al. 2015), in coco-caption's units: at most 10.

What coco-caption's `Cider` prints is CIDEr-D: clipped, with a Gaussian penalty on lengths, without the
stemming of the paper. Document frequencies are those of the references at hand, so a score holds for
that set only. For one clip alone it is 0 by construction: every n-gram of its references occurs in
"every" clip, and the logarithm of 1 is 0.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from caption_metrics.tokens import Tokens, ngrams

Variant = Literal["CIDEr-D", "CIDEr"]
ORDERS = 4
SIGMA = 6.0  # of the length penalty, in words


@dataclass(frozen=True, slots=True)
class _TfIdf:
    """The TF-IDF vectors of a caption by order, their norms, and the length of the caption.

    The length is the number of *bigrams*, as in coco-caption: words less one, but 0 for
    a caption of one word as for an empty one.
    """

    vectors: tuple[dict[Tokens, float], ...]
    norms: tuple[float, ...]
    bigrams: int


def cider_scores(
    hypotheses: Sequence[Tokens],
    references: Sequence[Sequence[Tokens]],
    variant: Variant = "CIDEr-D",
) -> list[float]:
    """The score of each caption against its references; that of the corpus is their mean.

    Args:
        hypotheses: One caption per clip.
        references: The references of the same clips; document frequencies are counted over them.
        variant: `CIDEr-D` is what coco-caption prints; `CIDEr` is the plain cosine of the paper.
    """
    frequency = Counter(
        gram
        for several in references
        for gram in {gram for one in several for gram in ngrams(one, ORDERS)}
    )
    log_clips = math.log(len(references)) if references else 0.0
    idf = {gram: log_clips - math.log(count) for gram, count in frequency.items()}
    scores: list[float] = []
    for hypothesis, several in zip(hypotheses, references, strict=True):
        ours = _tf_idf(hypothesis, idf, log_clips)
        total = sum(_similarity(ours, _tf_idf(one, idf, log_clips), variant) for one in several)
        scores.append(10 * total / ORDERS / len(several))
    return scores


def _tf_idf(caption: Tokens, idf: dict[Tokens, float], unseen: float) -> _TfIdf:
    vectors: tuple[dict[Tokens, float], ...] = tuple({} for _ in range(ORDERS))
    for gram, count in ngrams(caption, ORDERS).items():
        vectors[len(gram) - 1][gram] = count * idf.get(gram, unseen)
    norms = tuple(math.sqrt(sum(x * x for x in vector.values())) for vector in vectors)
    return _TfIdf(vectors, norms, max(0, len(caption) - 1))


def _similarity(ours: _TfIdf, theirs: _TfIdf, variant: Variant) -> float:
    total = 0.0
    for mine, other, *norms in zip(
        ours.vectors, theirs.vectors, ours.norms, theirs.norms, strict=True
    ):
        if not all(norms):
            continue
        if variant == "CIDEr-D":
            dot = sum(min(x, other[g]) * other[g] for g, x in mine.items() if g in other)
        else:
            dot = sum(x * other[g] for g, x in mine.items() if g in other)
        total += dot / (norms[0] * norms[1])
    if variant == "CIDEr-D":
        total *= math.exp(-((ours.bigrams - theirs.bigrams) ** 2) / (2 * SIGMA**2))
    return total
