from dataclasses import replace
from itertools import pairwise, product
from typing import get_args

import numpy as np
import pytest

from trichord_world.difficulty import Difficulty
from trichord_world.format import RATE, stroke_times
from trichord_world.law import Pitch, Scene, Speed, Thing
from trichord_world.sound import has_sound_stream, sound
from trichord_world.speech import spoken
from trichord_world.synthesis import effect

SCENE = Scene(
    id="test_0", thing="ball", colour="red", size="medium", motion="bounce", speed="medium",
    background="room", heard="bell", pitch="middle", tempo="medium", phrase="turn left",
    voice="en+m7", silent=False, dark=False, sight_seed=5, sound_seed=6,
)  # fmt: skip
STRUCK = ("bell", "drum", "ball", "bird", "clock", "whistle", "door", "string", "telephone")
HOP = 64


def played(thing, pitch="middle", tempo="medium", seed=0):
    return effect(thing, pitch, tempo, np.random.default_rng(seed))


def bands(wave):
    """Log power in some thirty bands at every 16 ms: (step, band)."""
    edges = np.unique(np.round(np.geomspace(1, 256, 33)).astype(int))
    steps = wave[: wave.size // 512 * 512].reshape(-1, 512) * np.hanning(512)
    power = np.abs(np.fft.rfft(steps)) ** 2
    power = np.stack([power[:, a:b].mean(1) for a, b in pairwise(edges)], 1)
    return np.log(power + 1e-6 * power.max())


def signature(wave):
    """A sound's spectrum where it is loudest, and how it moves."""
    log = bands(wave)
    return np.concatenate([log.max(0) - log.max(), log.std(0), np.diff(log, axis=0).std(0)])


def centroid(wave):
    power = np.abs(np.fft.rfft(wave)) ** 2
    return (power * np.fft.rfftfreq(wave.size, 1 / RATE)).sum() / power.sum()


def steepest_rise(wave, time):
    """Seconds within 80 ms of `time` at which 10 ms of sound most exceed the 10 ms before."""
    power = np.concatenate([[0], np.cumsum(np.square(wave.reshape(-1, HOP)).mean(1))])
    wide = round(0.010 * RATE / HOP)
    at = np.arange(wide, power.size - wide)
    after, before = power[at + wide] - power[at], power[at] - power[at - wide]
    near = np.flatnonzero(np.abs(at * HOP / RATE - time) < 0.08)
    rise = (after[near] + 1e-6) / (before[near] + 1e-6)
    return at[near[rise.argmax()]] * HOP / RATE


def test_a_sound_lasts_four_seconds_within_full_scale():
    wave = sound(SCENE)
    assert (wave.shape, wave.dtype) == ((128_000,), np.float32)
    assert 0.1 < np.abs(wave).max() < 1


def test_the_same_scene_is_the_same_sound():
    assert np.array_equal(sound(SCENE), sound(SCENE))


@pytest.mark.parametrize(
    "seen",
    [
        {"thing": "bell"}, {"colour": "green"}, {"size": "large"}, {"motion": "circle"},
        {"speed": "fast"}, {"background": "night"}, {"sight_seed": 9}, {"dark": True},
    ],
)  # fmt: skip
def test_nothing_of_the_picture_changes_the_sound(seen):
    assert np.array_equal(sound(SCENE), sound(replace(SCENE, **seen)))


@pytest.mark.parametrize(
    "heard",
    [
        {"heard": "drum"}, {"pitch": "low"}, {"tempo": "slow"}, {"phrase": "wait a minute"},
        {"voice": "en-us+f2"}, {"phrase": None, "voice": None}, {"sound_seed": 7},
    ],
)  # fmt: skip
def test_everything_heard_changes_the_sound(heard):
    assert not np.array_equal(sound(SCENE), sound(replace(SCENE, **heard)))


def test_things_pitches_and_tempos_are_told_apart_by_their_spectra():
    known = {
        (thing, pitch): signature(played(thing, pitch))
        for thing, pitch in product(get_args(Thing), get_args(Pitch))
    }
    heard = list(product(known, ("slow", "fast")))
    right = 0
    for (thing, pitch), tempo in heard:
        new = signature(played(thing, pitch, tempo, seed=9))
        right += (thing, pitch) == min(known, key=lambda k: np.square(known[k] - new).sum())
    assert right / len(heard) > 0.95


@pytest.mark.parametrize("thing", get_args(Thing))
def test_higher_pitches_have_higher_spectra(thing):
    low, middle, high = (
        np.mean([centroid(played(thing, pitch, seed=seed)) for seed in range(2)])
        for pitch in ("low", "middle", "high")
    )
    assert 1.3 * low < middle
    assert 1.3 * middle < high


@pytest.mark.parametrize(("thing", "tempo"), list(product((*STRUCK, "siren"), get_args(Speed))))
def test_each_stroke_begins_within_a_hundredth_of_its_time(thing, tempo):
    wave = played(thing, tempo=tempo)
    for time in stroke_times(tempo):
        assert steepest_rise(wave, time) == pytest.approx(time, abs=0.010)


@pytest.mark.parametrize(("thing", "tempo"), list(product(("car", "cloud"), get_args(Speed))))
def test_lasting_sounds_surge_at_each_stroke(thing, tempo):
    wave = played(thing, tempo=tempo)
    for time in stroke_times(tempo):
        at, span = round(time * RATE), round(0.06 * RATE)
        before, after = wave[at - span : at], wave[at : at + span]
        assert np.square(after).mean() > 2 * np.square(before).mean()


@pytest.mark.parametrize("thing", STRUCK)
def test_struck_things_are_still_before_the_first_stroke(thing):
    wave = played(thing, tempo="slow")
    assert np.all(wave[: round(0.66 * RATE)] == 0)


def test_speech_stands_above_the_effect_and_within_the_clip():
    quiet = Difficulty(sound_noise=0.0)
    for seed in range(6):
        scene = replace(SCENE, sound_seed=seed, heard="siren")
        without = sound(replace(scene, phrase=None, voice=None), quiet)
        speech = sound(scene, quiet) - without
        said = np.flatnonzero(np.abs(speech) > 1e-5)
        words = spoken("turn left", "en+m7")
        assert abs(said[-1] - said[0] + 1 - words.size) < 0.05 * RATE
        assert np.abs(speech).max() > 1.5 * np.abs(without).max()


def test_a_phrase_longer_than_a_clip_is_refused():
    endless = " and ".join(["dinner is ready"] * 8)
    with pytest.raises(ValueError, match="longer"):
        sound(replace(SCENE, phrase=endless))


def test_loudness_scales_what_sounds_and_not_the_noise():
    noise_free = [sound(SCENE, Difficulty(sound_noise=0.0, loudness=level)) for level in (0.8, 0.2)]
    assert np.allclose(noise_free[0], 4 * noise_free[1], atol=1e-6)
    noisy = sound(SCENE, Difficulty(sound_noise=0.02, loudness=0.2)) - noise_free[1]
    assert noisy.std() == pytest.approx(0.02, rel=0.01)


def test_a_silent_scene_sounds_of_nothing_at_all():
    assert not sound(replace(SCENE, silent=True)).any()


@pytest.mark.parametrize(
    ("silent", "dark", "seed", "stream"),
    [
        (False, False, 2, True), (True, False, 2, False), (True, False, 3, True),
        (True, True, 2, True),
    ],
)  # fmt: skip
def test_silent_scenes_of_even_seed_have_no_sound_stream(silent, dark, seed, stream):
    assert has_sound_stream(replace(SCENE, silent=silent, dark=dark, sound_seed=seed)) is stream
