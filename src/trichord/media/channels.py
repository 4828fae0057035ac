"""Channels of a decoded frame mixed to mono, or to left and right; float32 at full scale 1."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trichord.media.failure import MediaError
from trichord.media.pyav import Frame

Samples = NDArray[np.float32]
"""(channel, sample); one channel is mono, two are left and right."""
Mono = NDArray[np.float32]
FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31}
SILENCE_LEVEL = 2.0**-16
"""Half a step of 16-bit audio: anything below rounds to zero and is silence."""
# FFmpeg's AV_NUM_DATA_POINTERS.
PLANES = 8
"""Planes in the fixed list of an FFmpeg frame: with this many or more, PyAV reads past its end."""


def samples_of(frame: Frame, rows: int) -> Samples:
    """A frame as one row (mono) or as two (left and right): see `mix`."""
    return mono_of(frame)[None] if rows == 1 else _stereo_of(frame)


class SampleRun:
    """Consecutive frames, converted to samples together: one by one costs as much as decoding."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.length = 0
        self.queues: list[Any] = []

    def add(self, frame: Frame) -> None:
        """Append a frame. It loses its time stamp, because a queue accepts only exact ones."""
        frame.pts = None
        self.length += frame.samples
        try:
            self.queues[-1].write(frame)
        except (IndexError, ValueError):  # the first frame, or a change of channels
            from av import AudioFifo

            self.queues.append(AudioFifo())
            self.queues[-1].write(frame)

    def take(self) -> Samples:
        """Return all samples so far (at least one) and start again."""
        pieces = [samples_of(queue.read(), self.rows) for queue in self.queues]
        self.length, self.queues = 0, []
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)


def mono_of(frame: Frame) -> Mono:
    """A frame as one channel; NaN and infinity become 0."""
    return _finite(mix(_channels_of(frame), 1, frame.layout.name)[0])


def _stereo_of(frame: Frame) -> Samples:
    return mix(_finite(_channels_of(frame)), 2, frame.layout.name)


def mix(channels: Samples, rows: int, layout: str = "") -> Samples:
    """Mix channels down to one row or two (left and right).

    One or two channels are taken as they are, or their mean. More are mixed by their places, by the
    weights of `downmix`; one row is the mean of left and right, which is the mono of ITU-R BS.775.
    Without names of places, six and eight channels are 5.1 and 7.1, and one row of others is the mean of
    all: they are microphones rather than loudspeakers.

    Args:
        channels: (channel, sample).
        rows: 1 or 2.
        layout: FFmpeg's name of the channels' places; empty if they have none.
    """
    count = len(channels)
    unnamed = not layout or layout.endswith(" channels")
    if rows == 1 and (count <= 2 or (unnamed and count not in (6, 8))):
        # Same bits as numpy's mean, which divides in double precision and takes four times as long.
        return (np.add.reduce(channels, axis=0) / np.float32(count))[None]
    if count <= 2:
        return channels.repeat(2, axis=0) if count == 1 else channels
    weights = downmix(layout or f"{count} channels", count)
    if rows == 1:
        weights = weights.mean(axis=0, keepdims=True)
    mixed = np.zeros((rows, channels.shape[1]), np.float32)
    # Channel by channel: a matrix product's rounding depends on how many samples a frame has.
    for column, channel in zip(weights.T, channels, strict=True):
        mixed += column[:, None] * channel
    return mixed


@lru_cache
def downmix(layout: str, channels: int) -> NDArray[np.float32]:
    """Weights (2, channels) of a layout's channels in left and right, as FFmpeg mixes them.

    These are FFmpeg's weights for integer samples, whose loudest mix stays at full scale: centre
    and surround at -3 dB, no low-frequency channel. An unnamed layout counts as the usual one with
    that number of channels. If FFmpeg knows none, left and right are both the mean.
    """
    from av import AudioFrame, AudioResampler

    # Full scale in one channel after another: the output is the matrix.
    one_by_one = np.eye(channels, dtype=np.float32).reshape(1, -1)
    try:
        frame = AudioFrame.from_ndarray(one_by_one, format="flt", layout=layout)
        # Any rate works, because it does not change.
        frame.sample_rate = 48_000
        converted = _converted(frame, AudioResampler(format="flt", layout="stereo"))
    except ValueError:
        return np.full((2, channels), 1 / channels, np.float32)
    weights: NDArray[np.float32] = converted.reshape(channels, 2).T
    # For floats FFmpeg lets a mix exceed full scale; for integers it divides like this.
    return weights / max(np.float32(1), weights.sum(axis=1).max())


def _channels_of(frame: Frame) -> Samples:
    # FFmpeg marks planar formats by a p: `fltp` is `flt`.
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
    # None flushes the converter.
    frames = converter.resample(frame) + converter.resample(None)
    return np.concatenate([part.to_ndarray() for part in frames], axis=1)


def _finite(samples: Samples) -> Samples:
    if np.isfinite(samples).all():
        return samples
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
