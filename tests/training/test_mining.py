"""Hard negatives: which clips the present model confuses, and batches that hold them together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import InterruptError, heads

from trichord.config import Draw, InfoNCE, Stage, check
from trichord.features.source import FeatureSource
from trichord.training.mining import mine
from trichord.training.sampler import epoch_samples, grouped
from trichord.types import Caption, UserError

TERMS = ("at", "vt", "av")


def stage_of(terms=("at", "vt"), captions=("visual", "audio"), **changes):
    draws = (Draw(captions=captions, terms=terms),)
    settings = {"name": "s", "trains": ("audio",), "draws": draws, "criterion": ()}
    return Stage(**settings | {"negatives": 2, "batch_size": 6} | changes)


def by_hand(model, source, stage):
    """Neighbours of each clip, pair by pair; how many of the nearest were left out; scores."""
    with torch.no_grad():
        clips = model(source.batch(np.arange(len(source.clips)), None))
        every = np.arange(len(source.captions.texts))
        texts = model(source.batch(source.captions.owners, every)).text.pooled.numpy()
    sides = [getattr(clips, side) for side in stage.compared_with_text]
    kinds = stage.draws[0].captions
    owned = [
        [
            n
            for n, kind in enumerate(source.captions.kinds)
            if kind in kinds and source.captions.owners[n] == clip
        ]
        for clip in range(len(source.clips))
    ]

    def score(clip, other):
        there = [side.pooled[clip].numpy() for side in sides if side.present[clip]]
        each = [np.mean([texts[n] @ one for one in there]) for n in owned[other] if there]
        return max(each, default=-np.inf)

    def texts_of(clip):
        return {source.captions.texts[n] for n in owned[clip]}

    found, left_out = [], 0
    for clip in range(len(source.clips)):
        others = [
            (score(clip, one), one)
            for one in range(len(source.clips))
            if one != clip
            and not texts_of(one) & texts_of(clip)
            and min(score(one, one), score(clip, clip)) > -np.inf
        ]
        ranked = [one for value, one in sorted(others, reverse=True) if value > -np.inf]
        near = {
            one
            for one in ranked
            if score(clip, one) > stage.negatives_share * score(clip, clip)
            or score(one, clip) > stage.negatives_share * score(one, one)
        }
        left_out += len(near & set(ranked[: stage.negatives]))
        found.append([one for one in ranked if one not in near])
    return found, left_out, score


STAGES = {"both": stage_of(), "audio": stage_of(("at-sigmoid",), ("audio",))}


@pytest.mark.parametrize("at_once", [40, 10**7])
@pytest.mark.parametrize("name", STAGES)
def test_neighbours_are_those_found_pair_by_pair(name, at_once, tiny_model, learnable, monkeypatch):
    monkeypatch.setattr("trichord.training.mining.SCORES", at_once)
    clips, folder = learnable(tiny_model, silent=("c1", "c4"))
    held = [*clips[:13], replace(clips[20], captions=()), clips[30]]
    # Two captions, and one that it shares with another clip.
    held[2] = replace(
        held[2], captions=(*held[2].captions, Caption(text="a red thing", about="visual"))
    )
    source = FeatureSource(held, tiny_model, folder)
    for share in (1.0, 0.5):
        stage = replace(STAGES[name], negatives_share=share)
        found = mine(tiny_model, source, stage)
        expected, near, score = by_hand(tiny_model, source, stage)
        rows = [[one for one in row if one >= 0] for row in found["neighbours"].tolist()]
        assert [set(row) for row in rows] == [set(row) for row in expected]
        for clip, row in enumerate(rows):  # equal captions score the same, in any order
            scores = [score(clip, one) for one in row]
            assert scores == pytest.approx(sorted(scores, reverse=True), abs=1e-6)
        assert int(found["near"]) == near
    assert any(expected)
    assert near
    assert not rows[13]  # without a caption


def test_neighbours_stand_in_the_batch_of_their_clip():
    near = np.array([[3, 5], [0, 4], [4, -1], [1, 2], [2, 0], [-1, -1]])
    order = np.array([2, 0, 1, 3, 4, 5])
    # 2 takes 4; 0 is the last of the first batch of three; 1 finds 0 and 4 used; 3 has none left.
    assert grouped(order, near, 3, 1).tolist() == [2, 4, 0, 1, 3, 5]
    assert grouped(order, near, 6, 2).tolist() == [2, 4, 0, 3, 5, 1]
    assert grouped(order, near, 6, 0).tolist() == order.tolist()


def test_an_epoch_still_has_each_clip_once(tiny_model, learnable):
    clips, folder = learnable(tiny_model)
    source = FeatureSource(clips[:24], tiny_model, folder)
    near = torch.arange(24)[:, None] ^ 1  # clips in pairs

    def rows(neighbours):
        samples = epoch_samples(
            stage_of(negatives=1),
            source.captions,
            source.clips,
            seed=3,
            place=(0, 2),
            neighbours=neighbours,
        )
        return [sample.clips.tolist() for sample in samples]

    batches = rows(near)
    assert sorted(clip for batch in batches for clip in batch) == list(range(24))
    assert all({clip ^ 1 for clip in batch} == set(batch) for batch in batches)
    assert batches == rows(near) != rows(None)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_training_with_hard_negatives_learns(seed, by, carry_out):
    (stage,) = (experiment := by(TERMS, InfoNCE(), epochs=4)).stages
    stages = (replace(stage, negatives=3),)
    run, told = carry_out(replace(experiment, stages=stages, seed=seed))
    criteria = [one["criterion"] for one in told]
    assert max(criteria[1:]) > criteria[0]
    assert told[-1]["loss"] < told[1]["loss"]
    assert [("negatives" in one) for one in told] == [False, False, True, True, True]
    assert all(one["negatives"]["clips without"] < 24 for one in told[2:])
    assert [one.get("negatives") for one in run.metrics()] == [one.get("negatives") for one in told]
    if seed:
        return
    plain, _ = carry_out(experiment, "plain")
    assert any(not torch.equal(value, heads(plain)[k]) for k, value in heads(run).items())


def test_an_interrupted_run_goes_on_with_the_same_negatives(by, carry_out, interrupted):
    (stage,) = (experiment := by(TERMS, InfoNCE(), epochs=2)).stages
    experiment = replace(experiment, stages=(replace(stage, negatives=3),))
    whole, _ = carry_out(experiment, "whole")
    interrupted(5)  # the second of three steps of the second epoch
    with pytest.raises(InterruptError):
        carry_out(experiment, "broken")
    broken, _ = carry_out(experiment, "broken")
    assert broken.metrics() == whole.metrics()
    for name, value in whole.weights()[0].items():
        assert torch.equal(broken.weights()[0][name], value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 2}, "negatives 2: give less than the batch size, 2"),
        ({"terms": ("av",)}, "no term compares captions with clips"),
        ({"nonverbal_share": 0.5}, "leave out one of the two"),
    ],
)
def test_negatives_that_cannot_be_are_refused(changes, says):
    with pytest.raises(UserError, match=says):
        check(stage_of(**changes), "--stages.0")
    check(stage_of(), "--stages.0")
