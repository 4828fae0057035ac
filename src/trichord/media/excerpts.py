"""Spans of files as files of their own: copied packet by packet, or encoded again to be exact.

It runs in the decoder's child process, because it reads untrusted files.
"""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from trichord.media.decoded import Excerpt
from trichord.media.failure import MediaError
from trichord.media.media_file import MediaFile, packet_end, packet_time
from trichord.media.picture import (
    UPRIGHT,
    Matrix,
    apply_display_matrix,
    display_matrix,
    rotation_of,
)
from trichord.media.pyav import Frame, Packet, Track
from trichord.media.tracks import decode_packet

CLOCK = Fraction(1, 90_000)
"""Of encoded pictures: it holds the times of frames at any rate."""
CRF = "18"
"""Of H.264: hardly to be told from the source."""
AAC_BITS = 192_000


def write_excerpt(
    source: MediaFile, start: float, end: float, target: Path, *, exact: bool
) -> dict[str, Any]:
    """Write a span of an open file; gives the fields of an `Excerpt`.

    A still picture is copied whole. Packets can only be copied from a keyframe on: the excerpt then
    begins at the last one before `start`.

    Raises:
        MediaError: The span has nothing to write, or the format of the target cannot hold the tracks.
    """
    if source.av is None:
        source.file.seek(0)
        with target.open("wb") as made:
            shutil.copyfileobj(source.file, made)
        return asdict(Excerpt())
    if not source.tracks():
        raise MediaError("unsupported", "it has no video or audio that can be decoded")
    source.seek(start, source.video or source.audio)
    if exact:
        span = _encode(source, start, end, target)
    else:
        try:
            span = _copy(source, start, end, target)
        except (OSError, ValueError) as error:  # FFmpeg's errors are of these kinds
            reason = f"cannot be copied into {target.suffix} ({error}): encode it with --exact"
            raise MediaError("unsupported", reason) from None
    if span[1] <= max(span[0], start):  # the file ends before the span, or between two packets
        raise MediaError("corrupt", "the span has nothing that can be read")
    return asdict(Excerpt(start=span[0], end=span[1], encoded=exact))


def _copy(source: MediaFile, start: float, end: float, target: Path) -> tuple[float, float]:
    """Copy packets from the last keyframe before `start`; gives the span they cover."""
    import av

    lead = source.video or source.audio
    begin, last = start, start
    with av.open(str(target), "w") as made:
        streams = {t.index: made.add_stream_from_template(t) for t in source.tracks()}
        packets = _until(source, end)
        waiting: list[Packet] = []
        for packet in packets:
            waiting.append(packet)
            if packet.stream.index == lead.index and packet.is_keyframe:
                begin = last = packet_time(source, packet) or 0.0
                break
        for packet in chain(waiting, packets):
            time = packet_time(source, packet) or 0.0
            if time < begin:  # sound before the first picture
                continue
            last = max(last, packet_end(source, packet, time))
            index = packet.stream.index
            shift = source.ticks(begin, packet.stream)
            packet.pts, packet.dts = (
                None if ticks is None else ticks - shift for ticks in (packet.pts, packet.dts)
            )
            packet.stream = streams[index]
            made.mux(packet)
    return begin, last


def _until(source: MediaFile, end: float) -> Iterator[Packet]:
    """Packets until each track has passed a time."""
    going = {track.index for track in source.tracks()}
    for packet in source.packets(source.tracks()):
        if packet.dts is None and packet.pts is None:
            continue
        # By decoding time: pictures are stored before those that they depend on are shown.
        ticks = packet.pts if packet.dts is None else packet.dts
        if (source.seconds(ticks, packet.stream) or 0.0) >= end:
            going.discard(packet.stream.index)
            if not going:
                return
        elif packet.stream.index in going:
            yield packet


def _encode(source: MediaFile, start: float, end: float, target: Path) -> tuple[float, float]:
    """Decode a span and encode it: H.264 and AAC, or PCM in a WAV file; gives the span written."""
    import av

    shape = _Picture.of(source, end) if source.video is not None else None
    last = start
    with av.open(str(target), "w") as made:
        # All before the first packet, which writes the header.
        encoders = {
            track.index: _video_encoder(made, track, shape)
            if shape is not None and track is source.video
            else _audio_encoder(made, track, "pcm_s16le" if target.suffix == ".wav" else "aac")
            for track in source.tracks()
        }
        source.seek(start, source.video or source.audio)
        for track, frame in _frames(source, end):
            time = source.seconds(frame.pts, track)
            if time is None or time >= end:
                continue
            if track is source.video:
                if time < start or shape is None:
                    continue
                frame, until = shape.fit(frame), time + 1 / float(track.average_rate or 25)
                frame.pts, frame.time_base = round((time - start) / CLOCK), CLOCK
            else:
                frame, until = _trimmed(frame, time, start, end)
            if frame is not None:
                made.mux(encoders[track.index].encode(frame))
                last = max(last, until)
        for encoder in encoders.values():
            made.mux(encoder.encode(None))
    return start, min(end, last)


def _frames(source: MediaFile, end: float) -> Iterator[tuple[Track, Frame]]:
    """Decoded frames with their tracks; they begin before the position that was looked for."""
    tracks = source.tracks()
    for packet in _until(source, end):
        for frame in decode_packet(packet) or ():
            yield packet.stream, frame
    for track in tracks:
        for frame in track.codec_context.decode(None):
            yield track, frame


@dataclass(frozen=True, slots=True)
class _Picture:
    """The size of an encoded picture, upright, and how to turn the stored one."""

    matrix: Matrix
    width: int
    height: int

    @classmethod
    def of(cls, source: MediaFile, end: float) -> "_Picture":
        for track, frame in _frames(source, end):
            if track is source.video:
                matrix = display_matrix(frame)
                sides = (frame.width, frame.height)
                width, height = sides if rotation_of(matrix) % 180 == 0 else sides[::-1]
                for one in source.tracks():
                    one.codec_context.flush_buffers()
                # H.264 in its common form halves the colours: sides are even.
                return cls(matrix, max(2, width // 2 * 2), max(2, height // 2 * 2))
        raise MediaError("corrupt", "the span has no picture that can be decoded")

    def fit(self, frame: Frame) -> Frame:
        from av import VideoFrame

        if self.matrix != UPRIGHT:
            frame = VideoFrame.from_image(apply_display_matrix(frame.to_image(), self.matrix))
        return frame.reformat(width=self.width, height=self.height, format="yuv420p")


def _video_encoder(made: Any, track: Track, shape: _Picture) -> Any:
    stream = made.add_stream("libx264", rate=track.average_rate or 25, options={"crf": CRF})
    stream.width, stream.height, stream.pix_fmt = shape.width, shape.height, "yuv420p"
    stream.codec_context.time_base = CLOCK
    stream.codec_context.thread_count = 1
    aspect = track.sample_aspect_ratio
    if aspect and shape.matrix == UPRIGHT:
        stream.codec_context.sample_aspect_ratio = aspect
    return stream


def _audio_encoder(made: Any, track: Track, codec: str) -> Any:
    context = track.codec_context
    stream = made.add_stream(codec, rate=context.sample_rate, layout=context.layout.name)
    if codec == "aac":
        stream.bit_rate = AAC_BITS
    return stream


def _trimmed(frame: Frame, time: float, start: float, end: float) -> tuple[Frame | None, float]:
    """The samples of a frame within a span, timed from its start, and where they end."""
    from av import AudioFrame

    rate = frame.sample_rate
    first = max(0, round((start - time) * rate))
    stop = min(frame.samples, round((end - time) * rate))
    if first >= stop:
        return None, start
    samples = frame.to_ndarray()
    width = 1 if frame.format.is_planar else len(frame.layout.channels)
    cut = AudioFrame.from_ndarray(
        np.ascontiguousarray(samples[:, first * width : stop * width]),
        format=frame.format.name,
        layout=frame.layout.name,
    )
    cut.sample_rate, cut.time_base = rate, Fraction(1, rate)
    cut.pts = max(0, round((time - start) * rate) + first)
    return cut, time + stop / rate
