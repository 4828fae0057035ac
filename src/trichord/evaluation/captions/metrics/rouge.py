"""ROUGE-L (Lin 2004) as coco-caption computes it, from the best precision and recall of any reference."""

from collections.abc import Sequence

from trichord.evaluation.captions.metrics.tokens import Tokens

BETA = 1.2  # coco-caption's weight of recall


def rouge_l(candidate: Tokens, references: Sequence[Tokens]) -> float:
    """F of the longest common subsequence, in [0, 1]; recall weighs `BETA` times as much.

    The best precision and the best recall may come from two different references.
    """
    common = [common_subsequence(candidate, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(candidate)
    recall = max(n / len(one) for n, one in zip(common, references, strict=True) if one)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def common_subsequence(left: Tokens, right: Tokens) -> int:
    """The number of words of the longest common subsequence.

    Bit-parallel (Hyyrö 2004): a row of the usual table is one integer, so that ten thousand words
    against ten thousand take a fraction of a second.
    """
    places: dict[str, int] = {}
    for index, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << index
    full = (1 << len(left)) - 1
    row = full
    for word in right:
        hit = row & places.get(word, 0)
        row = (row + hit | row - hit) & full
    return len(left) - row.bit_count()
