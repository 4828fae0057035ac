"""The channels of a decoded frame: their mean, or left and right; float32 at full scale 1."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trichord.media.failure import MediaError
from trichord.media.media_file import Frame

Samples = NDArray[np.float32]
"""(channel, sample); one channel is mono, two are left and right."""
Mono = NDArray[np.float32]
FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31}
# FFmpeg's AV_NUM_DATA_POINTERS.
PLANES = 8
"""Planes in an FFmpeg frame's fixed list: of so many or more, PyAV reads past the list's end."""


def samples_of(frame: Frame, rows: int) -> Samples:
    """A frame as one row (the mean of its channels) or as two (left and right)."""
    return mono_of(frame)[None] if rows == 1 else _left_and_right_of(frame)


class SampleRun:
    """Frames that follow one another, turned into samples together: singly costs as much as decoding."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.length = 0
        self.queues: list[Any] = []

    def add(self, frame: Frame) -> None:
        """Append a frame, whose time stamp is lost: a queue would insist on exact ones."""
        frame.pts = None
        self.length += frame.samples
        try:
            self.queues[-1].write(frame)
        except (IndexError, ValueError):  # the first one, or of other channels than those before
            from av import AudioFifo

            self.queues.append(AudioFifo())
            self.queues[-1].write(frame)

    def take(self) -> Samples:
        """All samples so far, of which there is one at least; the run begins anew."""
        pieces = [samples_of(queue.read(), self.rows) for queue in self.queues]
        self.length, self.queues = 0, []
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)


def mono_of(frame: Frame) -> Mono:
    """Mean of a frame's channels; what is not a number becomes 0."""
    channels = _channels_of(frame)
    # The bits of numpy's own mean, which divides in double precision and takes four times as long.
    return _finite(np.add.reduce(channels, axis=0) / np.float32(len(channels)))


def _left_and_right_of(frame: Frame) -> Samples:
    """The two channels of a frame that has two, one twice, or more mixed down."""
    channels = _finite(_channels_of(frame))
    if len(channels) == 1:
        return channels.repeat(2, axis=0)
    if len(channels) == 2:
        return channels
    mixed = np.zeros((2, channels.shape[1]), np.float32)
    # Channel by channel: a matrix product's rounding depends on how many samples a frame has.
    for weights, channel in zip(downmix(frame.layout.name, len(channels)).T, channels, strict=True):
        mixed += weights[:, None] * channel
    return mixed


@lru_cache
def downmix(layout: str, channels: int) -> NDArray[np.float32]:
    """Weights (2, channels) of a layout's channels in left and right, as FFmpeg mixes them.

    Its weights for integer samples, whose loudest mix stays at full scale: centre and surround
    come in at -3 dB, low frequencies not at all. An unnamed layout counts as the usual one of as
    many channels; where FFmpeg knows none, left and right are both the mean.
    """
    from av import AudioFrame, AudioResampler

    # Full scale in one channel after the other: what comes out is the matrix.
    one_by_one = np.eye(channels, dtype=np.float32).reshape(1, -1)
    try:
        frame = AudioFrame.from_ndarray(one_by_one, format="flt", layout=layout)
        # Any rate does, as it stays what it is.
        frame.sample_rate = 48_000
        heard = _converted(frame, AudioResampler(format="flt", layout="stereo"))
    except ValueError:
        return np.full((2, channels), 1 / channels, np.float32)
    weights: NDArray[np.float32] = heard.reshape(channels, 2).T
    # For floats FFmpeg lets a mix pass full scale; for integers it divides like this.
    return weights / max(np.float32(1), weights.sum(axis=1).max())


def _channels_of(frame: Frame) -> Samples:
    # FFmpeg marks planar kinds by a p: `fltp` is `flt`.
    kind, count = frame.format.name.removesuffix("p"), frame.layout.nb_channels
    if frame.format.is_planar and count < PLANES:
        values: NDArray[Any] = frame.to_ndarray()
    else:
        values = _interleaved(frame, kind).reshape(-1, count).T
    if kind in FULL_SCALE:
        # Eight bits are unsigned: silence is 128.
        middle = FULL_SCALE[kind] if kind == "u8" else 0.0
        values = (values.astype(np.float64) - middle) / FULL_SCALE[kind]
    elif kind not in ("flt", "dbl"):
        raise MediaError("unsupported", f"samples of kind {kind}")
    return values.astype(np.float32, copy=False)


def _interleaved(frame: Frame, kind: str) -> NDArray[Any]:
    from av import AudioResampler

    if not frame.format.is_planar:
        return frame.to_ndarray()
    return _converted(frame, AudioResampler(format=kind))


def _converted(frame: Frame, converter: Any) -> NDArray[Any]:
    # None fetches what the converter still keeps.
    frames = converter.resample(frame) + converter.resample(None)
    return np.concatenate([got.to_ndarray() for got in frames], axis=1)


def _finite(samples: Samples) -> Samples:
    if np.isfinite(samples).all():
        return samples
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
