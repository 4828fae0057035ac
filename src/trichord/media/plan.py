"""What to decode from a media file, and limits on the cost."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Span = tuple[float, float | None]
"""Start and end in seconds from the start of the file; end None: the end of the file."""
FrameChoice = Literal["exact", "keyframe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePlan:
    """Which frames of a span, and how large.

    `rate`: `per_second` frames a second at the centres of equal bins; if these are more than `count`,
    `count` of them, evenly spaced. `uniform`: exactly `count` frames at the centres of equal bins.
    `short_side`: frames are resized to this short side (bicubic; the long side is
    `int(short_side * long / short)`, as in CLIP's image processor); None keeps their size.
    `nearest`: the frame shown at that time (`exact`), or the last keyframe at or before it
    (`keyframe`), which decodes keyframes alone: for archives, where a few seconds earlier is enough.
    """

    rule: Literal["rate", "uniform"] = "rate"
    per_second: float = 1.0
    count: int = 64
    short_side: int | None = 224
    nearest: FrameChoice = "exact"

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.per_second < math.inf:
            raise ValueError("A frame plan needs count >= 1 and a finite per_second > 0.")
        if self.short_side is not None and self.short_side < 1:
            raise ValueError("A frame plan's short_side is at least 1, or None.")

    def described(self) -> dict[str, object]:
        """Its fields, for fingerprints of features; `nearest` only if it is not `exact`."""
        fields = asdict(self)
        if self.nearest == "exact":  # keeps features valid that are older than this field
            del fields["nearest"]
        return fields

    def times(self, start: float, end: float) -> tuple[float, ...]:
        """Times of frames in the span [start, end), in order; at least one."""
        length = max(0.0, end - start)
        if self.rule == "uniform":
            return tuple(start + length * (i + 0.5) / self.count for i in range(self.count))
        bins = math.floor(length * self.per_second + 0.5)  # centres that lie inside the span
        if bins < 1:
            return (start + length / 2,)
        count = min(bins, self.count)
        # The middle bin of each of `count` equal parts, in integer arithmetic.
        bins_taken = (bins * (2 * i + 1) // (2 * count) for i in range(count))
        return tuple(start + (i + 0.5) / self.per_second for i in bins_taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodePlan:
    """Which frames of each span (None: no video), and at which sample rates its audio.

    `stereo`: left and right instead of the mean of all channels. `audio_seconds`: at most so many
    seconds of audio, from the middle of a longer span; the rest of its audio is not decoded.
    """

    frames: FramePlan | None
    rates: tuple[int, ...] = ()
    stereo: bool = False
    audio_seconds: float | None = None

    def __post_init__(self) -> None:
        if any(rate < 1 for rate in self.rates) or len(set(self.rates)) != len(self.rates):
            raise ValueError("Sample rates are positive and differ from one another.")
        if self.audio_seconds is not None and not 0 < self.audio_seconds < math.inf:
            raise ValueError("A decode plan's audio_seconds is finite and > 0, or None.")

    def audio_length(self, start: float, end: float) -> float:
        """Seconds of audio that are decoded of the span [start, end)."""
        length = end - start
        return length if self.audio_seconds is None else min(length, self.audio_seconds)

    def audio_span(self, start: float, end: float) -> tuple[float, float]:
        """Start and end, in seconds, of the audio that is decoded of the span [start, end)."""
        length = self.audio_length(start, end)
        # `begin + length` could differ from `end` in the last bit.
        if length >= end - start:
            return start, end
        begin = (start + end) / 2 - length / 2
        return begin, begin + length


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one file may cost before it is refused as `timeout` or `too_big`.

    `memory_bytes` limits the address space of the child; `pixels` one picture, stored or resized;
    `seconds` the declared duration of a file, a week by default.
    """

    wall_seconds: float = 120.0
    cpu_seconds: float = 120.0
    memory_bytes: int = 2 * 1024**3
    # 8K of digital cinema.
    pixels: int = 8192 * 4320
    streams: int = 64
    seconds: float = 7 * 86_400.0
    # No limit, because size says little about cost: spans of ten hours need a few megabytes of memory.
    file_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRequest:
    """Spans of one file to decode by one plan, in one pass over the file."""

    path: str | Path
    spans: Sequence[Span] = ((0.0, None),)
    plan: DecodePlan

    def __post_init__(self) -> None:
        for start, end in self.spans:
            if not math.isfinite(start) or (end is not None and not start < end < math.inf):
                raise ValueError(f"A span's end comes after its start: ({start}, {end}).")
