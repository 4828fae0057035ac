"""ROUGE-L (Lin 2004) as coco-caption computes it, from the best precision and recall of any reference."""

from collections.abc import Sequence

from caption_metrics.tokens import Tokens

BETA = 1.2  # coco-caption's weight of recall


def rouge_l(hypothesis: Tokens, references: Sequence[Tokens]) -> float:
    """F of the longest common subsequence, in [0, 1]; recall weighs `BETA` times as much.

    The best precision and the best recall may come from two different references.
    """
    common = [lcs_length(hypothesis, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(hypothesis)
    recall = max(n / len(one) for n, one in zip(common, references, strict=True) if one)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def lcs_length(left: Tokens, right: Tokens) -> int:
    """The length of the longest common subsequence, in words.

    Bit-parallel (Hyyrö 2004): a row of the usual table is one integer, so that ten thousand words
    against ten thousand take a fraction of a second.
    """
    positions: dict[str, int] = {}
    for index, word in enumerate(left):
        positions[word] = positions.get(word, 0) | 1 << index
    full = (1 << len(left)) - 1
    row = full
    for word in right:
        matches = row & positions.get(word, 0)
        row = (row + matches | row - matches) & full
    return len(left) - row.bit_count()
