"""The text on the screen of a media file, with its times; of a picture, its text."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trichord.media.decoder import Decoder
from trichord.media.plan import DecodePlan, FramePlan, Span
from trichord.media.probe import USABLE, Probe
from trichord.ocr.changes import CHANGED, ChangeDetector
from trichord.ocr.line_spans import LineSpans, ScreenText
from trichord.ocr.text_reader import TextLine, TextReader
from trichord.types.arrays import UInt8

Status = Literal["read", "without text", "without picture", "unusable"]
BLOCK = 16
"""Frames that are decoded at once: 44 MB at 1280 x 720."""
SIZE = 1280
"""Pixels of the longer side of a frame that is read, at most."""
CONFIDENCE = 0.8
"""Confidence below which a line is left out: of such lines, more than a third of the letters were wrong."""
LETTERS, AREA = 2, 0.25
"""A line of so few letters that covers so much of the frame is no text: the detector takes a quarter of
photographs without text for one letter."""
FORMAT = 1
"""To be raised by a change of the code after which the same frames give other spans."""
Note = Callable[[float, float], None]
"""Called with the second that is reached, and the seconds of the file."""


@dataclass(frozen=True, slots=True)
class ScreenTextOutcome:
    """What became of a file.

    Attributes:
        status: Whether there is text, or why not.
        texts: In order of start, then from top to bottom.
        remarks: What was left out or is wrong.
        frames: Frames that were looked at.
        changed: Those of them that were read; the others did not differ from the one before.
    """

    status: Status
    texts: tuple[ScreenText, ...] = ()
    remarks: tuple[str, ...] = ()
    frames: int = 0
    changed: int = 0


@dataclass(frozen=True, slots=True)
class _Frame:
    start: float
    end: float
    pixels: UInt8[np.ndarray, "height width 3"]


class _FrameError(Exception):
    """A part of a file cannot be decoded."""


class ScreenTextReader:
    """Reads the text on the screen of media files."""

    def __init__(
        self,
        decoder: Decoder,
        reader: TextReader,
        every: float = 1.0,
        *,
        confidence: float = CONFIDENCE,
        size: int = SIZE,
    ) -> None:
        """Choose how text is read.

        Args:
            decoder: Reads the files.
            reader: Reads the text of a frame.
            every: Seconds from one frame to the next.
            confidence: Lines below it are left out, and counted.
            size: Pixels of the longer side of a frame, at most.
        """
        self.decoder = decoder
        self.reader = reader
        self.every = every
        self.confidence = confidence
        self.size = size

    def identity(self, file: Path) -> dict[str, Any]:
        """What the text of a file depends on: the file, the reader, the options."""
        status = file.stat()
        name = file.name.encode("utf-8", "backslashreplace").decode()
        return {
            "file": [name, status.st_size, status.st_mtime_ns],
            "reader": self.reader.fingerprint,
            "every": self.every,
            "confidence": self.confidence,
            "size": self.size,
            "changed": CHANGED,
            "format": FORMAT,
        }

    def read(self, file: Path, note: Note = lambda at, of: None) -> ScreenTextOutcome:
        """The text of a file.

        Args:
            file: A video or a picture.
            note: Is told of progress.
        """
        probe = self.decoder.probe(file)
        if probe.status not in USABLE:
            return ScreenTextOutcome("unusable", remarks=(probe.label,))
        if probe.video is None:
            return ScreenTextOutcome("without picture")
        remarks = [probe.label] if probe.status == "cut_off" else []
        spans, changes = LineSpans(), ChangeDetector()
        frames = changed = doubtful = 0
        try:
            for frame in self._frames(file, probe):
                frames += 1
                if not changes.changed(frame.pixels):
                    spans.extend(frame.end)
                else:
                    changed += 1
                    lines = self.reader.read(frame.pixels)
                    sure = [one for one in lines if self._is_sure(one)]
                    doubtful += len(lines) - len(sure)
                    spans.add(sure, frame.start, frame.end)
                note(frame.end, probe.duration or 0.0)
        except _FrameError as error:
            remarks.append(str(error))
            if not frames:
                return ScreenTextOutcome("unusable", remarks=tuple(dict.fromkeys(remarks)))
        if doubtful:
            remarks.append(f"uncertain readings of lines left out: {doubtful}")
        texts = spans.all()
        return ScreenTextOutcome(
            "read" if texts else "without text",
            texts,
            tuple(dict.fromkeys(remarks)),
            frames,
            changed,
        )

    def _is_sure(self, line: TextLine) -> bool:
        left, top, right, bottom = line.box
        whole = len(line.text) <= LETTERS and (right - left) * (bottom - top) > AREA
        return line.confidence >= self.confidence and not whole

    def _frames(self, file: Path, probe: Probe) -> Iterator[_Frame]:
        """The frames of a file, a block at a time, each with the times that it stands for.

        Raises:
            _FrameError: A block cannot be decoded; names the second.
        """
        duration = probe.duration or 0.0
        plan = DecodePlan(frames=self._plan(probe))
        assert plan.frames is not None
        for span in _blocks(duration, BLOCK * self.every):
            decoded = self.decoder.decode(file, [span], plan)[0]
            if decoded.status not in USABLE or decoded.frames is None:
                raise _FrameError(f"not read from second {span[0]:.0f} on: {decoded.label}")
            times = plan.frames.times(decoded.start, decoded.end)
            for time, pixels in zip(times, decoded.frames, strict=True):
                start, end = time - self.every / 2, time + self.every / 2
                yield _Frame(max(0.0, start), min(end, duration), pixels)
            # Of a file that is cut off, blocks before its end have that status, too.
            if decoded.status == "cut_off" and decoded.end < (span[1] or 0.0):
                raise _FrameError(f"not read from second {decoded.end:.0f} on: {decoded.label}")

    def _plan(self, probe: Probe) -> FramePlan:
        """Frames in their own shape, and large enough for small text."""
        assert probe.video is not None
        sized = DecodePlan(frames=None, preview=self.size)
        return replace(
            sized.preview_frames(probe.video.width, probe.video.height),
            per_second=1 / self.every,
            count=BLOCK,
        )


def _blocks(duration: float, length: float) -> Iterator[Span]:
    """Spans that are decoded one after another; a picture is one."""
    if not duration:
        yield 0.0, None
    for number in range(math.ceil(duration / length)):
        yield number * length, min((number + 1) * length, duration)
