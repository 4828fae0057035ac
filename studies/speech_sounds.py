"""Spoken sentences whose words and times are known: of GRID, with noise mixed in, and of eSpeak."""

import csv
import wave
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trichord.corpora import esc50
from trichord.media import Decoder
from trichord.media.plan import DecodePlan
from trichord.types import Caption, Clip
from trichord_world.format import RATE as WORLD_RATE
from trichord_world.law import PHRASES_MANY, VOICES
from trichord_world.speech import spoken

RATE = 16_000
PLAN = DecodePlan(frames=None, rates=(RATE,))
NOISES = {"clean": None, "10 dB": 10.0, "0 dB": 0.0, "-5 dB": -5.0}
"""How much louder than the noise a clip is as a whole, pauses included; None: no noise."""
NOISE_FOLDS = {"val": 4, "test": 5}
"""Folds of ESC-10 that the noise comes from; no encoder is trained on ESC-10."""
SILENCE = 0.5
"""Seconds before and after a sentence of eSpeak."""
SPEAKERS = VOICES[:2]
"""A male and a female voice."""
UNITS = 25_000
"""A second in GRID's word times."""


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word that is said, with its times in seconds."""

    text: str
    start: float
    end: float


def sound_of(path: str | Path, decoder: Decoder) -> np.ndarray:
    """All samples of a file at 16 kHz."""
    audio = decoder.decode(Path(path), [(0.0, None)], PLAN)[0].audio
    return audio.get(RATE, np.zeros(0, np.float32))


def write_wave(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    """A WAV file of 16 bits; what exceeds full scale makes all of it quieter, so that nothing clips."""
    peak = max(1.0, float(np.abs(samples).max(initial=0.0)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframesraw((samples / peak * 32767).astype("<i2").tobytes())


def mixed(speech: np.ndarray, noise: np.ndarray, decibels: float) -> np.ndarray:
    """Speech with the loudest stretch of a noise of its length, so many decibels below the speech.

    The loudest: recordings of ESC-10 are padded with silence, which would be no noise.
    """
    noise = np.tile(noise, -(-len(speech) // len(noise)))
    energy = np.concatenate([[0.0], np.cumsum(noise.astype(np.float64) ** 2)])
    first = int(np.argmax(energy[len(speech) :] - energy[: -len(speech)]))
    part = noise[first : first + len(speech)]
    gain = np.sqrt(np.mean(speech**2) / np.mean(part**2)) * 10 ** (-decibels / 20)
    return (speech + gain * part).astype(np.float32)


def noisy(
    clips: Sequence[Clip], condition: str, fold: int, data: Path, folder: Path, decoder: Decoder
) -> list[Clip]:
    """The clips with noise of a fold of ESC-10, as WAV files in a folder; clean ones as they are.

    A clip has the same noise at all loudnesses.
    """
    decibels = NOISES[condition]
    if decibels is None:
        return list(clips)
    noises = [one for one in esc50.clips(data / "esc10").clips if esc50.fold(one) == fold]
    random = np.random.default_rng(fold)
    drawn = [noises[int(random.integers(len(noises)))] for _ in clips]
    found: list[Clip] = []
    for clip, noise in zip(clips, drawn, strict=True):
        path = folder / f"{condition.replace(' ', '')}-{fold}" / f"{clip.id.replace('/', '-')}.wav"
        if not path.exists():
            speech = sound_of(clip.path, decoder)
            write_wave(path, mixed(speech, sound_of(noise.path, decoder), decibels))
        found.append(replace(clip, path=str(path)))
    return found


def grid_words(data: Path) -> dict[str, list[SpokenWord]]:
    """The words of GRID's clips with their times, by name of the file without suffix."""
    found: dict[str, list[SpokenWord]] = {}
    for row in csv.DictReader((data / "grid" / "grid_s1.csv").read_text().splitlines()):
        units = [one.partition(":") for one in row["align_25kHz_units"].split()]
        times = [(word, *map(int, span.split("-"))) for span, _, word in units]
        found[Path(row["file"]).stem] = [
            SpokenWord(word, start / UNITS, end / UNITS)
            for word, start, end in times
            if word not in ("sil", "sp")
        ]
    return found


def espeak_clips(folder: Path) -> tuple[list[Clip], dict[str, list[SpokenWord]]]:
    """Sentences of the generated world, each in two voices, and their words.

    eSpeak gives no word times: a sentence's time is divided among its words by their letters.
    """
    clips: list[Clip] = []
    words: dict[str, list[SpokenWord]] = {}
    pause = np.zeros(round(SILENCE * WORLD_RATE), np.float32)
    for number, sentence in enumerate(PHRASES_MANY):
        for place, voice in enumerate(SPEAKERS):
            name = f"{number:02}-{place}"
            samples = spoken(sentence, voice)
            write_wave(
                folder / f"{name}.wav", 0.5 * np.concatenate([pause, samples, pause]), WORLD_RATE
            )
            clips.append(
                Clip(
                    id=name,
                    path=str(folder / f"{name}.wav"),
                    captions=(Caption(text=sentence, about="audio", source="speech"),),
                    audio_type="verbal",
                    split="test",
                )
            )
            words[name] = by_letters(sentence, SILENCE, len(samples) / WORLD_RATE)
    return clips, words


def by_letters(sentence: str, start: float, seconds: float) -> list[SpokenWord]:
    """The words of a sentence, each with as much of its time as it has letters."""
    words = sentence.split()
    ends = start + seconds * np.cumsum([len(word) for word in words]) / sum(map(len, words))
    starts = [start, *ends[:-1]]
    return [SpokenWord(*one) for one in zip(words, starts, ends.tolist(), strict=True)]
