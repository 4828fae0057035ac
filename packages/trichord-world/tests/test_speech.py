import hashlib
import struct
import subprocess
import sys
import time
from itertools import product

import espeakng_loader
import numpy as np
import pytest

from trichord.types import UserError
from trichord_world.espeak import utter
from trichord_world.format import RATE, SECONDS
from trichord_world.law import PHRASES_MANY
from trichord_world.speech import VOICES, spoken


def digest(wave):
    return hashlib.sha256(wave.tobytes()).hexdigest()


def test_a_phrase_lasts_about_a_second_at_peak_one():
    for voice in VOICES:
        wave = spoken("thank you very much", voice)
        assert 0.5 * RATE < wave.size < 2 * RATE
        assert np.abs(wave).max() == 1
        assert wave.dtype == np.float32


def test_the_longest_of_many_phrases_leave_room_in_a_clip_in_every_voice():
    for phrase, voice in product(sorted(PHRASES_MANY, key=len)[-4:], VOICES):
        assert 0.4 * SECONDS < spoken(phrase, voice).size / RATE < 0.75 * SECONDS


def test_voices_and_phrases_differ():
    heard = {
        digest(spoken(text, voice)) for text in ("all is well", "turn left") for voice in VOICES
    }
    assert len(heard) == 2 * len(VOICES)


def test_what_was_said_before_does_not_change_the_samples():
    spoken("good morning", VOICES[0])
    here = spoken("wait a minute", VOICES[1])
    program = (
        "import hashlib; from trichord_world.speech import spoken;"
        f"print(hashlib.sha256(spoken('wait a minute', {VOICES[1]!r}).tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert there.stdout.decode().strip() == digest(here)
    spoken.cache_clear()
    assert digest(spoken("wait a minute", VOICES[1])) == digest(here)


def test_the_time_of_day_does_not_change_the_samples():
    breathy = [voice for voice in VOICES if "+f" in voice]
    early = [digest(spoken("come over here", voice)) for voice in breathy]
    time.sleep(1.1)  # eSpeak's own seed is the time in whole seconds
    spoken.cache_clear()
    assert [digest(spoken("come over here", voice)) for voice in breathy] == early


def test_a_waveform_is_remembered_and_cannot_be_spoilt():
    wave = spoken("good morning", VOICES[0])
    assert spoken("good morning", VOICES[0]) is wave
    with pytest.raises(ValueError, match="read-only"):
        wave[0] = 0


def test_the_pauses_around_a_phrase_are_cut():
    wave = spoken("good morning", VOICES[0])
    assert min(abs(wave[0]), abs(wave[-1])) > 0.009


def test_utter_gives_the_rate_and_the_samples():
    answer = utter(
        espeakng_loader.get_library_path(), espeakng_loader.get_data_path(), "turn left", VOICES[0]
    )
    assert struct.unpack("<i", answer[:4]) == (22_050,)
    assert np.frombuffer(answer, "<i2", offset=4).size > 10_000


def test_unknown_voices_are_refused():
    with pytest.raises(ValueError, match="none of the world's voices"):
        spoken("turn left", "martian")
    with pytest.raises(ValueError, match="no voice 'martian'"):
        utter(espeakng_loader.get_library_path(), espeakng_loader.get_data_path(), "hm", "martian")


def test_a_phrase_without_a_word_is_refused():
    with pytest.raises(ValueError, match="says nothing"):
        spoken(" ", VOICES[0])


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match=r"trichord\[world\]"):
        spoken("never said before", VOICES[0])


def test_a_broken_library_names_the_remedy(monkeypatch, tmp_path):
    broken = tmp_path / "libespeak.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(espeakng_loader, "get_library_path", lambda: str(broken))
    with pytest.raises(UserError, match="reinstall espeakng-loader"):
        spoken("never said before", VOICES[0])
