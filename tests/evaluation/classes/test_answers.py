import numpy as np
import pytest

from trichord.evaluation.classes.answers import NONE, answer, class_row

CLASSES = ("ant", "bee", "cat")
NAN = np.nan


def test_the_best_score_is_the_answer():
    scores = np.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    found = answer(scores, np.array([0, 1, 2]))
    assert found.given.tolist() == [0, 0, 0]
    assert found.rank.tolist() == [1, 3, 2]
    assert found.readable.all()


def test_a_tie_counts_against_us_and_names_a_wrong_class():
    found = answer(np.zeros((3, 3)), np.array([0, 1, 2]))
    assert found.rank.tolist() == [3, 3, 3]
    assert found.given.tolist() == [1, 0, 0]
    near = answer(np.array([[0.5, 0.5 + 1e-9]]), np.array([1]))
    assert (near.given.tolist(), near.rank.tolist()) == ([0], [2])


def test_a_clip_without_scores_has_no_answer_and_a_class_without_score_the_last_rank():
    scores = np.array([[NAN, NAN, NAN], [-np.inf, 0.3, 0.2]])
    found = answer(scores, np.array([0, 0]))
    assert found.given.tolist() == [NONE, 1]
    assert found.rank.tolist() == [4, 3]
    assert found.readable.tolist() == [False, True]


def test_everything_that_answers_come_to_by_hand():
    truth = np.array([0, 0, 0, 1, 1, 2])
    scores = np.array(
        [
            [2.0, 1.0, 0.0],  # right
            [2.0, 1.0, 0.0],  # right
            [NAN, NAN, NAN],  # not read
            [2.0, 1.0, 0.0],  # taken for an ant
            [1.0, 2.0, 0.0],  # right
            [0.0, 2.0, 1.0],  # taken for a bee
        ]
    )
    found = class_row(answer(scores, truth), truth, CLASSES)
    assert found.estimates["accuracy"].value == pytest.approx(3 / 6)
    assert found.estimates["of those read"].value == pytest.approx(3 / 5)
    assert found.estimates["accuracy"].low < 0.5 < found.estimates["accuracy"].high
    assert found.confusion == ((2, 0, 0, 1), (1, 1, 0, 0), (0, 1, 0, 0))
    assert {name: (one.clips, one.recall) for name, one in found.recall.items()} == {
        "ant": (3, pytest.approx(2 / 3)),
        "bee": (2, 0.5),
        "cat": (1, 0.0),
    }
    assert found.numbers["mean over classes"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert "top-5" not in found.estimates


def test_top_5_counts_ranks_where_there_are_more_classes():
    scores = np.tile(np.arange(6, 0, -1.0), (6, 1))
    truth = np.arange(6)
    found = class_row(answer(scores, truth), truth, tuple("abcdef"))
    assert found.estimates["accuracy"].value == pytest.approx(1 / 6)
    assert found.estimates["top-5"].value == pytest.approx(5 / 6)


def test_a_class_without_clips_is_left_out_of_the_mean_over_classes():
    truth = np.array([0, 0])
    found = class_row(answer(np.array([[1.0, 0, 0], [1, 0, 0]]), truth), truth, CLASSES)
    assert found.numbers["mean over classes"] == 1.0
    assert set(found.recall) == {"ant"}


def test_nothing_readable_has_no_accuracy_of_those_read():
    truth = np.array([0, 1])
    found = class_row(answer(np.full((2, 3), NAN), truth), truth, CLASSES)
    assert "of those read" not in found.estimates
    assert found.estimates["accuracy"].value == 0.0


def test_a_readable_clip_that_nobody_answers_for_is_wrong_among_those_read():
    truth = np.array([0, 1])
    scores = np.array([[1.0, 0, 0], [NAN, NAN, NAN]])
    found = answer(scores, truth, np.array([True, True]))
    assert class_row(found, truth, CLASSES).estimates["of those read"].value == 0.5
