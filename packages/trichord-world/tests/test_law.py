import hashlib
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from trichord_world.law import (
    LAW,
    PHRASES,
    PHRASES_MANY,
    VOICES,
    WORLD_SPLITS,
    Law,
    gender_of,
    scenes,
)
from trichord_world.wordings import WORDINGS

MANY = scenes("train", 6000, 0)


def share(hits):
    return float(np.mean(list(hits)))


def test_a_scene_does_not_depend_on_how_many_are_drawn():
    assert scenes("val", 3, 7) == scenes("val", 9, 7)[:3]


def test_seeds_and_splits_are_streams_of_their_own():
    drawn = [scenes(split, 20, seed) for split in WORLD_SPLITS for seed in (0, 1)]
    assert len(drawn) == 12
    for name in ("sight_seed", "sound_seed"):
        assert len({getattr(scene, name) for rows in drawn for scene in rows}) == 12 * 20


def test_the_scenes_of_published_numbers_stay_what_they_are():
    drawn = [scenes(split, 50, 0) for split in ("train", "val", "test", "pretrain")]
    assert hashlib.sha256(repr(drawn).encode()).hexdigest()[:16] == "3e2088ca32840e90"


def test_ids_name_the_split_and_the_place():
    assert [scene.id for scene in scenes("pretrain", 2, 0)] == ["pretrain_00000", "pretrain_00001"]


def test_every_value_occurs_about_equally_often():
    for name, values in (
        ("thing", LAW.things), ("colour", LAW.colours), ("size", LAW.sizes), ("speed", LAW.speeds),
        ("motion", LAW.motions), ("background", LAW.backgrounds), ("heard", LAW.things),
        ("pitch", LAW.pitches), ("tempo", LAW.speeds),
    ):  # fmt: skip
        drawn = [getattr(scene, name) for scene in MANY]
        for value in values:
            assert drawn.count(value) / len(drawn) == pytest.approx(1 / len(values), abs=0.025)


def test_the_sound_is_the_things_own_with_probability_four_fifths():
    assert share(scene.on_screen for scene in MANY) == pytest.approx(0.8, abs=0.02)


def test_pitch_follows_size_and_tempo_speed_on_screen_only():
    fitting = {"small": "high", "medium": "middle", "large": "low"}
    for on_screen, expected in ((True, 0.9), (False, 1 / 3)):
        rows = [scene for scene in MANY if scene.on_screen is on_screen]
        pitch = share(fitting[scene.size] == scene.pitch for scene in rows)
        tempo = share(scene.speed == scene.tempo for scene in rows)
        assert pitch == pytest.approx(expected, abs=0.04)
        assert tempo == pytest.approx(expected, abs=0.04)


def test_a_tenth_is_silent_a_twentieth_dark_and_nothing_both():
    assert share(scene.silent for scene in MANY) == pytest.approx(0.1, abs=0.015)
    assert share(scene.dark for scene in MANY) == pytest.approx(0.05, abs=0.01)
    assert not any(scene.silent and scene.dark for scene in MANY)


def test_nobody_speaks_in_two_fifths_of_the_audible_clips_and_in_no_silent_one():
    assert all(scene.phrase is None and scene.voice is None for scene in MANY if scene.silent)
    audible = [scene for scene in MANY if not scene.silent]
    assert share(scene.phrase is None for scene in audible) == pytest.approx(0.4, abs=0.025)
    assert all((scene.phrase is None) == (scene.voice is None) for scene in audible)


def test_phrases_are_twelve_short_ones():
    assert len(set(PHRASES)) == 12
    assert all(2 <= len(phrase.split()) <= 4 for phrase in PHRASES)


def test_many_phrases_are_all_pairs_of_halves_that_share_no_word():
    assert len(set(PHRASES_MANY)) == len(PHRASES_MANY) == 6 * 8
    assert all(5 <= len(phrase.split()) <= 7 for phrase in PHRASES_MANY)
    words = [set(phrase.split()) for phrase in PHRASES_MANY]
    for one, other in product(range(48), repeat=2):
        half_in_common = one // 8 == other // 8 or one % 8 == other % 8
        assert bool(words[one] & words[other]) == half_in_common


def test_many_phrases_use_no_word_of_the_captions_wordings():
    forms = [form for values in WORDINGS.values() for row in values.values() for form in row]
    worded = {word for form in forms for word in form.replace("-", " ").split()}
    assert not worded & {word for phrase in PHRASES_MANY for word in phrase.split()}


def test_narrated_clips_always_speak_and_labelled_ones_always_sound():
    narrated, labelled = scenes("narrated", 600, 0), scenes("labelled", 600, 0)
    assert not any(scene.silent or scene.dark for scene in (*narrated, *labelled))
    assert all(scene.phrase and scene.voice for scene in narrated)
    assert share(scene.phrase is None for scene in labelled) == pytest.approx(0.4, abs=0.06)
    assert share(scene.on_screen for scene in narrated) == pytest.approx(0.8, abs=0.05)
    assert LAW.within("train") == LAW.within("pretrain") == LAW


def test_more_phrases_leave_everything_else_as_it_was():
    many = scenes("train", 100, 0, Law(phrases=PHRASES_MANY))
    few = scenes("train", 100, 0)
    assert {scene.phrase for scene in many} <= {*PHRASES_MANY, None}
    assert [scene.phrase is None for scene in many] == [scene.phrase is None for scene in few]
    assert [replace(s, phrase=None) for s in many] == [replace(s, phrase=None) for s in few]


def test_two_voices_are_mens_and_two_womens():
    assert sorted(gender_of(voice) for voice in VOICES) == ["female", "female", "male", "male"]


def test_a_smaller_law_draws_its_own_values_only():
    law = Law(
        own=1.0, tie=1.0, silent=0.0, dark=0.0, speechless=1.0, things=("bell", "drum"),
        sizes=("small", "large"), pitches=("high", "low"), colours=("red",),
    )  # fmt: skip
    drawn = scenes("train", 50, 0, law)
    assert {scene.colour for scene in drawn} == {"red"}
    assert {(s.thing, s.heard) for s in drawn} == {("bell", "bell"), ("drum", "drum")}
    assert {(s.size, s.pitch) for s in drawn} == {("small", "high"), ("large", "low")}
    assert not any(s.silent or s.dark or s.phrase for s in drawn)
    assert all(s.synchronous for s in drawn)


@pytest.mark.parametrize(
    "wrong",
    [
        {"own": 1.1},
        {"silent": 0.6, "dark": 0.6},
        {"things": ("bell",)},
        {"sizes": ("small", "large")},
    ],
)
def test_what_is_no_law_is_refused(wrong):
    with pytest.raises(ValueError, match="law"):
        Law(**wrong)
