import numpy as np
import pytest

from trichord.corpora.world.law import LAW, PHRASES, VOICES, Law, gender_of, scenes

MANY = scenes("train", 6000, 0)


def share(hits):
    return float(np.mean(list(hits)))


def test_a_scene_does_not_depend_on_how_many_are_drawn():
    assert scenes("val", 3, 7) == scenes("val", 9, 7)[:3]


def test_seeds_and_splits_are_streams_of_their_own():
    drawn = [scenes(split, 20, seed) for split in ("train", "test", "pretrain") for seed in (0, 1)]
    seeds = {scene.sight_seed for rows in drawn for scene in rows}
    assert len(seeds) == 6 * 20


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
