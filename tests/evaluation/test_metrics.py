import numpy as np
import pytest

from trichord.evaluation.metrics import Measure, macro
from trichord.evaluation.ranks import Ranks, RanksOfSets

# One clip with four captions, three of them hits at 1; another with one caption, a miss.
RANKS = Ranks(better=np.array([0, 0, 0, 6, 11]), tied=np.zeros(5, dtype=int))
CLIP = np.array([0, 0, 0, 0, 1])


def test_micro_counts_captions_and_macro_counts_clips():
    found = Measure().forward(RANKS, CLIP)
    assert found.recall[1].value == pytest.approx(3 / 5)
    assert found.macro[1] == pytest.approx((3 / 4 + 0) / 2)
    assert found.recall[10].value == pytest.approx(4 / 5)
    assert found.macro[10] == pytest.approx(1 / 2)


def test_median_mean_and_reciprocal_rank_of_ranks_1_1_1_7_12():
    found = Measure().forward(RANKS, CLIP)
    assert found.median_rank == 1
    assert found.mean_rank == pytest.approx(22 / 5)
    assert found.mrr == pytest.approx((3 + 1 / 7 + 1 / 12) / 5)


def test_the_tie_rule_reaches_every_number():
    tied = Ranks(better=np.array([0]), tied=np.array([3]))
    clip = np.array([0])
    strict = Measure().forward(tied, clip)
    even = Measure(ties="expected").forward(tied, clip)
    assert (strict.recall[1].value, strict.mean_rank, strict.mrr) == (0, 4, 1 / 4)
    assert (even.recall[1].value, even.mean_rank) == (1 / 4, 2.5)
    assert even.mrr == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_hit_and_recall_of_media_to_text_keep_apart():
    zeros = np.zeros(5, dtype=int)
    places = np.arange(5)
    # Five captions at ranks 1, 2, 8, 9 and 12.
    ranks = RanksOfSets(zeros, places, np.array([0, 0, 5, 5, 7]), zeros, places, zeros)
    found = Measure().reverse(ranks)
    assert (found.queries, found.gallery) == (1, 5)
    assert [found.hit[k].value for k in (1, 5, 10)] == [1, 1, 1]
    assert [found.recall[k].value for k in (1, 5, 10)] == pytest.approx([1 / 5, 2 / 5, 4 / 5])


def test_macro_of_one_query_a_clip_is_the_plain_mean():
    assert macro(np.array([1.0, 0.0, 0.5]), np.array([4, 2, 9])) == pytest.approx(0.5)
