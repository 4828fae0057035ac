"""Lines of consecutive frames as spans: each text once, with its times."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trichord.ocr.text_reader import Box, TextLine

SHARED = 0.5
"""Of the smaller of two boxes, the part that they share if they are in one place."""
LETTERS_PER_ERROR = 8
"""Two readings of one line differ by at most one letter in so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenText:
    """A line of text on the screen.

    Attributes:
        start: Seconds; 0 in a picture.
        end: Seconds; 0 in a picture.
        text: The reading with the best confidence.
        confidence: Of that reading, from 0 to 1.
        box: Of that reading.
    """

    start: float
    end: float
    text: str
    confidence: float
    box: Box


@dataclass(slots=True)
class _OpenLine:
    best: ScreenText
    last: TextLine


class LineSpans:
    """Joins readings of one line in consecutive frames."""

    def __init__(self) -> None:
        self._open: list[_OpenLine] = []
        self._closed: list[ScreenText] = []

    def extend(self, end: float) -> None:
        """Take a frame that did not change: its lines are still there at `end`."""
        for one in self._open:
            one.best = replace(one.best, end=end)

    def add(self, lines: Sequence[TextLine], start: float, end: float) -> None:
        """Take the lines of the next frame, which is shown from `start` to `end`."""
        before, self._open = self._open, []
        for line in lines:
            same = max(before, key=lambda one: _sameness(one.last, line), default=None)
            fresh = ScreenText(
                start=start, end=end, text=line.text, confidence=line.confidence, box=line.box
            )
            if same is None or not _sameness(same.last, line):
                self._open.append(_OpenLine(fresh, line))
                continue
            before.remove(same)
            better = fresh if fresh.confidence > same.best.confidence else same.best
            self._open.append(_OpenLine(replace(better, start=same.best.start, end=end), line))
        self._closed += [one.best for one in before]

    def all(self) -> tuple[ScreenText, ...]:
        """All spans, in order of start, then from top to bottom."""
        found = [*self._closed, *(one.best for one in self._open)]
        return tuple(sorted(found, key=lambda one: (one.start, one.box.top, one.box.left)))


def _sameness(one: TextLine, other: TextLine) -> float:
    """0 if two readings are not of one line; more, the more of their boxes is shared."""
    shared = _shared(one.box, other.box)
    if _plain(one.text) == _plain(other.text):
        return 1 + shared  # it may have moved, as credits do
    return shared if shared >= SHARED and _alike(_plain(one.text), _plain(other.text)) else 0.0


def _plain(text: str) -> str:
    """A text without what readings of one line often differ in: spaces, case and punctuation."""
    folded = "".join(text.casefold().split())
    return "".join(filter(str.isalnum, folded)) or folded


def _alike(one: str, other: str) -> bool:
    """Whether texts differ by a few letters at most, and in no digit: 'Part 1' is not 'Part 2'."""
    digits = [[c for c in text if c.isdigit()] for text in (one, other)]
    most = max(len(one), len(other)) // LETTERS_PER_ERROR
    return digits[0] == digits[1] and edit_distance(one, other, most) <= most


def edit_distance(one: str, other: str, most: int) -> int:
    """Levenshtein's distance of two texts, if it is at most `most`; else a number above that."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, start=1):
        above, row = row, [number]
        for at, another in enumerate(other, start=1):
            row.append(min(above[at] + 1, row[-1] + 1, above[at - 1] + (letter != another)))
        if min(row) > most:
            return most + 1
    return row[-1]


def _shared(one: Box, other: Box) -> float:
    """The part of the smaller box that lies in the other one."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    if width <= 0 or height <= 0:
        return 0.0
    smaller = min((b.right - b.left) * (b.bottom - b.top) for b in (one, other))
    return width * height / smaller
