from itertools import pairwise

import pytest

from trichord.search.moments import moments, moments_of_shots


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


def test_each_shot_is_a_moment_and_a_long_one_is_cut_into_windows():
    assert moments_of_shots(30.0, [4.0, 9.5]) == [
        (0.0, 4.0), (4.0, 9.5), (9.5, 19.5), (19.5, 29.5 + 0.5),
    ]  # fmt: skip
    assert moments_of_shots(24.0, [3.0], 10.0, 5.0) == [
        (0.0, 3.0), (3.0, 13.0), (8.0, 18.0), (13.0, 23.0), (18.0, 24.0),
    ]  # fmt: skip


def test_short_shots_are_joined_to_the_next_and_the_last_to_the_one_before():
    assert moments_of_shots(9.0, [0.5, 1.0, 2.5, 4.0, 8.5]) == [(0.0, 2.5), (2.5, 9.0)]
    assert moments_of_shots(3.0, [1.5]) == [(0.0, 3.0)]


def test_shots_cover_the_file_and_no_window_reaches_over_a_cut():
    shots = [2.3, 7.7, 31.9, 34.0, 60.1]
    found = moments_of_shots(71.3, shots, 8.0, 4.0)
    assert (found[0][0], found[-1][1]) == (0.0, 71.3)
    assert all(after[0] <= before[1] for before, after in pairwise(found))
    assert all(end - start <= 9.0 for start, end in found)
    assert not any(start < cut < end for start, end in found for cut in shots)


def test_without_cuts_a_file_has_its_windows():
    assert moments_of_shots(33.3, [], 7.0, 3.0) == moments(33.3, 7.0, 3.0)
    assert moments_of_shots(0.0, []) == [(0.0, 0.0)]
