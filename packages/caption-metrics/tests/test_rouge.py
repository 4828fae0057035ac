import random

import pytest

from caption_metrics.rouge import lcs_length, rouge_l


def split(*captions):
    return [tuple(caption.split()) for caption in captions]


def test_lins_example():
    # Lin 2004: three of four words in order.
    assert rouge_l(*split("police killed the gunman"), split("police kill the gunman")) == 0.75


def test_precision_and_recall_may_come_from_two_references():
    # Precision 3/3 of the first, recall 2/2 of the second: the value of a perfect caption.
    found = rouge_l(*split("a b c"), split("a b c d e f", "a c"))
    assert found == pytest.approx(1.0)


def test_recall_weighs_more():
    # Precision 1, recall 1/2: (1 + 1.44) * 0.5 / (0.5 + 1.44).
    assert rouge_l(*split("a b"), split("a b c d")) == pytest.approx(2.44 * 0.5 / 1.94)


@pytest.mark.parametrize("candidate", ["", "x y"])
def test_nothing_in_common_scores_nothing(candidate):
    assert rouge_l(tuple(candidate.split()), split("a b")) == 0


def table(left, right):
    """The textbook's table."""
    rows = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            longer = max(rows[i][j + 1], rows[i + 1][j])
            rows[i + 1][j + 1] = rows[i][j] + 1 if one == other else longer
    return rows[-1][-1]


def test_the_common_subsequence_is_the_tables():
    draw = random.Random(0)
    for _ in range(300):
        left, right = (tuple(draw.choices("abcde", k=draw.randrange(12))) for _ in range(2))
        assert lcs_length(left, right) == table(left, right)


def test_ten_thousand_words_against_as_many():
    words = tuple(str(n % 97) for n in range(10_000))
    assert lcs_length(words, words[5_000:] + words[:5_000]) >= 5_000
