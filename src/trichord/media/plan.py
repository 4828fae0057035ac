"""What to decode from a media file, and limits on the cost."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Span = tuple[float, float | None]
"""Start and end in seconds from the start of the file; end None: the end of the file."""
FrameChoice = Literal["exact", "keyframe"]
Resample = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
"""Pillow's filters."""


LATER = {
    "nearest": "exact",
    "size": None,
    "patches": None,
    "rounding": "up",
    "resample": "bicubic",
}
"""Fields of a frame plan that its first version lacked, and what they were then."""
STEP = 1e-5
"""Precision of the scale that NaFlex searches for: another one would choose other sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePlan:
    """Which frames of a span, and how large.

    `rate`: `per_second` frames a second at the centres of equal bins; if these are more than `count`,
    `count` of them, evenly spaced. `uniform`: exactly `count` frames at the centres of equal bins.
    `short_side`: frames are resized to this short side (the long side is
    `int(short_side * long / short)`, as in CLIP's image processor); None keeps their size.
    `size`: frames are squeezed to this height and width instead, without a crop (SigLIP).
    `patches`: frames are resized, near their own shape, to at most so many square patches of so many
    pixels, (pixels, count); `rounding` of their sides up (SigLIP 2 NaFlex) or down (Gemma).
    `resample`: Pillow's filter.
    `nearest`: the frame shown at that time (`exact`), or the last keyframe at or before it
    (`keyframe`), which decodes keyframes alone: for archives, where a few seconds earlier is enough.
    """

    rule: Literal["rate", "uniform"] = "rate"
    per_second: float = 1.0
    count: int = 64
    short_side: int | None = 224
    nearest: FrameChoice = "exact"
    size: tuple[int, int] | None = None
    patches: tuple[int, int] | None = None
    rounding: Literal["up", "down"] = "up"
    resample: Resample = "bicubic"

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.per_second < math.inf:
            raise ValueError("A frame plan needs count >= 1 and a finite per_second > 0.")
        if self.short_side is not None and self.short_side < 1:
            raise ValueError("A frame plan's short_side is at least 1, or None.")
        given = [one for one in (self.short_side, self.size, self.patches) if one is not None]
        if len(given) > 1:
            raise ValueError("A frame plan has one of short_side, size and patches.")
        if min((*(self.size or ()), *(self.patches or ()), 1)) < 1:
            raise ValueError("A frame plan's size and patches are at least 1.")

    def described(self) -> dict[str, object]:
        """Its fields, for fingerprints of features; later ones only if they are not the default."""
        fields = asdict(self)
        for name, usual in LATER.items():  # keeps features valid that are older than these fields
            if fields[name] == usual:
                del fields[name]
        return fields

    def target_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to which a frame of this size is resized."""
        if self.size is not None:
            return self.size[1], self.size[0]
        if self.patches is not None:
            within = _within_patches if self.rounding == "up" else _within_whole_patches
            return within(width, height, *self.patches)
        if self.short_side is None:
            return width, height
        long_side = int(self.short_side * max(width, height) / min(width, height))
        sides = (self.short_side, long_side)
        return sides if width <= height else (sides[1], sides[0])

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


def _within_patches(width: int, height: int, patch: int, most: int) -> tuple[int, int]:
    """The largest size of whole patches that keeps the shape, as SigLIP 2's processor finds it.

    The number of patches does not fall when the scale grows, so that halving finds the largest one.
    """

    def scaled(scale: float) -> tuple[int, int]:
        wide, high = (
            max(patch, math.ceil(side * scale / patch) * patch) for side in (width, height)
        )
        return wide, high

    low, high = STEP / 10, 100.0
    while high - low >= STEP:
        scale = (low + high) / 2
        wide, tall = scaled(scale)
        if (wide // patch) * (tall // patch) <= most:
            low = scale
        else:
            high = scale
    return scaled(low)


def _within_whole_patches(width: int, height: int, patch: int, most: int) -> tuple[int, int]:
    """As large as `most` patches allow, both sides rounded down, as Gemma 4's processor does it."""
    scale = math.sqrt(most * patch**2 / (height * width))
    high, wide = (math.floor(scale * side / patch) for side in (height, width))
    if not high:  # a strip: one patch high, however much that changes its shape
        high, wide = 1, min(width // height, most)
    elif not wide:
        high, wide = min(height // width, most), 1
    return wide * patch, high * patch


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodePlan:
    """Which frames of each span (None: no video), and at which sample rates its audio.

    `stereo`: left and right instead of mono. `audio_seconds`: at most so many
    seconds of audio, from the middle of a longer span; the rest of its audio is not decoded.
    `audio_track`: number from 1 or language of the audio track, where a file has one such; empty: the first
    that is not silent.
    `preview`: of the frames, the one nearest to the middle of the span also at a size for people, its
    longer side at most so many pixels; None: no preview.
    """

    frames: FramePlan | None
    rates: tuple[int, ...] = ()
    stereo: bool = False
    audio_seconds: float | None = None
    audio_track: str = ""
    preview: int | None = None

    def __post_init__(self) -> None:
        if any(rate < 1 for rate in self.rates) or len(set(self.rates)) != len(self.rates):
            raise ValueError("Sample rates are positive and differ from one another.")
        if self.audio_seconds is not None and not 0 < self.audio_seconds < math.inf:
            raise ValueError("A decode plan's audio_seconds is finite and > 0, or None.")
        if self.preview is not None and self.preview < 1:
            raise ValueError("A decode plan's preview is at least 1, or None.")

    def preview_frames(self, width: int, height: int) -> FramePlan:
        """The size of the preview of a frame of this size, which is never enlarged."""
        scale = min(1.0, (self.preview or 1) / max(width, height))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        return FramePlan(short_side=None, size=size)

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

    `memory_bytes` limits the address space of the child; `pixels` a frame of video, and a picture that
    is returned; `still_pixels` an image as stored: one of more than `pixels` is reduced by a whole
    number. `seconds` is the declared duration of a file, a week by default.
    """

    wall_seconds: float = 120.0
    cpu_seconds: float = 120.0
    memory_bytes: int = 2 * 1024**3
    # 8K of digital cinema.
    pixels: int = 8192 * 4320
    # The largest sensors of phones have 200 million.
    still_pixels: int = 16384 * 12288
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
