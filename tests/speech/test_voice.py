import numpy as np
import pytest

from trichord.speech import voice as module
from trichord.speech.voice import SpeechDetector, speech_detector
from trichord.types import UserError

SPOKEN_SHARE = 0.2
"""From which share on filters call a moment spoken."""


@pytest.fixture(scope="module")
def detector():
    for name in ("silero_vad", "onnxruntime"):
        pytest.importorskip(name)
    return SpeechDetector()


def noise(seconds, loudness=0.1):
    samples = np.random.default_rng(0).normal(0, loudness, round(16_000 * seconds))
    return samples.astype(np.float32)


def test_speech_of_the_generated_world_is_told_from_its_effects(detector):
    pytest.importorskip("espeakng_loader")
    from typing import get_args

    from trichord_world.law import PHRASES, VOICES, Thing
    from trichord_world.speech import spoken
    from trichord_world.synthesis import effect

    for voice in VOICES:
        shares = [detector.share(spoken(phrase, voice)[::2]) for phrase in PHRASES[:4]]
        assert min(shares) > 0.7
    for thing in get_args(Thing):
        wave = 0.34 * effect(thing, "middle", "slow", np.random.default_rng(0))
        assert detector.share(wave[::2].astype(np.float32)) < SPOKEN_SHARE


def test_the_share_is_that_of_the_time_in_which_somebody_speaks(detector):
    pytest.importorskip("espeakng_loader")
    from trichord_world.law import PHRASES, VOICES
    from trichord_world.speech import spoken

    said = spoken(PHRASES[0], VOICES[0])[::2]
    sound = np.concatenate([noise(3, 0.002), said, noise(3, 0.002)])
    assert detector.share(sound) == pytest.approx(len(said) / len(sound), abs=0.08)


def test_it_judges_a_long_sound_as_the_detectors_own_program_does(detector, monkeypatch):
    from silero_vad.sequence_vad import SileroVADSequence

    path = module._folder_of(module.find_spec("silero_vad")) / module._MODEL
    own = SileroVADSequence(str(path))
    sound = (
        noise(2.03) * np.repeat(np.random.default_rng(1).random(70), 464)[: round(2.03 * 16_000)]
    )
    monkeypatch.setattr(module, "STEPS_AT_ONCE", 7)
    np.testing.assert_allclose(detector.probabilities(sound), own.audio_forward(sound), atol=1e-5)


def test_no_sound_is_no_speech(detector):
    assert detector.share(np.zeros(0, np.float32)) == 0.0
    assert detector.share(np.zeros(16_000, np.float32)) == 0.0


def test_without_the_extra_it_is_off_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert speech_detector() is None
    with pytest.raises(UserError, match=r'pip install "trichord\[speech\]"'):
        SpeechDetector()
