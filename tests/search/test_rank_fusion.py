import pytest

from trichord.search.rank_fusion import DAMPING, fuse_ranks


def test_items_are_ordered_by_the_sum_of_reciprocal_places():
    first, second = ["a", "b", "c"], ["c", "d"]
    sums = {
        "a": 1 / 61, "b": 1 / 62, "c": 1 / 63 + 2 / 61, "d": 2 / 62,
    }  # fmt: skip
    assert DAMPING == 60
    found = fuse_ranks([(first, 1.0), (second, 2.0)])
    assert found == sorted(sums, key=lambda item: -sums[item]) == ["c", "d", "a", "b"]


@pytest.mark.parametrize(("weight", "order"), [(1.0, ["a", "x"]), (1.01, ["x", "a"])])
def test_equal_sums_stay_as_they_came(weight, order):
    assert fuse_ranks([(["a"], 1.0), (["x"], weight)]) == order


def test_an_order_without_weight_changes_nothing():
    assert fuse_ranks([(["a", "b"], 1.0), (["b"], 0.0)]) == ["a", "b"]
