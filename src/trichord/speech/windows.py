"""Long sound in blocks and overlapping windows, whose words are joined without loss or doubling."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trichord.speech.recogniser import RATE, Recogniser
from trichord.speech.transcript import Word
from trichord.speech.voice import SpeechDetector, voiced_spans
from trichord.types.arrays import Float

BLOCK = 120.0
"""Seconds that are decoded at once, 8 MB: what memory and an interruption can cost."""
WINDOW = 28.0
"""Seconds of a window at most; Whisper reads 30."""
OVERLAP = 5.0
"""Seconds that a window shares with the one before, where somebody speaks without a pause."""
Read = Callable[[float, float], Float[np.ndarray, " sample"]]
"""Samples of a file from a second to another."""


@dataclass(frozen=True, slots=True)
class WindowProgress:
    """How far a file is recognised; it decides all that follows, so that a file can be continued.

    Attributes:
        position: Second at which the next block starts.
        reached: End of the last window.
        voice: Seconds of voice so far.
        brief: Number of sounds like a voice that were too short to be recognised.
        language: Empty until it is detected.
        words: In order of time.
    """

    position: float = 0.0
    reached: float = 0.0
    voice: float = 0.0
    brief: int = 0
    language: str = ""
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Seconds of blocks, windows and their overlap."""

    block: float = BLOCK
    window: float = WINDOW
    overlap: float = OVERLAP

    def __post_init__(self) -> None:
        if not 0 < self.overlap < self.window / 2 < self.block / 2:
            raise ValueError("An overlap is shorter than half a window, and that than a block.")


class WindowedRecogniser:
    """Recognises the voiced stretches of a sound of any length, with a fixed amount of memory."""

    def __init__(
        self,
        recogniser: Recogniser,
        detector: SpeechDetector,
        lengths: Lengths | None = None,
    ) -> None:
        self.recogniser = recogniser
        self.detector = detector
        self.lengths = lengths or Lengths()

    def steps(
        self, read: Read, duration: float, progress: WindowProgress
    ) -> Iterator[WindowProgress]:
        """WindowProgress after each block, to the end of the sound.

        Args:
            read: Gives the samples.
            duration: Seconds of the sound.
            progress: Where to go on.
        """
        while progress.position < duration:
            progress = self._block(read, duration, progress)
            yield progress

    def _block(self, read: Read, duration: float, progress: WindowProgress) -> WindowProgress:
        begin = progress.position
        end = min(begin + self.lengths.block, duration)
        samples = read(begin, end)
        spans, brief = voiced_spans(self.detector.probabilities(samples))
        spans = [(begin + start, min(end, begin + stop)) for start, stop in spans]
        position = end
        if end < duration and spans and spans[-1][1] >= end - 0.5:
            # The last stretch goes on in the next block: it is left to that, or, if it is long, its
            # windows are continued there.
            start, stop = spans[-1]
            if start > begin and stop - start <= self.lengths.window:
                position = spans.pop()[0]
            else:
                spans[-1] = (start, end)
                position = end - self.lengths.overlap
        for start, stop in windows_of(spans, self.lengths):
            part = samples[round((start - begin) * RATE) : round((stop - begin) * RATE)]
            progress = self._window(part, start, stop, progress)
        return replace(progress, position=position, brief=progress.brief + brief)

    def _window(
        self,
        samples: Float[np.ndarray, " sample"],
        start: float,
        stop: float,
        progress: WindowProgress,
    ) -> WindowProgress:
        language = progress.language or self.recogniser.detect_language(samples)
        heard = [
            replace(one, start=round(one.start + start, 3), end=round(one.end + start, 3))
            for one in self.recogniser.recognise(samples, language)
        ]
        return replace(
            progress,
            reached=max(stop, progress.reached),
            voice=progress.voice + max(0.0, stop - max(start, progress.reached)),
            language=language,
            words=tuple(join(progress.words, heard, start, progress.reached)),
        )


def windows_of(
    spans: Sequence[tuple[float, float]], lengths: Lengths
) -> Iterator[tuple[float, float]]:
    """Stretches of voice as windows; a long one is cut into windows of equal length that overlap."""
    for start, end in spans:
        hop = lengths.window - lengths.overlap
        count = max(1, int(np.ceil((end - start - lengths.overlap) / hop)))
        # Equal lengths, so that the last one is not too short to be recognised well.
        step = (end - start - lengths.overlap) / count if count > 1 else 0.0
        for number in range(count):
            first = start + number * step
            yield first, end if number == count - 1 else first + step + lengths.overlap


def join(before: Sequence[Word], after: Sequence[Word], start: float, end: float) -> Iterator[Word]:
    """The words of a window joined to those before it, where both have heard the time between.

    The seam is a word that both have at the same time, as near to the middle as possible: there, both
    have heard what comes before and after. Without such a word it is the middle.

    Args:
        before: Words so far.
        after: Words of the window.
        start: Where the window starts.
        end: Where the windows before end.
    """
    if end <= start:
        yield from (*before, *after)
        return
    middle = (start + end) / 2
    shared = [word for word in before if word.end > start]
    pairs = [
        (abs((one.start + one.end) / 2 - middle), one, other)
        for one in shared
        for other in after
        if one.text == other.text and _together(one, other)
    ]
    if pairs:
        _, last, twin = min(pairs, key=lambda pair: pair[0])
        yield from (word for word in before if word.start <= last.start)
        yield from (word for word in after if word.start > twin.start)
        return
    kept = [word for word in before if (word.start + word.end) / 2 < middle]
    reached = kept[-1].end if kept else start
    yield from kept
    # A word that both have across the middle, heard differently, is one word.
    yield from (
        word
        for word in after
        if (word.start + word.end) / 2 >= middle and (word.start + word.end) / 2 >= reached
    )


def _together(one: Word, other: Word) -> bool:
    """Whether two words share more than half of the longer one's time."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared > max(one.end - one.start, other.end - other.start) / 2
