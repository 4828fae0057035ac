import math

import numpy as np
import pytest

from caption_metrics.bleu import scores, statistics


def split(*captions):
    return [tuple(caption.split()) for caption in captions]


def bleu(hypothesis, *references):
    return scores(statistics(*split(hypothesis), split(*references))[None])[0]


def test_a_word_hits_as_often_as_one_reference_has_it():
    # Papineni et al. 2002, table 1: two of seven.
    found = bleu(
        "the the the the the the the", "the cat is on the mat", "there is a cat on the mat"
    )
    assert found[0] == pytest.approx(2 / 7, abs=1e-8)


def test_the_closest_reference_length_counts_and_the_shorter_of_two():
    row = statistics(*split("a b c d"), split("a b c d e", "a b c", "a b c d e f g"))
    assert row[:2].tolist() == [4, 3]
    assert row[2:6].tolist() == [4, 3, 2, 1]
    assert row[6:].tolist() == [4, 3, 2, 1]


def test_a_short_hypothesis_pays_the_brevity_penalty():
    found = bleu("a dog", "a dog barks loudly")
    assert found[:2] == pytest.approx([math.exp(-1)] * 2, abs=1e-8)


def test_nlg_evals_published_example():
    found = bleu("this is a good test", "this is a test", "this is also a test")
    assert found == pytest.approx([0.799999, 0.632455, 0.5108729, 0.0000903602], abs=1e-6)


def test_a_corpus_is_the_value_of_sums():
    rows = np.stack(
        [statistics(*split("a b"), split("a b")), statistics(*split("x y z w"), split("x q z p"))]
    )
    found = scores(rows.sum(0, keepdims=True))[0]
    assert found[:2] == pytest.approx([4 / 6, math.sqrt(4 / 6 * 1 / 4)], abs=1e-8)


def test_an_empty_hypothesis_scores_nothing():
    assert bleu("", "a dog").tolist() == [0, 0, 0, 0]


def test_a_caption_of_one_word_has_no_bigrams_to_miss():
    # coco-caption: 1e-15 hits of 1e-9, so not quite 0.
    assert bleu("dog", "dog")[:2] == pytest.approx([1, math.sqrt(1e-6)], rel=1e-6)
