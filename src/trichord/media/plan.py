"""What to take out of a media file, and what that may cost."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Span = tuple[float, float | None]
"""Start and end in seconds from the file's start; an end of None is the file's end."""
FrameChoice = Literal["exact", "keyframe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePlan:
    """Which frames of a span, and how large.

    `rate`: `per_second` frames a second at the centres of equal bins, at most `count` of them, then
    chosen evenly among them. `uniform`: exactly `count` frames at the centres of equal bins.
    `short_side`: frames come with this short side (bicubic; the long side is
    `int(short_side * long / short)`, as CLIP's image processor has it); None leaves their size.
    `nearest`: the frame shown at that time (`exact`), or the last keyframe at or before it, decoding
    nothing else (`keyframe`): for archives, where what stands a few seconds earlier does as well.
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
        """Its fields, as prepared features are known by; `nearest` only where it is not `exact`."""
        fields = asdict(self)
        if self.nearest == "exact":  # features from before there was a choice stay valid
            del fields["nearest"]
        return fields

    def times(self, start: float, end: float) -> tuple[float, ...]:
        """Seconds at which the span [start, end) is looked at, in order; at least one."""
        length = max(0.0, end - start)
        if self.rule == "uniform":
            return tuple(start + length * (i + 0.5) / self.count for i in range(self.count))
        bins = math.floor(length * self.per_second + 0.5)  # centres that lie inside the span
        if bins < 1:
            return (start + length / 2,)
        kept = min(bins, self.count)
        # The middle one of each of `kept` equal parts, in whole numbers.
        chosen = (bins * (2 * i + 1) // (2 * kept) for i in range(kept))
        return tuple(start + (i + 0.5) / self.per_second for i in chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodePlan:
    """The frames wanted of each span (None: no picture) and the sound wanted, at each of `rates`.

    `stereo`: left and right instead of the mean of all channels. `audio_seconds`: at most so many
    seconds of sound, from the middle of a longer span; nothing else of its sound is decoded.
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
        """How many seconds of sound are taken of the span [start, end)."""
        length = end - start
        return length if self.audio_seconds is None else min(length, self.audio_seconds)

    def audio_span(self, start: float, end: float) -> tuple[float, float]:
        """Start and end, in seconds, of the sound that is taken of the span [start, end)."""
        length = self.audio_length(start, end)
        # `begin + length` could differ from `end` in the last bit.
        if length >= end - start:
            return start, end
        begin = (start + end) / 2 - length / 2
        return begin, begin + length


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one file may cost before it is given up as `timeout` or `too_big`.

    `memory_bytes` bounds the child's address space, without the memory over which it hands arrays to
    its parent; `pixels` one picture, stored or handed out; `seconds` how long a file may say that it
    is, a week by default.
    """

    wall_seconds: float = 120.0
    cpu_seconds: float = 120.0
    memory_bytes: int = 2 * 1024**3
    # 8K of digital cinema.
    pixels: int = 8192 * 4320
    streams: int = 64
    seconds: float = 7 * 86_400.0
    # No limit, for size says little of the cost: spans of ten hours are read in a few megabytes.
    file_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Spans of one file to decode by one plan, in one pass over the file."""

    path: str | Path
    spans: Sequence[Span] = ((0.0, None),)
    plan: DecodePlan

    def __post_init__(self) -> None:
        for start, end in self.spans:
            if not math.isfinite(start) or (end is not None and not start < end < math.inf):
                raise ValueError(f"A span's end comes after its start: ({start}, {end}).")
