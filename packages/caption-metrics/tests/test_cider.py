import math

import pytest

from caption_metrics.cider import cider_scores


def split(*captions):
    return [tuple(caption.split()) for caption in captions]


def test_two_clips_by_hand():
    # Every n-gram stands in one of two clips, so all weigh ln 2, which cancels in a cosine.
    found = cider_scores(split("x y", "z"), [split("x y"), split("z w")])
    # Orders 1 and 2 of 4 agree; then one word of two, at bigram lengths 0 and 1.
    assert found[0] == pytest.approx(10 * 2 / 4)
    assert found[1] == pytest.approx(10 / 4 / math.sqrt(2) * math.exp(-1 / 72))


def test_a_repeated_word_is_clipped_but_not_in_plain_cider():
    hypotheses, references = split("x x", "q"), [split("x y"), split("q")]
    clipped, _ = cider_scores(hypotheses, references)
    plain, _ = cider_scores(hypotheses, references, "CIDEr")
    assert clipped == pytest.approx(10 / 4 * (1 / (2 * math.sqrt(2))))
    assert plain == pytest.approx(10 / 4 * (2 / (2 * math.sqrt(2))))


def test_plain_cider_has_no_penalty_on_length():
    _, found = cider_scores(split("x", "z"), [split("x"), split("z w")], "CIDEr")
    assert found == pytest.approx(10 / 4 / math.sqrt(2))


def test_a_word_of_every_clip_weighs_nothing():
    found, _ = cider_scores(split("the", "the q"), [split("the x"), split("the q")])
    assert found == 0


def test_references_are_averaged():
    one, _ = cider_scores(split("x", "q"), [split("x", "z"), split("q")])
    assert one == pytest.approx(10 / 4 / 2)


def test_one_clip_alone_scores_nothing_by_construction():
    assert cider_scores(split("a dog"), [split("a dog")]) == [0]


def test_the_example_of_aac_metrics_documentation():
    # github.com/Labbeti/aac-metrics, docs/usage.rst.
    hypotheses = split("a man is speaking", "rain falls")
    long = "a man is speaking while a bird is chirping in the background"
    references = [
        split("a man speaks", "someone speaks", long),
        split("rain is falling hard on a surface"),
    ]
    assert cider_scores(hypotheses, references) == pytest.approx([1.3641, 0.5587], abs=5e-5)


def test_an_empty_hypothesis_scores_nothing():
    assert cider_scores(split("", "q"), [split("x"), split("q")])[0] == 0
