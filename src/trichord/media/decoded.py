"""A decoded span: frames and audio as arrays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trichord.media.plan import Span
from trichord.media.probe import Status


def samples_in(seconds: float, rate: int) -> int:
    """Number of samples of a span at a sample rate: rounded, halves up."""
    # `round` rounds halves to even.
    return math.floor(seconds * rate + 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """One span of a file as arrays.

    `start`, `end`: seconds of the span, cut to the file. `frames`: uint8 (n, height, width, 3),
    RGB, upright; None without video, or if the plan has no frames. `times`: float64 (n,), the second
    at which each frame is first shown. `preview`: uint8 (height, width, 3), as the plan asks for it.

    `audio`: sample rate → float32 (samples,), mono: the mean of two channels, or of left and right
    of 5.1 and the like. A stereo plan gives (channel, samples): one row for a mono track,
    left and right for two channels, and left and right as FFmpeg mixes them for more (centre and
    surround at -3 dB, no low-frequency channel). There are exactly
    `samples_in(plan.audio_length(start, end), rate)` samples from `audio_start` on, which is `start`
    unless the plan's `audio_seconds` takes the middle of the span. Where the track starts later or
    ends earlier, samples are 0. An empty dict: no usable audio, a track of zeros included.
    """

    status: Status
    reason: str = ""
    start: float = 0.0
    end: float = 0.0
    audio_start: float = 0.0
    frames: NDArray[np.uint8] | None = None
    times: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    preview: NDArray[np.uint8] | None = None
    audio: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The status, with the reason if there is one: `corrupt: empty file`."""
        return f"{self.status}: {self.reason}" if self.reason else self.status


def split_spans(
    spans: Sequence[Span], duration: float
) -> tuple[dict[int, tuple[float, float]], dict[int, Decoded]]:
    """Spans cut to a file of this duration, and refusals of those outside it, both by number."""
    inside: dict[int, tuple[float, float]] = {}
    outside: dict[int, Decoded] = {}
    for number, (start, end) in enumerate(spans):
        stop = duration if end is None else min(end, duration)
        # A file with one frame may have length 0; a span from its start has that frame.
        if (start >= duration or stop <= 0) and (start, duration) != (0, 0):
            reason = f"span outside the file, which is {duration:.3f} s long"
            outside[number] = Decoded(status="corrupt", reason=reason, start=start, end=stop)
        else:
            inside[number] = (max(0.0, start), stop)
    return inside, outside


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeWork:
    """Cost of one pass: decoded frames, decoded seconds of audio, seeks, bytes read."""

    frames: int = 0
    audio_seconds: float = 0.0
    seeks: int = 0
    bytes_read: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """What was written: its span in seconds of the source, and whether it was encoded again.

    If the status is not `ok`, nothing was written.
    """

    status: Status = "ok"
    reason: str = ""
    start: float = 0.0
    end: float = 0.0
    encoded: bool = False
