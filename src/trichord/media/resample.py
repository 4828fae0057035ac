"""Resampling of audio."""

import math

import numpy as np

from trichord.media.channels import Mono, Samples

FILTER_SECONDS = 0.02
"""Reach of the filter on either side at most; it is 16 samples of the lower rate."""
CHUNK = 1 << 18


def context_samples(source: int, target: int) -> int:
    """Samples to keep on either side of a span, a number that gives whole output samples."""
    if source == target:
        return 0
    # From 44.1 to 48 kHz, 147 samples become 160: only multiples of these are whole on both sides.
    unit = source // math.gcd(source, target)
    return math.ceil(FILTER_SECONDS * source / unit) * unit


def resample(samples: Samples, source: int, target: int, context: int, count: int) -> Samples:
    """The `count` output samples of each channel, from input sample `context` on.

    Deterministic and a function of these samples alone; channels are independent.
    """
    # `context` is the maximum over all rates; this one may need less.
    skip = context_samples(source, target)
    out = np.zeros((len(samples), count), np.float32)
    for row, channel in zip(out, samples, strict=True):
        moved = channel[context - skip :]
        if source != target:
            moved = _converted(moved, source, target)[skip * target // source :]
        row[: len(moved)] = moved[:count]
    return out


def _converted(samples: Mono, source: int, target: int) -> Mono:
    from av import AudioFrame, AudioResampler

    converter = AudioResampler(format="fltp", layout="mono", rate=target)
    out: list[Mono] = []
    for start in range(0, len(samples), CHUNK):
        piece = np.ascontiguousarray(samples[None, start : start + CHUNK])
        frame = AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        frame.sample_rate = source
        out += [part.to_ndarray()[0] for part in converter.resample(frame)]
    # None flushes the end, which the filter still holds back.
    out += [part.to_ndarray()[0] for part in converter.resample(None)] if out else []
    return np.concatenate(out) if out else np.zeros(0, np.float32)
