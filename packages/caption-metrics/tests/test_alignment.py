import random

import pytest

from caption_metrics.alignment import Match, align


def exact(hypothesis, reference):
    """Every pair of equal words, as METEOR's first matcher lists them."""
    return [
        Match(0, at, 1, start, 1)
        for at, word in enumerate(reference)
        for start, own in enumerate(hypothesis)
        if word == own
    ]


def pairs(path):
    return sorted((match.hypothesis_start, match.start) for match in path.matches())


@pytest.mark.parametrize(
    ("hypothesis", "reference", "matched", "chunks"),
    [
        ("abc", "abc", [(0, 0), (1, 1), (2, 2)], 1),
        ("cab", "abc", [(0, 2), (1, 0), (2, 1)], 2),
        ("axc", "abc", [(0, 0), (2, 2)], 2),
        ("xyz", "abc", [], 0),
        # The second "a" is taken: one chunk less than with the nearer first one.
        ("aab", "ab", [(1, 0), (2, 1)], 1),
    ],
)
def test_alignments_by_hand(hypothesis, reference, matched, chunks):
    path = align(exact(hypothesis, reference), len(reference))
    assert (pairs(path), path.chunks) == (matched, chunks)


def test_more_words_go_before_fewer_chunks():
    # A paraphrase of two words covers one word a side; two exact links cover four, in two chunks.
    matches = [Match(0, 0, 1, 3, 1), Match(0, 1, 1, 0, 1), Match(3, 0, 2, 1, 2)]
    path = align(matches, 2)
    assert pairs(path) == [(0, 1), (3, 0)]


def test_a_phrase_goes_before_a_stem_which_counts_nothing():
    path = align([Match(1, 0, 1, 0, 1), Match(3, 0, 2, 0, 2)], 2)
    assert [match.matcher for match in path.matches()] == [3]


def test_no_word_is_used_twice_and_none_is_left_that_could_be_used():
    draw = random.Random(0)
    for _ in range(100):
        hypothesis, reference = ("".join(draw.choices("abcd", k=draw.randint(1, 9))) for _ in "xy")
        path = align(exact(hypothesis, reference), len(reference))
        found = pairs(path)
        assert len({one for one, _ in found}) == len({other for _, other in found}) == len(found)
        most = sum(min(hypothesis.count(word), reference.count(word)) for word in "abcd")
        assert len(found) == most


def test_leaving_out_branches_that_cannot_survive_changes_nothing(monkeypatch):
    from caption_metrics import alignment

    draw = random.Random(1)
    sides = [["".join(draw.choices("ab", k=14)) for _ in "xy"] for _ in range(10)]
    monkeypatch.setattr(alignment, "BEAM_SIZE", 3)
    narrow = [align(exact(*side), 14) for side in sides]
    for side, path in zip(sides, narrow, strict=True):
        assert path[:3] == widely(exact(*side), 14, beam=3)


def widely(matches, length, beam):
    """The search as METEOR's authors run it, every branch kept until the beam is sorted."""
    paths = [(0, 0, 0, -1, frozenset())]  # cost, chunks, distance, end, words in use
    for at in range(length):
        further = []
        for cost, chunks, distance, end, used in sorted(paths, key=lambda p: p[:3])[:beam]:
            charged = distance
            for match in matches:
                if match.start == at and match.hypothesis_start not in used:
                    broken = end not in (-1, match.hypothesis_start)
                    taken = used | {match.hypothesis_start}
                    further.append(
                        (cost - 2, chunks + broken, charged, match.hypothesis_start + 1, taken)
                    )
                    charged += abs(match.start - match.hypothesis_start)
            further.append((cost, chunks + (end != -1), charged, -1, used))
        paths = further
    best = sorted(paths, key=lambda p: p[:3])[:beam]
    return min((p[0], p[1] + (p[3] != -1), p[2]) for p in best)
