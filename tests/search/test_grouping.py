import numpy as np

from trichord.search.hits import group_by_file, leading
from trichord.types import Hit, Moment


def hit(file, start, score):
    moment = Moment(file=file, start=start, end=start + 1.0)
    return Hit(moment=moment, score=score, visual=score, audio=None)


HITS = [
    hit("b", 0.0, 9.0), hit("a", 3.0, 8.0), hit("b", 5.0, 7.0), hit("c", 0.0, 6.0),
    hit("b", 2.0, 5.0), hit("a", 1.0, 4.0),
]  # fmt: skip


def test_files_come_in_the_order_of_their_best_moment():
    groups = group_by_file(HITS, k=2, each=2)
    assert [(one.file, [h.moment.start for h in one.hits]) for one in groups] == [
        ("b", [0.0, 5.0]), ("a", [3.0, 1.0]),
    ]  # fmt: skip


def test_the_leading_moments_are_those_of_the_groups():
    files = np.array([1, 0, 1, 2, 1, 0])
    for k in (1, 2, 3, 4):
        for each in (1, 2, 3):
            kept = [HITS[i] for i in leading(files, k, each)]
            assert group_by_file(kept, k, each) == group_by_file(HITS, k, each)
            assert len(kept) == sum(len(one.hits) for one in group_by_file(HITS, k, each))


def test_nothing_makes_no_groups():
    assert group_by_file([], 3) == []
    assert len(leading(np.zeros(0, np.int64), 3)) == 0
