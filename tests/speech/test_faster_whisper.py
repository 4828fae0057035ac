"""faster-whisper is not installed here: what is called of it, by a module with the same functions."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from trichord.speech.faster_whisper import FasterWhisper
from trichord.speech.recogniser import RecogniserOptions
from trichord.speech.transcript import Word
from trichord.types import UserError


class WhisperModel:
    supported_languages = ("de", "en")

    def __init__(self, folder, device, local_files_only):
        assert local_files_only

    def detect_language(self, samples):
        return "de", 0.9, []

    def transcribe(self, samples, language, **options):
        assert not options["vad_filter"]
        word = SimpleNamespace(word=" Hallo", start=0.5, end=1.0, probability=0.75)
        return iter([SimpleNamespace(words=[word]), SimpleNamespace(words=None)]), None


def test_it_gives_words_with_times_and_confidence(tmp_path, monkeypatch):
    module = ModuleType("faster_whisper")
    module.WhisperModel = WhisperModel
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    (tmp_path / "model.bin").write_bytes(b"weights")
    recogniser = FasterWhisper(RecogniserOptions(model=str(tmp_path)))
    sound = np.zeros(16_000, np.float32)
    assert recogniser.languages == ("de", "en")
    assert recogniser.detect_language(sound) == "de"
    assert recogniser.recognise(sound, "de") == [
        Word(text="Hallo", start=0.5, end=1.0, confidence=0.75)
    ]
    with pytest.raises(UserError, match=r"needs a folder with model\.bin"):
        FasterWhisper(RecogniserOptions(model="large-v3"))


def test_where_it_is_not_installed_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(UserError, match="pip install faster-whisper"):
        FasterWhisper(RecogniserOptions(model="x"))
