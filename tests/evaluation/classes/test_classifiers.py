import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from trichord.evaluation.classes.classifiers import (
    METHODS,
    AsPaper,
    Exam,
    Lesson,
    Logistic,
)
from trichord.types import UserError


def lesson(clips=80, dim=6, classes=4, noise=1.5, seed=0):
    """Classes as clouds around corners; four groups."""
    random = np.random.default_rng(seed)
    truth = np.arange(clips) % classes
    corners = 2 * np.eye(classes, dim)
    values = (corners[truth] + noise * random.normal(size=(clips, dim))).astype(np.float32)
    return Lesson(
        values=values, classes=truth, groups=np.arange(clips) // classes % 4, count=classes
    )


def exam(**given):
    asked = lesson(seed=1, **given)
    return Exam(values=asked.values, truth=asked.classes)


def accuracy(taught, asked):
    return (taught.scores.argmax(axis=1) == asked.truth).mean()


@pytest.mark.parametrize("classes", [2, 4])
def test_the_penalty_is_the_one_that_scikit_learns_own_search_chooses(classes):
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    known, asked, method = lesson(classes=classes), exam(classes=classes), Logistic()
    search = GridSearchCV(
        Pipeline([("scale", StandardScaler()), ("fit", LogisticRegression(max_iter=2000))]),
        {"fit__C": method.strengths},
        cv=LeaveOneGroupOut(),
    )
    search.fit(known.values.astype(float), known.classes, groups=known.groups)
    found = method.teach(known, asked, seed=0)
    assert found.chosen == f"C {search.best_params_['fit__C']:g}"
    expected = search.predict_log_proba(asked.values.astype(float))
    shares = torch.from_numpy(found.scores).log_softmax(dim=1)
    np.testing.assert_allclose(shares, expected, atol=1e-9)


def test_logistic_regression_never_looks_at_the_truth_of_the_exam():
    pytest.importorskip("sklearn")
    known, asked = lesson(), exam()
    turned = replace(asked, truth=asked.truth[::-1].copy())
    first, second = (Logistic().teach(known, one, seed=0) for one in (asked, turned))
    np.testing.assert_array_equal(first.scores, second.scores)
    assert first.chosen == second.chosen


def test_with_one_group_there_is_nothing_to_choose_by():
    pytest.importorskip("sklearn")
    alone = replace(lesson(), groups=np.zeros(80, np.int64))
    assert Logistic().teach(alone, exam(), seed=0).chosen == "C 1"


def test_a_class_that_was_not_taught_is_never_the_answer():
    pytest.importorskip("sklearn")
    known = lesson(classes=3)
    wide = replace(known, count=5)
    for method in METHODS.values():
        scores = method.teach(wide, exam(classes=3), seed=0).scores
        assert scores.shape == (80, 5)
        assert np.isneginf(scores[:, 3:]).all()
        assert np.isfinite(scores[:, :3]).all()


def test_two_classes_have_two_scores():
    pytest.importorskip("sklearn")
    known, asked = lesson(classes=2), exam(classes=2)
    for method in METHODS.values():
        found = method.teach(known, asked, seed=0)
        assert found.scores.shape == (80, 2)
        assert accuracy(found, asked) > 0.7


def test_clips_far_from_all_that_was_taught_have_scores_that_do_not_tie():
    pytest.importorskip("sklearn")
    asked = exam()
    far = replace(asked, values=1e5 * asked.values)
    scores = Logistic().teach(lesson(), far, seed=0).scores
    assert np.isfinite(scores).all()
    assert all(len(set(line)) == 4 for line in scores.tolist())


def test_one_class_teaches_nothing():
    alone = replace(lesson(), classes=np.zeros(80, np.int64))
    for method in METHODS.values():
        with pytest.raises(ValueError, match="two classes"):
            method.teach(alone, exam(), seed=0)


def test_without_scikit_learn_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(UserError, match=r"'trichord\[metrics\]'`, or choose --method as_paper"):
        Logistic().teach(lesson(), exam(), seed=0)


def test_the_rate_rises_for_a_tenth_and_falls_by_a_cosine_that_begins_below_one():
    rate = AsPaper()._share
    assert [rate(0.0), rate(0.05)] == [0.0, 0.5]
    assert rate(0.1) == pytest.approx(0.5 * (1 + math.cos(0.1 * math.pi)))
    assert rate(1.0) == pytest.approx(0.0)


def test_the_published_classifier_learns_and_is_the_same_for_a_seed():
    known, asked = lesson(clips=2000, noise=0.5), exam(clips=2000, noise=0.5)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    found = AsPaper().teach(known, asked, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert accuracy(found, asked) > 0.95
    again, other = (AsPaper().teach(known, asked, seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(again.scores, found.scores)
    assert not np.array_equal(other.scores, found.scores)


def test_the_best_epoch_is_chosen_by_the_test_clips_and_says_so():
    known, asked = lesson(noise=3.0), exam(noise=3.0)
    best, last = (
        METHODS[name].teach(known, asked, seed=0) for name in ("as_paper", "as_paper_last")
    )
    assert last.chosen == "epoch 10"
    assert accuracy(best, asked) >= accuracy(last, asked)
    epochs = AsPaper()._epochs(known, asked.values, 0)
    right = [(scores.argmax(axis=1) == asked.truth).sum() for scores in epochs]
    assert best.chosen == f"epoch {np.argmax(right) + 1}"
    assert "SELECTION ON TEST" in METHODS["as_paper"].words()
    assert "SELECTION" not in METHODS["as_paper_last"].words()
