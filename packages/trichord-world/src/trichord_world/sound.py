"""The sound of a scene: its effect, its spoken phrase above it, and the hiss behind both."""

import numpy as np
from numpy.typing import NDArray

from trichord_world.difficulty import DEFAULT, Difficulty
from trichord_world.format import RATE, SAMPLES
from trichord_world.law import Scene
from trichord_world.speech import spoken
from trichord_world.synthesis import effect

# Peaks before `loudness`: their sum stays below full scale, speech stands 5 dB above the effect.
_EFFECT = 0.34
_SPEECH = 0.6


def has_sound_stream(scene: Scene) -> bool:
    """Whether the scene's file holds a sound stream at all.

    Of the silent scenes, those with an even `sound_seed` have none, the others a digitally silent
    one; a dark and silent scene keeps its stream, for a file must hold something.
    """
    return not scene.silent or scene.dark or scene.sound_seed % 2 == 1


def sound(scene: Scene, difficulty: Difficulty = DEFAULT) -> NDArray[np.float32]:
    """Four seconds at RATE, within [-1, 1]: (sample,). Exact zeros when the scene is silent.

    A function of `heard`, `pitch`, `tempo`, `phrase`, `voice`, `silent`, `sound_seed` and of the
    difficulty's `loudness` and `sound_noise`: nothing of the picture can leak into it. The effect
    and the hiss do not depend on whether somebody speaks.
    """
    if scene.silent:
        return np.zeros(SAMPLES, np.float32)
    effect_random, noise_random = (
        np.random.default_rng((scene.sound_seed, part)) for part in (0, 2)
    )
    wave = effect(scene.heard, scene.pitch, scene.tempo, effect_random)
    wave *= _EFFECT * difficulty.loudness * effect_random.uniform(0.8, 1.0)
    if scene.phrase is not None and scene.voice is not None:
        first, speech = _utterance(scene, scene.phrase, scene.voice)
        wave[first : first + speech.size] += _SPEECH * difficulty.loudness * speech
    wave += difficulty.sound_noise * _pink(noise_random)
    return np.clip(wave, -1, 1).astype(np.float32)


def _utterance(scene: Scene, phrase: str, voice: str) -> tuple[int, NDArray[np.float32]]:
    """The sample with which the phrase begins, and its own samples."""
    speech = spoken(phrase, voice)
    if speech.size > SAMPLES:
        raise ValueError(f"{phrase!r} takes longer than a clip lasts.")
    random = np.random.default_rng((scene.sound_seed, 1))
    return int(random.integers(SAMPLES - speech.size + 1)), speech


def _pink(random: np.random.Generator) -> NDArray[np.float64]:
    """Noise of equal power in every octave above 40 Hz, unit root mean square."""
    spectrum = random.standard_normal((2, SAMPLES // 2 + 1))
    frequency = np.arange(SAMPLES // 2 + 1) * RATE / SAMPLES
    shape = np.where(frequency < 40, 0, 1 / np.sqrt(np.maximum(frequency, 40)))
    noise = np.fft.irfft((spectrum[0] + 1j * spectrum[1]) * shape, SAMPLES)
    return noise / noise.std()
