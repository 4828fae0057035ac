import numpy as np
import pytest

from trichord.evaluation.metrics import METRICS, Measure, Metric, chance_of_hit, macro
from trichord.evaluation.ranks import Ranks, RanksOfSets
from trichord.types import UserError

# One clip with four captions, three of them hits at 1; another with one caption, a miss.
RANKS = Ranks(better=np.array([0, 0, 0, 6, 11]), tied=np.zeros(5, dtype=int))
CLIP = np.array([0, 0, 0, 0, 1])


@pytest.mark.parametrize(
    ("per_query", "said"),
    [
        (lambda rank: 1 // 0, "The metric 'odd' fails: ZeroDivisionError"),
        (lambda rank: ["a"] * len(rank), "The metric 'odd' fails: ValueError"),
        (lambda rank: rank[:1], r"gives \(1,\) values of 5 queries"),
        (lambda rank: rank * np.nan, "not finite"),
    ],
)
def test_a_metric_that_fails_is_named(per_query, said):
    measure = Measure(metrics=(Metric(kind="odd", per_query=per_query),))
    with pytest.raises(UserError, match=said):
        measure.forward("a task", 30, RANKS, CLIP)


def test_ndcg_of_ranks_1_1_1_7_12():
    found = Measure(metrics=(METRICS.find("ndcg@10"),)).forward("a task", 30, RANKS, CLIP)
    assert found.estimates["ndcg@10"].value == pytest.approx((3 + 1 / 3) / 5)  # log2(1 + 7) = 3


def test_micro_counts_captions_and_macro_counts_clips():
    found = Measure().forward("a task", 30, RANKS, CLIP)
    assert found.estimates["R@1"].value == pytest.approx(3 / 5)
    assert found.numbers["R@1 per clip"] == pytest.approx((3 / 4 + 0) / 2)
    assert found.estimates["R@10"].value == pytest.approx(4 / 5)
    assert found.numbers["R@10 per clip"] == pytest.approx(1 / 2)


def test_median_mean_and_reciprocal_rank_of_ranks_1_1_1_7_12():
    found = Measure().forward("a task", 30, RANKS, CLIP)
    assert found.numbers["median rank"] == 1
    assert found.numbers["mean rank"] == pytest.approx(22 / 5)
    assert found.numbers["MRR"] == pytest.approx((3 + 1 / 7 + 1 / 12) / 5)


def test_the_tie_rule_reaches_every_number():
    tied = Ranks(better=np.array([0]), tied=np.array([3]))
    clip = np.array([0])
    strict = Measure().forward("a task", 30, tied, clip)
    even = Measure(ties="expected").forward("a task", 30, tied, clip)
    assert (strict.estimates["R@1"].value, strict.numbers["mean rank"], strict.numbers["MRR"]) == (
        0,
        4,
        1 / 4,
    )
    assert (even.estimates["R@1"].value, even.numbers["mean rank"]) == (1 / 4, 2.5)
    assert even.numbers["MRR"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_hit_and_recall_of_media_to_text_keep_apart():
    zeros = np.zeros(5, dtype=int)
    places = np.arange(5)
    # Five captions at ranks 1, 2, 8, 9 and 12.
    ranks = RanksOfSets(zeros, places, np.array([0, 0, 5, 5, 7]), zeros, places, zeros)
    found = Measure().reverse("a task", ranks)
    assert found.sizes == {"queries": 1, "gallery": 5}
    assert [found.estimates[f"hit@{k}"].value for k in (1, 5, 10)] == [1, 1, 1]
    assert [found.estimates[f"recall@{k}"].value for k in (1, 5, 10)] == pytest.approx(
        [1 / 5, 2 / 5, 4 / 5]
    )
    # Five captions are all there is: whatever is ranked first is right.
    assert [found.chance[f"hit@{k}"] for k in (1, 5, 10)] == [1.0, 1.0, 1.0]
    assert [found.chance[f"recall@{k}"] for k in (1, 5, 10)] == pytest.approx([1 / 5, 1.0, 1.0])


def test_macro_of_one_query_a_clip_is_the_plain_mean():
    assert macro(np.array([1.0, 0.0, 0.5]), np.array([4, 2, 9])) == pytest.approx(0.5)


def test_the_chance_of_a_hit_is_that_of_a_random_order():
    right = np.array([1, 3, 0, 2])
    places = np.argsort(np.random.default_rng(0).random((20_000, 12)), axis=1)
    for k in (1, 4, 10, 12, 20):
        hits = [(places[:, :count] < k).any(axis=1).mean() for count in right]
        assert chance_of_hit(k, right, 12) == pytest.approx(np.mean(hits), abs=0.01)
    assert chance_of_hit(1, np.array([3]), 12) == pytest.approx(3 / 12)
    assert chance_of_hit(2, np.array([1, 11]), 12) == pytest.approx((2 / 12 + 1) / 2)
    assert chance_of_hit(10, np.array([1]), 4) == 1.0


def test_media_to_text_knows_the_chance_of_its_own_numbers():
    """Two clips with three captions, one with two, among eight; ranks do not matter."""
    query = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    zeros = np.zeros(8, dtype=int)
    place = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    found = Measure().reverse("a task", RanksOfSets(query, place, zeros, zeros, place, zeros))
    assert found.chance["hit@1"] == pytest.approx((3 / 8 + 3 / 8 + 2 / 8) / 3)
    missed = [5 * 4 * 3 * 2 * 1, 5 * 4 * 3 * 2 * 1, 6 * 5 * 4 * 3 * 2]
    assert found.chance["hit@5"] == pytest.approx(1 - sum(missed) / 3 / (8 * 7 * 6 * 5 * 4))
    assert found.chance["hit@10"] == 1.0
    assert [found.chance[f"recall@{k}"] for k in (1, 5, 10)] == [1 / 8, 5 / 8, 1.0]


@pytest.mark.parametrize("name", ["R@10", "MRR", "median rank"])
def test_a_metric_with_the_name_of_a_usual_one_is_refused(name):
    metric = Metric(kind=name, per_query=lambda rank: rank * 1.0)
    with pytest.raises(UserError, match=f"--metrics {name}: every report has it"):
        Measure(metrics=(metric,))
