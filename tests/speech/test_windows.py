"""Long sound in windows: no word lost or doubled at a seam, and the same words after an interruption."""

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from trichord.speech.pocketsphinx import PocketSphinx
from trichord.speech.recogniser import RecogniserOptions
from trichord.speech.transcript import Word
from trichord.speech.voice import SpeechDetector, voiced_spans
from trichord.speech.windows import Lengths, WindowedRecogniser, WindowProgress, join, windows_of

SHORT = Lengths(block=16.0, window=7.0, overlap=3.0)


def said(words):
    return [one.text for one in words]


def covered(word, others):
    """The share of a word's time in which others are."""
    shared = sum(max(0.0, min(word.end, o.end) - max(word.start, o.start)) for o in others)
    return shared / (word.end - word.start)


@pytest.mark.parametrize("seed", range(20))
def test_windows_that_hear_the_same_words_join_to_them(seed):
    draw = random.Random(seed)
    words, at = [], 0.0
    for _ in range(100):
        at += draw.choice((0.0, 0.0, 0.02, 0.5))
        end = at + draw.uniform(0.08, 0.6)
        words.append(Word(text=draw.choice("abc"), start=at, end=end))
        at = end
    joined, reached = [], 0.0
    for start, end in windows_of([(0.0, at)], SHORT):
        # Each window times words a little differently, and hears no word that it cuts.
        heard = [
            replace(
                one,
                start=one.start + draw.uniform(-0.03, 0.03),
                end=one.end + draw.uniform(-0.03, 0.03),
            )
            for one in words
            if one.start >= start and one.end <= end
        ]
        joined = list(join(joined, heard, start, reached))
        reached = end
    assert said(joined) == said(words)


def test_windows_that_hear_different_words_meet_in_the_middle():
    before = [Word(text="a", start=0.0, end=1.0), Word(text="b", start=2.0, end=3.0)]
    after = [Word(text="x", start=0.1, end=0.9), Word(text="y", start=2.1, end=2.9)]
    assert said(join(before, after, 0.0, 3.0)) == ["a", "y"]
    assert said(join(before, after, 3.0, 3.0)) == ["a", "b", "x", "y"]


def test_a_long_stretch_is_cut_into_windows_of_equal_length_that_overlap():
    spans = list(windows_of([(0.0, 5.0), (6.0, 40.0)], SHORT))
    assert spans[0] == (0.0, 5.0)
    assert spans[1][0] == 6.0
    assert spans[-1][1] == 40.0
    assert len({round(b - a, 6) for a, b in spans[1:]}) == 1
    assert max(b - a for a, b in spans) <= 7.0
    shared = {round(a[1] - b[0], 6) for a, b in pairwise(spans[1:])}
    assert shared == {3.0}


def test_lengths_that_leave_no_sound_are_refused():
    with pytest.raises(ValueError, match="half a window"):
        Lengths(window=8.0, overlap=4.0)


def test_a_stretch_of_voice_bridges_short_pauses_and_brief_sounds_are_counted():
    steps = np.zeros(200, np.float32)
    steps[20:30] = steps[36:50] = 0.95  # 0.19 s between them
    steps[120:128] = 0.95
    steps[180:] = 0.6
    spans, brief = voiced_spans(steps)
    assert spans == [(pytest.approx(20 * 0.032 - 0.2), pytest.approx(50 * 0.032 + 0.2))]
    assert brief == 2


@pytest.fixture(scope="module")
def whole(grid_words):
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("onnxruntime")
    recogniser = PocketSphinx(RecogniserOptions(vocabulary=grid_words))
    return lambda lengths: WindowedRecogniser(recogniser, SpeechDetector(), lengths)


def recognised(windows, sound, progress=None, stop=None):
    """WindowProgress after each block, and where two windows overlap."""
    seams, steps = [], []
    plain = windows._window

    def window(part, start, end, before):
        if start < before.reached:
            seams.append((start, before.reached))
        return plain(part, start, end, before)

    windows._window = window

    def read(start, end):
        return sound[round(start * 16_000) : round(end * 16_000)]

    for step in windows.steps(read, len(sound) / 16_000, progress or WindowProgress()):
        steps.append(step)
        if len(steps) == stop:
            break
    return steps, seams


@pytest.fixture(scope="module")
def in_windows(whole, sentences):
    return recognised(whole(SHORT), sentences)


def test_speech_without_a_pause_loses_and_doubles_no_word_at_a_seam(whole, in_windows, sentences):
    uncut = Lengths(block=1000.0, window=400.0, overlap=4.0)
    [full], _ = recognised(whole(uncut), sentences)
    steps, seams = in_windows
    words = steps[-1].words
    assert len(seams) >= 3

    def near(word):
        return any(start - 0.5 < word.start < end + 0.5 for start, end in seams)

    assert [one for one in full.words if near(one) and covered(one, words) < 0.5] == []
    assert [one for one in words if near(one) and covered(one, full.words) < 0.5] == []
    assert [(a, b) for a, b in pairwise(words) if b.start < a.end - 0.1] == []


def test_recognition_goes_on_where_it_stopped_with_the_same_words(whole, in_windows, sentences):
    steps, _ = in_windows
    [first], _ = recognised(whole(SHORT), sentences, stop=1)
    assert first == steps[0]
    rest, _ = recognised(whole(SHORT), sentences, first)
    assert rest == steps[1:]
    assert rest
