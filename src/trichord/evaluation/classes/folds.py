"""Clips by class, and which of them a classifier learns from and is tested on, fold by fold."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy import ndarray

from trichord.corpora import esc50, ucf101
from trichord.types import Clip, UserError
from trichord.types.arrays import Int

Official = Literal["esc50", "ucf101"]
Rule = Official | Literal["split", "manifest"] | int
"""Folds that ids tell, the manifest's own splits as one fold, its own folds, or so many drawn ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Clips of one class each, numbered by the sorted names of all classes.

    `unlabelled` are the ids of those that were left out for want of a class.
    """

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    truth: Int[ndarray, " clip"]
    unlabelled: tuple[str, ...] = ()


def labelled(clips: Sequence[Clip], manifest: Path) -> Labelled:
    """The clips that have a label, which is their class.

    Raises:
        UserError: No clip has one, one has several, or all have the same.
    """
    known = tuple(clip for clip in clips if clip.labels)
    if not known:
        raise UserError(
            f"{manifest}: none of its {len(clips)} clips has a label: write the class of each into "
            '"labels", or prepare a corpus that has classes, such as esc50.'
        )
    if several := next((clip for clip in known if len(clip.labels) > 1), None):
        raise UserError(
            f"{manifest}: the clip '{several.id}' has {len(several.labels)} labels; a clip can be "
            'judged by one class only: leave one in its "labels".'
        )
    classes = sorted({clip.labels[0] for clip in known})
    if len(classes) == 1:
        raise UserError(
            f"{manifest}: all labelled clips are of the class '{classes[0]}': there is nothing to tell "
            "apart; add clips of another class."
        )
    number = {name: i for i, name in enumerate(classes)}
    return Labelled(
        clips=known,
        classes=tuple(classes),
        truth=np.array([number[clip.labels[0]] for clip in known]),
        unlabelled=tuple(clip.id for clip in clips if not clip.labels),
    )


def only(held: Labelled, chosen: Sequence[Clip]) -> Labelled:
    """Some of labelled clips; the classes remain all of them."""
    wanted = {clip.id for clip in chosen}
    rows = [row for row, clip in enumerate(held.clips) if clip.id in wanted]
    return replace(held, clips=tuple(held.clips[row] for row in rows), truth=held.truth[rows])


def numbered(held: Labelled, classes: tuple[str, ...]) -> Labelled:
    """The same clips with classes in the order of a classifier that has learnt already.

    Raises:
        UserError: Clips are of a class that it does not know.
    """
    known = {name: number for number, name in enumerate(classes)}
    if odd := [name for name in held.classes if name not in known]:
        some = ", ".join(f"'{name}'" for name in odd[:3]) + ", ..." * (len(odd) > 3)
        raise UserError(
            f"--method published: {len(odd)} of the manifest's {len(held.classes)} classes are not "
            f"among the head's {len(known)} ({some}; it knows '{classes[0]}', '{classes[1]}', ...): "
            "give clips of its classes, or choose another --method."
        )
    numbers = np.array([known[name] for name in held.classes])
    return replace(held, classes=classes, truth=numbers[held.truth])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Rows of clips to learn from and, disjoint from them, to be tested on."""

    name: str
    train: Int[ndarray, " learnt"]
    test: Int[ndarray, " tested"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """All folds, none of which tests a clip that another one tests, and what made them, in words.

    `groups` numbers what must not be divided where a training fold is divided again to choose by.
    """

    folds: tuple[Fold, ...]
    groups: Int[ndarray, " clip"]
    rule: str


def folding(held: Labelled, rule: Rule, *, seed: int = 0) -> Folding:
    """Folds of labelled clips.

    Args:
        held: The clips.
        rule: `esc50` and `ucf101`: the official folds, as the clips' ids tell them. `split`: one
            fold, which tests the test split and learns from train and val together. `manifest`: the
            clips' own `fold`; clips without one are only learned from. A number: so
            many folds with about equal shares of each class, all clips of a file in one.
        seed: Draws the folds of a number.

    Raises:
        UserError: The clips cannot be so divided.
    """
    if rule == "split":
        return _by_split(held)
    if rule == "manifest":
        return _by_manifest(held)
    if isinstance(rule, int):
        return _drawn(held, rule, seed)
    return _official(held, rule)


def _by_split(held: Labelled) -> Folding:
    splits = np.array([clip.split or "" for clip in held.clips])
    train = np.flatnonzero(np.isin(splits, ["train", "val"]))
    test = np.flatnonzero(splits == "test")
    for name, rows in (("train", train), ("test", test)):
        if not len(rows):
            there = ", ".join(f"{s or 'no split'} {n}" for s, n in Counter(splits.tolist()).items())
            raise UserError(
                f"--folds split: no labelled clip is of the split '{name}' ({there}): give the clips "
                "splits, or --folds 5 to divide them here."
            )
    fold = Fold(name="test split", train=train, test=test)
    rule = "the manifest's split, train and val on test"
    return Folding(folds=(fold,), groups=_files(held), rule=rule)


def _by_manifest(held: Labelled) -> Folding:
    names = sorted({clip.fold for clip in held.clips if clip.fold})
    place = np.array([names.index(clip.fold) if clip.fold else -1 for clip in held.clips])
    groups = _files(held)
    divided = len(set(zip(groups.tolist(), place.tolist(), strict=True))) > len(np.unique(groups))
    if divided or not names or len(np.unique(place)) < 2:
        raise UserError(
            f"--folds manifest: the labelled clips are of {len(names)} folds"
            f"{', clips of one file of several' * divided}: give each file a fold, with 'trichord prepare "
            "folder --columns fold=COLUMN', or give a number of folds."
        )
    folds = _each_out(place, range(len(names)))
    named = tuple(replace(fold, name=name) for fold, name in zip(folds, names, strict=True))
    return Folding(folds=named, groups=groups, rule=f"the manifest's folds: {', '.join(names)}")


def _drawn(held: Labelled, count: int, seed: int) -> Folding:
    if count < 2:
        raise UserError(f"--folds {count}: one fold leaves nothing to learn from; give 2 or more.")
    files = _files(held)
    if (there := len(np.unique(files))) < count:
        raise UserError(
            f"--folds {count}: the labelled clips lie in {there} files, and no file is divided: give "
            f"{there} folds at most, and 2 at least."
        )
    place = stratified(held.truth, files, count, seed=seed) + 1
    rule = f"{count} drawn folds, stratified by class, files undivided, seed {seed}"
    return Folding(folds=_each_out(place, range(1, count + 1)), groups=files, rule=rule)


def _official(held: Labelled, name: Official) -> Folding:
    fold_of = esc50.fold if name == "esc50" else ucf101.fold
    group_of = esc50.fold if name == "esc50" else ucf101.group
    folds: list[int] = []
    for clip in held.clips:
        try:
            folds.append(fold_of(clip) or 0)  # 0: no fold tests it
        except ValueError as error:
            raise UserError(
                f"--folds {name}: the id '{clip.id}' tells no fold: prepare the manifest with 'trichord "
                f"prepare {name}', or give a number of folds."
            ) from error
    place = np.array(folds)
    tested = sorted({fold for fold in folds if fold})
    if not tested or len(set(folds)) < 2:
        raise UserError(
            f"--folds {name}: all clips are of one fold: there is nothing to learn from, or nothing to "
            "test; prepare the whole corpus."
        )
    groups = _numbered([group_of(clip) for clip in held.clips])
    rule = f"official folds of {name}: {', '.join(map(str, tested))}"
    return Folding(folds=_each_out(place, tested), groups=groups, rule=rule)


def stratified(
    classes: Int[ndarray, " clip"], groups: Int[ndarray, " clip"], count: int, *, seed: int
) -> Int[ndarray, " clip"]:
    """A fold for each clip, 0 to `count` - 1: about equal shares of each class, groups undivided.

    Groups are placed one by one, large ones first, where the fewest clips of their classes lie yet;
    the seed orders those of one size.
    """
    _, group = np.unique(groups, return_inverse=True)
    sizes = np.zeros((group.max() + 1, classes.max() + 1), dtype=np.int64)
    np.add.at(sizes, (group, classes), 1)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order].sum(axis=1), kind="stable")]
    held = np.zeros((count, sizes.shape[1]), dtype=np.int64)
    fold = np.zeros(len(sizes), dtype=np.int64)
    for one in order:
        crowded = (held * sizes[one]).sum(axis=1)
        fold[one] = np.lexsort((held.sum(axis=1), crowded))[0]
        held[fold[one]] += sizes[one]
    return fold[group]


def _each_out(place: Int[ndarray, " clip"], tested: Sequence[int]) -> tuple[Fold, ...]:
    """Each fold tested once by what learns from all other clips."""
    return tuple(
        Fold(name=str(n), train=np.flatnonzero(place != n), test=np.flatnonzero(place == n))
        for n in tested
    )


def _files(held: Labelled) -> Int[ndarray, " clip"]:
    return _numbered([clip.path for clip in held.clips])


def _numbered(names: Sequence[object]) -> Int[ndarray, " clip"]:
    """Equal names, equal numbers."""
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([place[name] for name in names])
