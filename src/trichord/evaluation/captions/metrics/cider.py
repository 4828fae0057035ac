"""CIDEr-D and plain CIDEr (Vedantam et al. 2015), in coco-caption's units: at most 10.

What coco-caption's `Cider` prints is CIDEr-D: clipped, with a Gaussian penalty on lengths, without the
paper's stemming. Document frequencies are those of the reference set at hand, so a value holds for
that set only, and for one clip alone it is 0 by construction: every n-gram of its references stands
in "every" clip, and the logarithm of 1 is 0.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trichord.evaluation.captions.metrics.tokens import Tokens, ngrams

Variant = Literal["CIDEr-D", "CIDEr"]
ORDERS = 4
SIGMA = 6.0  # words, of the penalty


@dataclass(frozen=True, slots=True)
class Weighted:
    """A caption's TF-IDF vectors by order, their lengths, and the caption's length.

    The length is the number of its *bigrams*, as coco-caption counts it: words less one, but 0 for
    a caption of one word as for an empty one.
    """

    vectors: tuple[dict[Tokens, float], ...]
    norms: tuple[float, ...]
    bigrams: int


def consensus(
    candidates: Sequence[Tokens],
    references: Sequence[Sequence[Tokens]],
    variant: Variant = "CIDEr-D",
) -> list[float]:
    """The value of each caption against its references; the corpus' value is their mean.

    Args:
        candidates: One caption a clip.
        references: The references of the same clips; document frequencies are counted over them.
        variant: `CIDEr-D` is what coco-caption prints; `CIDEr` is the plain cosine of the paper.
    """
    frequency = Counter(
        gram
        for several in references
        for gram in {gram for one in several for gram in ngrams(one, ORDERS)}
    )
    clips = math.log(len(references)) if references else 0.0
    idf = {gram: clips - math.log(count) for gram, count in frequency.items()}
    found: list[float] = []
    for candidate, several in zip(candidates, references, strict=True):
        own = _weighted(candidate, idf, clips)
        total = sum(_similarity(own, _weighted(one, idf, clips), variant) for one in several)
        found.append(10 * total / ORDERS / len(several))
    return found


def _weighted(caption: Tokens, idf: dict[Tokens, float], unseen: float) -> Weighted:
    vectors: tuple[dict[Tokens, float], ...] = tuple({} for _ in range(ORDERS))
    for gram, count in ngrams(caption, ORDERS).items():
        vectors[len(gram) - 1][gram] = count * idf.get(gram, unseen)
    norms = tuple(math.sqrt(sum(x * x for x in vector.values())) for vector in vectors)
    return Weighted(vectors, norms, max(0, len(caption) - 1))


def _similarity(own: Weighted, other: Weighted, variant: Variant) -> float:
    total = 0.0
    for mine, theirs, *norms in zip(
        own.vectors, other.vectors, own.norms, other.norms, strict=True
    ):
        if not all(norms):
            continue
        if variant == "CIDEr-D":
            dot = sum(min(x, theirs[g]) * theirs[g] for g, x in mine.items() if g in theirs)
        else:
            dot = sum(x * theirs[g] for g, x in mine.items() if g in theirs)
        total += dot / (norms[0] * norms[1])
    if variant == "CIDEr-D":
        total *= math.exp(-((own.bigrams - other.bigrams) ** 2) / (2 * SIGMA**2))
    return total
