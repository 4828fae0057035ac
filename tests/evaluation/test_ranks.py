import numpy as np
import pytest

from trichord.evaluation.ranks import TOLERANCE, Ranks, RanksOfSets, rank_answers, rank_both
from trichord.evaluation.scores import Products, ScoreMatrix, unit

# Five directions in the plane; cosine to (1, 0) falls from the first to the last.
FAN = np.array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]])
RIGHT = np.array([[1.0, 0.0]])


def ranks_of_answers(queries, gallery, answers, **how):
    return rank_answers(Products.cosines(queries, gallery), answers, **how)


def ranks_of_sets(queries, gallery, owner, **how):
    """Of each query all items that it owns, as those items rank the queries."""
    return rank_both(Products.cosines(gallery, queries), owner, **how)[1]


def sorted_places(queries, gallery, ours):
    """Pessimistic place of item `ours[i]` for query i by sorting: ours comes after its equals."""
    scores = np.round(unit(queries, "q") @ unit(gallery, "g").T, 9)
    places = []
    for row, mine in zip(scores, ours, strict=True):
        order = sorted(range(len(row)), key=lambda item: (-row[item], item == mine))
        places.append(order.index(mine) + 1)
    return places


def lattice(rng, rows):
    """Vectors of small whole numbers in few dimensions, so that many cosines are tied."""
    vectors = rng.integers(-1, 2, size=(rows, 4)).astype(np.float32)
    vectors[(vectors == 0).all(axis=1)] = 1
    return vectors


def test_a_hand_worked_gallery_has_hand_worked_ranks():
    queries = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    ranks = ranks_of_answers(queries, FAN, np.array([0, 3, 1]))
    assert ranks.better.tolist() == [0, 3, 2]  # (0, 2) is nearest to rows 3, 2, then 1
    assert ranks.tied.tolist() == [0, 0, 0]
    assert ranks.rank().tolist() == [1, 4, 3]
    assert ranks.hit(3).tolist() == [1, 0, 1]
    assert ranks.reciprocal().tolist() == [1, 1 / 4, 1 / 3]


def test_length_of_a_vector_has_no_say():
    loud = FAN * np.array([[0.1], [50.0], [3.0], [7.0], [1.0]])
    assert ranks_of_answers(RIGHT, loud, np.array([1])).rank().tolist() == [2]


def test_ties_count_against_us_unless_told_otherwise():
    gallery = np.array([[2.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    ranks = ranks_of_answers(RIGHT, gallery, np.array([2]))
    assert (ranks.better.tolist(), ranks.tied.tolist()) == ([1], [2])
    assert ranks.rank().tolist() == [4]
    assert ranks.rank("optimistic").tolist() == [2]
    assert ranks.rank("expected").tolist() == [3]
    assert [ranks.hit(k).item() for k in (1, 2, 3, 4)] == [0, 0, 0, 1]
    assert [ranks.hit(k, "optimistic").item() for k in (1, 2)] == [0, 1]
    assert [ranks.hit(k, "expected").item() for k in (1, 2, 3, 4, 5)] == pytest.approx(
        [0, 1 / 3, 2 / 3, 1, 1]
    )
    assert ranks.reciprocal("expected").item() == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)


@pytest.mark.parametrize("chunk", [3, 16, 17, 64, 100, 1024])
@pytest.mark.parametrize("dim", [3, 64, 513])
def test_collapsed_embeddings_never_hit(chunk, dim):
    same = np.tile(np.random.default_rng(dim).normal(size=dim).astype(np.float32), (100, 1))
    ranks = ranks_of_answers(same, same, np.arange(100), chunk=chunk)
    assert ranks.tied.tolist() == [99] * 100
    assert ranks.hit(1).sum() == 0
    assert ranks.hit(10, "expected") == pytest.approx(0.1)  # chance
    sets = ranks_of_sets(same[:50], same, np.arange(100) // 2, chunk=chunk)
    assert sets.hit(1).sum() == 0
    assert sets.recall(10).sum() == 0


@pytest.mark.parametrize("chunk", [1, 5, 13, 64, 1000])
def test_copies_of_the_answer_tie_whatever_the_chunk(chunk):
    rng = np.random.default_rng(1)
    base = rng.normal(size=(20, 512)).astype(np.float32)
    gallery = np.concatenate([base] * 5)
    ranks = ranks_of_answers(
        base + rng.normal(size=base.shape), gallery, np.arange(20), chunk=chunk
    )
    assert ranks.tied.tolist() == [4] * 20


def test_scores_closer_than_the_tolerance_are_tied():
    def lean(angle):
        return [np.cos(angle), np.sin(angle)]

    here = np.pi / 4
    close, apart = here - 0.5 * TOLERANCE, here - 4 * TOLERANCE
    ranks = ranks_of_answers(RIGHT, np.array([lean(here), lean(close), lean(apart)]), np.array([0]))
    assert (ranks.better.item(), ranks.tied.item()) == (1, 1)


@pytest.mark.parametrize("seed", range(3))
def test_answers_stand_where_a_full_sort_with_ties_puts_them(seed):
    rng = np.random.default_rng(seed)
    queries, gallery = lattice(rng, 300), lattice(rng, 250)
    answers = rng.integers(250, size=300)
    ranks = ranks_of_answers(queries, gallery, answers, chunk=64)
    assert ranks.tied.sum() > 1000
    assert ranks.rank().tolist() == sorted_places(queries, gallery, answers)


@pytest.mark.parametrize("seed", range(3))
def test_sets_stand_where_a_full_sort_with_ties_puts_them(seed):
    rng = np.random.default_rng(seed)
    queries, gallery = lattice(rng, 60), lattice(rng, 240)
    owner = rng.permutation(np.concatenate([np.arange(60), rng.integers(60, size=180)]))
    ranks = ranks_of_sets(queries, gallery, owner, chunk=50)
    scores = np.round(unit(queries, "q") @ unit(gallery, "g").T, 9)
    for query, row in enumerate(scores):
        order = sorted(range(240), key=lambda item: (-row[item], owner[item] == query))
        places = [place for place, item in enumerate(order, 1) if owner[item] == query]
        assert ranks.rank()[ranks.query == query].tolist() == places
        assert ranks.hit(10)[query] == (places[0] <= 10)
        assert ranks.recall(10)[query] == pytest.approx(np.mean(np.array(places) <= 10))


@pytest.mark.parametrize("chunk", [7, 100, 128, 4096])
def test_the_chunk_changes_no_rank(chunk):
    rng = np.random.default_rng(3)
    clips = rng.normal(size=(120, 96)).astype(np.float32)
    owner = rng.permutation(np.repeat(np.arange(120), 3))
    texts = clips[owner] + rng.normal(size=(360, 96)).astype(np.float32)
    whole, parts = (ranks_of_answers(texts, clips, owner, chunk=c) for c in (1024, chunk))
    assert np.array_equal(whole.better, parts.better)
    assert np.array_equal(whole.tied, parts.tied)
    whole, parts = (ranks_of_sets(clips, texts, owner, chunk=c) for c in (1024, chunk))
    for name in RanksOfSets.__slots__:
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


def test_hit_and_recall_of_five_captions_are_two_numbers():
    # Seen from (1, 0): captions 0, 2, 4, 6 and 8 of ten lie ever further off and are ours.
    angle = np.linspace(0, 3, 10)
    gallery = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    queries = np.array([[1.0, 0.0], [-1.0, 0.0]])
    ranks = ranks_of_sets(queries, gallery, np.arange(10) % 2)
    assert ranks.rank()[ranks.query == 0].tolist() == [1, 3, 5, 7, 9]
    assert ranks.hit(1).tolist() == [1, 1]
    assert ranks.recall(1).tolist() == [1 / 5, 1 / 5]
    assert ranks.recall(5).tolist() == [3 / 5, 3 / 5]
    assert ranks.recall(10).tolist() == [1, 1]


def test_right_answers_do_not_stand_in_each_others_way():
    gallery = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    ranks = ranks_of_sets(np.array([[1.0, 0.0], [0.0, 1.0]]), gallery, np.array([0, 0, 0, 1]))
    assert ranks.rank().tolist() == [1, 2, 3, 1]
    assert ranks.recall(3).tolist() == [1, 1]


def test_expected_ties_of_a_set_are_the_mean_over_all_orders():
    # Two right and three wrong captions all alike: any of 10 placings of ours is as likely.
    gallery = np.ones((5, 2))
    queries = np.array([[1.0, 0.0], [0.0, 1.0]])
    ranks = ranks_of_sets(queries, gallery, np.array([0, 0, 1, 1, 1]))
    assert ranks.rank("expected").tolist() == [3] * 5
    assert ranks.hit(1, "expected") == pytest.approx([2 / 5, 3 / 5])
    assert ranks.hit(2, "expected") == pytest.approx([1 - 3 / 10, 1 - 1 / 10])
    assert ranks.hit(4, "expected") == pytest.approx([1, 1])
    assert ranks.recall(2, "expected") == pytest.approx([2 / 5, 2 / 5])
    assert ranks.hit(1, "optimistic").tolist() == [1, 1]


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "not finite"), (np.inf, "not finite"), (0.0, "length zero")]
)
def test_vectors_without_direction_are_refused_by_row(value, words):
    broken = np.ones((4, 2))
    broken[2] = value
    answers = np.zeros(4, dtype=int)
    with pytest.raises(ValueError, match=f"Query vectors .*{words}: rows 2"):
        ranks_of_answers(broken, np.ones((4, 2)), answers)
    with pytest.raises(ValueError, match=f"Gallery vectors .*{words}: rows 2"):
        ranks_of_answers(np.ones((4, 2)), broken, answers)


def test_many_broken_rows_are_counted_not_listed():
    with pytest.raises(ValueError, match="rows 0, 1, 2, 3, 4 and 15 more"):
        unit(np.zeros((20, 3)), "audio")


def test_answers_outside_the_gallery_are_refused():
    with pytest.raises(ValueError, match=r"outside 0\.\.4 at rows 1"):
        ranks_of_answers(np.ones((2, 2)), FAN, np.array([0, 5]))


def test_no_query_gives_no_ranks():
    none = np.zeros(0, dtype=int)
    assert Ranks(none, none).reciprocal("expected").tolist() == []
    assert ranks_of_answers(np.ones((0, 2)), FAN, none).rank().tolist() == []


@pytest.mark.parametrize("seed", range(3))
def test_held_scores_are_ranked_as_a_full_sort_ranks_them(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 40, size=(90, 70)).astype(np.float32) - 20
    answers = rng.permutation(np.concatenate([np.arange(70), rng.integers(70, size=20)]))
    ranks = rank_answers(ScoreMatrix(values), answers, chunk=32)
    assert ranks.tied.sum() > 50
    for row, mine, rank in zip(values, answers, ranks.rank(), strict=True):
        order = sorted(range(70), key=lambda item: (-row[item], item == mine))
        assert rank == order.index(mine) + 1
    back = rank_both(ScoreMatrix(values), answers, chunk=32)[1]
    for clip, column in enumerate(values.T):
        order = sorted(range(90), key=lambda item: (-column[item], answers[item] == clip))
        places = [place for place, item in enumerate(order, 1) if answers[item] == clip]
        assert back.rank()[back.query == clip].tolist() == places


@pytest.mark.parametrize("chunk", [3, 16, 1000])
def test_products_and_the_same_scores_held_have_the_same_ranks(chunk):
    rng = np.random.default_rng(5)
    queries, gallery = rng.normal(size=(40, 8)), rng.normal(size=(30, 8))
    answers = rng.integers(30, size=40)
    made, held = Products(queries, gallery), ScoreMatrix(queries @ gallery.T)
    one, other = (rank_answers(scores, answers, chunk=chunk) for scores in (made, held))
    assert np.array_equal(one.rank(), other.rank())
    one, other = (rank_both(scores, answers, chunk=chunk)[1] for scores in (made, held))
    assert np.array_equal(one.rank(), other.rank())
    assert np.array_equal(one.query, other.query)


def test_products_heed_length_where_cosines_do_not():
    gallery = FAN * np.array([[0.1], [50.0], [3.0], [7.0], [1.0]])
    assert rank_answers(Products(RIGHT, gallery), np.array([0])).rank().tolist() == [3]
    assert ranks_of_answers(RIGHT, gallery, np.array([0])).rank().tolist() == [1]


def test_vectors_of_length_zero_score_nothing_among_products():
    scores = Products(RIGHT, np.array([[0.0, 0.0], [0.5, 0.0], [-1.0, 0.0]]))
    assert rank_answers(scores, np.array([0])).rank().tolist() == [2]


def test_reading_scores_changes_none():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    ranks = [rank_answers(ScoreMatrix(values), np.array([0, 2])) for _ in range(2)]
    assert ranks[0].rank().tolist() == ranks[1].rank().tolist() == [3, 1]
    assert values.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_number_are_refused_by_row(value):
    values = np.ones((4, 3), dtype=np.float32)
    values[2, 1] = value
    with pytest.raises(ValueError, match="Scores that are not finite: rows 2"):
        ScoreMatrix(values)


@pytest.mark.parametrize("chunk", [3, 100])
def test_ranks_both_ways_at_once_are_those_of_each_way(chunk):
    rng = np.random.default_rng(5)
    scores = Products.cosines(rng.normal(size=(60, 8)), rng.normal(size=(20, 8)))
    answers = rng.integers(0, 15, 60)  # several texts a clip, and clips without any
    forward, reverse = rank_both(scores, answers, chunk=chunk)
    alone = rank_answers(scores, answers)
    assert forward.rank().tolist() == alone.rank().tolist()
    # Each way on its own: every clip with its texts, by a full sort.
    for query, clip in enumerate(np.unique(answers)):
        column = scores.queries @ scores.gallery[clip]
        order = sorted(range(60), key=lambda text: (-column[text], answers[text] == clip))
        places = [place for place, text in enumerate(order, 1) if answers[text] == clip]
        assert reverse.rank()[reverse.query == query].tolist() == places


def test_ranks_both_ways_refuse_an_answer_that_is_no_item():
    with pytest.raises(ValueError, match=r"answers points outside 0\.\.1 at rows 1"):
        rank_both(Products.cosines(np.eye(2), np.eye(2)), np.array([0, 2]))
