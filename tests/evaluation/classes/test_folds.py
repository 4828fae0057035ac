from pathlib import Path

import numpy as np
import pytest

from trichord.corpora import ucf101
from trichord.evaluation.classes.folds import folding, labelled, only, stratified
from trichord.types import Clip, UserError

HERE = Path("clips.jsonl")


def clip(name, label=None, **rest):
    labels = () if label is None else (label,)
    return Clip(id=name, path=rest.pop("path", f"/{name}.wav"), labels=labels, **rest)


def esc(fold, number, label):
    return clip(f"{fold}-{number}-A-0", label)


def ids_tested(found, held):
    return [[held.clips[row].id for row in fold.test] for fold in found.folds]


def test_classes_are_numbered_by_name_and_clips_without_one_are_left_out_and_named():
    held = labelled([clip("a", "rain"), clip("b"), clip("c", "dog"), clip("d", "rain")], HERE)
    assert held.classes == ("dog", "rain")
    assert held.truth.tolist() == [1, 0, 1]
    assert held.unlabelled == ("b",)


def test_some_of_the_clips_keep_all_classes():
    held = labelled([clip("a", "rain"), clip("c", "dog"), clip("d", "rain")], HERE)
    some = only(held, [held.clips[2]])
    assert (some.classes, some.truth.tolist()) == (("dog", "rain"), [1])


@pytest.mark.parametrize(
    ("clips", "told"),
    [
        ([clip("a"), clip("b")], r"clips\.jsonl: none of its 2 clips has a label"),
        ([clip("a", "dog"), clip("b", "dog")], "all labelled clips are of the class 'dog'"),
        (
            [clip("a", "dog"), Clip(id="b", path="/b", labels=("dog", "rain"))],
            "the clip 'b' has 2 labels",
        ),
    ],
)
def test_manifests_that_have_no_classes_to_tell_apart_are_refused(clips, told):
    with pytest.raises(UserError, match=told):
        labelled(clips, HERE)


def test_the_manifests_splits_are_one_fold_in_which_train_and_val_teach():
    splits = ["train", "val", "test", None, "test"]
    clips = [clip(f"c{i}", "ab"[i % 2], split=split) for i, split in enumerate(splits)]
    found = folding(labelled(clips, HERE), "split")
    assert [fold.train.tolist() for fold in found.folds] == [[0, 1]]
    assert [fold.test.tolist() for fold in found.folds] == [[2, 4]]


@pytest.mark.parametrize(("split", "lacking"), [("train", "test"), ("test", "train")])
def test_a_split_that_is_not_there_is_named(split, lacking):
    held = labelled([clip("a", "x", split=split), clip("b", "y", split=split)], HERE)
    with pytest.raises(UserError, match=rf"of the split '{lacking}' \({split} 2\): .*--folds 5"):
        folding(held, "split")


def test_the_manifests_own_folds_test_their_clips():
    folds = ["b", "a", None, "b", "10"]
    held = labelled([clip(f"c{i}", "xy"[i % 2], fold=fold) for i, fold in enumerate(folds)], HERE)
    found = folding(held, "manifest")
    assert [fold.name for fold in found.folds] == ["10", "a", "b"]
    assert ids_tested(found, held) == [["c4"], ["c1"], ["c0", "c3"]]
    assert found.folds[2].train.tolist() == [1, 2, 4]
    assert found.rule == "the manifest's folds: 10, a, b"


@pytest.mark.parametrize(
    ("folds", "told"),
    [
        ((None, None), "are of 0 folds"),
        (("a", "a"), "are of 1 folds"),
        (("a", "b"), "clips of one file of several"),
        (("a", None), "clips of one file of several"),
    ],
)
def test_folds_of_the_manifest_that_divide_nothing_or_a_file_are_refused(folds, told):
    clips = [clip(f"c{i}", "xy"[i], path="/c.wav", fold=fold) for i, fold in enumerate(folds)]
    with pytest.raises(UserError, match=told):
        folding(labelled(clips, HERE), "manifest")


def test_official_folds_of_esc50_are_told_by_ids_and_are_the_groups():
    clips = [esc(fold, i, "ab"[i % 2]) for fold in (1, 3, 5) for i in range(2)]
    held = labelled(clips, HERE)
    found = folding(held, "esc50")
    assert [fold.name for fold in found.folds] == ["1", "3", "5"]
    assert ids_tested(found, held) == [[c.id for c in clips[i : i + 2]] for i in (0, 2, 4)]
    for fold in found.folds:
        assert sorted([*fold.train, *fold.test]) == list(range(6))
    assert found.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.rule == "official folds of esc50: 1, 3, 5"


def test_official_lists_of_ucf101_share_the_clips_that_none_of_them_tests():
    names = [
        f"v_{c}_g{v:02}_c0{n}" for c in ("Surfing", "YoYo") for v in (3, 9, 15, 25) for n in "12"
    ]
    held = labelled([clip(name, name.split("_")[1]) for name in names], HERE)
    found = folding(held, "ucf101")
    assert [fold.name for fold in found.folds] == ["1", "2", "3"]
    for fold, video in zip(found.folds, ("g03", "g09", "g15"), strict=True):
        assert {held.clips[row].id.split("_")[2] for row in fold.test} == {video}
        assert len(fold.test) == 4
        assert len(fold.train) == 12
    videos = {}
    for one, number in zip(held.clips, found.groups.tolist(), strict=True):
        videos.setdefault(number, set()).add(ucf101.group(one))
    assert [len(names) for names in videos.values()] == [1] * 8


@pytest.mark.parametrize(
    ("names", "rule", "told"),
    [
        (("kitchen", "1-1-A-0"), "esc50", "the id 'kitchen' tells no fold"),
        (("1-1-A-0", "1-2-A-0"), "esc50", "all clips are of one fold"),
        (("v_YoYo_g25_c01", "v_Surfing_g25_c01"), "ucf101", "all clips are of one fold"),
        (("1-1-A-0", "2-1-A-0"), "ucf101", "tells no fold: prepare the manifest with 'trichord"),
        (("a", "b"), 3, "lie in 2 files"),
        (("a", "b"), 1, "give 2 or more"),
    ],
)
def test_clips_that_cannot_be_so_divided_are_refused(names, rule, told):
    held = labelled([clip(name, label) for name, label in zip(names, "xy", strict=True)], HERE)
    with pytest.raises(UserError, match=told):
        folding(held, rule)


def test_drawn_folds_have_equal_shares_of_each_class():
    clips = [clip(f"c{i}", "abc"[i % 3]) for i in range(30)]
    held = labelled(clips, HERE)
    found = folding(held, 5, seed=1)
    shares = [np.bincount(held.truth[fold.test], minlength=3).tolist() for fold in found.folds]
    assert shares == [[2, 2, 2]] * 5
    assert sorted(row for fold in found.folds for row in fold.test) == list(range(30))
    again, other = folding(held, 5, seed=1), folding(held, 5, seed=2)
    assert ids_tested(again, held) == ids_tested(found, held)
    assert ids_tested(other, held) != ids_tested(found, held)


def test_drawn_folds_divide_no_file():
    clips = [clip(f"c{i}", "ab"[i % 2], path=f"/film{i // 4}.mp4") for i in range(40)]
    held = labelled(clips, HERE)
    for fold in folding(held, 5).folds:
        learnt = {held.clips[row].path for row in fold.train}
        assert not learnt & {held.clips[row].path for row in fold.test}
        assert len(fold.test) == 8


def test_large_groups_are_placed_first_so_that_folds_come_out_even():
    groups = np.array([0] * 6 + [1] * 4 + [2, 3, 4, 5, 6, 7, 8, 9])
    place = stratified(np.zeros(18, np.int64), groups, 3, seed=0)
    assert sorted(np.bincount(place).tolist()) == [6, 6, 6]
    assert len(set(place[:6].tolist())) == 1
