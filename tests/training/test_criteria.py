"""What chooses the best epoch."""

from dataclasses import replace

import numpy as np
import pytest

from trichord.checkpoint import Run
from trichord.config import AdamW
from trichord.evaluation.ranks import Ranks
from trichord.evaluation.retrieval import Ranked, ranked, recalls_at
from trichord.evaluation.vectors import embed_source
from trichord.features.source import FeatureSource
from trichord.training.criteria import (
    all_equal,
    criterion_of,
    log_entry,
    measure_criterion,
    selected_epoch,
)
from trichord.training.fit import fit


def task(*places, candidates, tied=0):
    """A task whose queries find their own at these places, each beside so many that score the same."""
    better = np.array(places) - 1
    return Ranked(Ranks(better, np.full(len(better), tied)), candidates)


def test_from_fifty_candidates_on_it_is_the_mean_recall_of_the_tasks():
    found = criterion_of(
        {"a": task(1, 11, candidates=50), "b": task(1, 2, 3, 10, candidates=400)},
    )
    assert found.measure == "R@10"
    assert found.parts == {"a": 0.5, "b": 1.0}
    assert found.value == 0.75  # tasks count alike, however many queries they have
    assert found.queries == {"a": 2, "b": 4}
    assert found.candidates == {"a": 50, "b": 400}


def test_below_it_is_the_mean_reciprocal_rank_over_all_queries():
    found = criterion_of({"a": task(1, 2, 4, candidates=14), "b": task(5, candidates=11)})
    assert found.measure == "MRR"
    assert found.parts == pytest.approx({"a": 1.75 / 3, "b": 0.2})
    assert found.value == pytest.approx((1.75 + 0.2) / 4)


def test_one_task_with_few_candidates_decides_for_all():
    found = criterion_of({"a": task(2, candidates=49), "b": task(4, candidates=400)})
    assert found.measure == "MRR"
    assert found.value == pytest.approx((0.5 + 0.25) / 2)


def test_a_model_that_scores_all_equal_has_the_worst_mean_reciprocal_rank():
    assert criterion_of({"a": task(1, 1, candidates=10, tied=9)}).value == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("criteria", "kept"),
    [
        ([0.2, 0.5, 0.4], 1),
        ([0.2, 0.5, 0.5], 1),
        ([0.5, 0.4, 0.5], 0),
        ([1.0, 1.0, 1.0], 2),
        ([None, None, None], 2),
        ([0.3], 0),
    ],
)
def test_the_first_of_the_best_epochs_is_kept_and_the_last_where_all_are_alike(criteria, kept):
    assert selected_epoch(criteria) == kept
    assert all_equal(criteria) == (len(criteria) > 1 and len(set(criteria)) == 1)


def test_what_the_log_keeps_names_the_measure():
    assert log_entry(criterion_of({"a": task(2, candidates=12)})) == {
        "criterion": 0.5,
        "measure": "MRR",
        "validation": {"a": 0.5},
        "queries": {"a": 1},
        "candidates": {"a": 12},
    }
    assert log_entry(None)["measure"] is None


# With models, and in whole trainings


@pytest.fixture
def carry_out_on(tmp_path, learnable):
    """Train with as many validation clips as asked for; gives the run, what was told, and those clips."""

    def run_it(experiment, count, name="run"):
        model = experiment.model.build()
        clips, folder = learnable(model)
        held = [clip for clip in clips if clip.split == "val"][:count]
        sources = [
            FeatureSource([clip for clip in clips if clip.split == "train"], model, folder),
            FeatureSource(held, model, folder),
        ]
        run, told = Run(tmp_path / name), []
        fit(experiment, model, sources, run, manifest="m", after_epoch=told.append)
        return run, told, sources[1]

    return run_it


def test_a_criterion_is_that_of_the_ranks_of_its_tasks(small, learnable):
    model = small("slava-a-and-v").model.build()
    clips, folder = learnable(model)
    held = [clip for clip in clips if clip.split == "val"]
    names = ("visual<-visual", "audio<-audio", "visual<-sound")
    many = FeatureSource(held, model, folder)
    found = measure_criterion(model, many, names)
    assert found.measure == "R@10"
    assert found.parts == recalls_at(10, embed_source(model, many), names)
    few = FeatureSource(held[:14], model, folder)
    found = measure_criterion(model, few, names)
    assert found.measure == "MRR"
    assert set(found.candidates.values()) == {14}
    expected = ranked(embed_source(model, few), names)
    queries = np.concatenate([one.ranks.reciprocal() for one in expected.values()])
    assert found.value == pytest.approx(queries.mean())
    assert measure_criterion(model, few, ()) is None


@pytest.mark.parametrize("count", [10, 14])
def test_few_validation_clips_choose_an_epoch_that_was_learnt(count, small, carry_out_on):
    # Of 10 candidates R@10 is 1 before any training, of 14 it is nearly so.
    experiment = small("slava-a-and-v", epochs=20, patience=20)
    run, told, validation = carry_out_on(experiment, count)
    criteria = [numbers["criterion"] for numbers in told]
    assert {numbers["measure"] for numbers in told} == {"MRR"}
    kept = selected_epoch(criteria)
    assert kept > 0
    assert criteria[kept] > criteria[0] + 0.1
    found = measure_criterion(run.load(), validation, experiment.stages[0].criterion)
    assert found.value == pytest.approx(criteria[kept])
    assert run.metrics() == told


@pytest.mark.parametrize("count", [10, 56])
def test_where_no_epoch_is_better_or_worse_the_last_is_kept(count, small, carry_out_on):
    # The text head trains, and the criterion does not ask it.
    experiment = small("slava-a-and-v", epochs=9, patience=4)
    blind = replace(
        experiment.stages[0],
        trains=("text",),
        criterion=("visual<-sound",),
        optimizer=AdamW(lr=1e-2),
    )
    chosen, last = (
        replace(experiment, stages=(blind,), hand_over=keep) for keep in ("best", "last")
    )
    run, told, _ = carry_out_on(chosen, count)
    assert len(told) == 5  # patience ends it as ever
    assert len({numbers["criterion"] for numbers in told}) == 1
    other, _, _ = carry_out_on(replace(last, stages=(replace(blind, epochs=4),)), count, "last")
    one, same = run.load().state_dict(), other.load().state_dict()
    assert all(value.equal(same[name]) for name, value in one.items())
    fresh = chosen.model.build().state_dict()
    assert not one["text.head.weight"].equal(fresh["text.head.weight"])
