from itertools import pairwise

import pytest

from trichord.search.moments import moments


def test_windows_follow_one_another_and_the_last_is_cut_at_the_end():
    assert moments(25.0) == [(0.0, 10.0), (10.0, 20.0), (20.0, 25.0)]


def test_a_tail_under_a_second_joins_the_moment_before_it():
    assert moments(20.9) == [(0.0, 10.0), (10.0, 20.9)]
    assert moments(21.0) == [(0.0, 10.0), (10.0, 20.0), (20.0, 21.0)]


def test_a_file_shorter_than_a_window_is_one_moment():
    assert moments(0.3) == [(0.0, 0.3)]
    assert moments(10.0) == [(0.0, 10.0)]


def test_a_picture_is_one_moment_of_no_length():
    assert moments(0.0) == [(0.0, 0.0)]


def test_a_shorter_hop_makes_moments_overlap_until_one_reaches_the_end():
    assert moments(20.0, 10.0, 4.0) == [(0.0, 10.0), (4.0, 14.0), (8.0, 18.0), (12.0, 20.0)]


def test_moments_cover_the_file_without_gaps():
    found = moments(3601.3, 7.0)
    assert found[0][0] == 0.0
    assert found[-1][1] == 3601.3
    assert all(a[1] == b[0] for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("duration", "seconds", "hop"),
    [(-1.0, 10.0, None), (float("inf"), 10.0, None), (5.0, 0.0, None), (5.0, 10.0, 11.0)],
)
def test_impossible_cuts_are_refused(duration, seconds, hop):
    with pytest.raises(ValueError, match="No moments"):
        moments(duration, seconds, hop)
