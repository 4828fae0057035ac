"""A file opened safely for FFmpeg: a regular file in an allowed container that opens no other file."""

import errno
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trichord.media.clock import Clock, clock_restarts
from trichord.media.containers import (
    HEAD,
    PICTURES,
    UNKNOWN_FORMAT,
    canvas_of,
    container_of,
    has_no_length,
    missing_bytes,
)
from trichord.media.failure import MediaError, refuse_out_of_memory
from trichord.media.plan import Limits
from trichord.media.pyav import Packet, Track
from trichord.media.tracks import best_first, chosen_by, first_audible, language_of

ABSOLUTE = ("matroska", "flv")
"""Containers that declare their end on their own clock instead of their duration."""
Packets = Iterator[Packet]
JOINED = ("mpegts", "mpeg")
"""Containers that may be joined end to end, so that their clock restarts."""
BEFORE_START = -60.0
"""Seconds from the start at which nothing is decoded yet."""
SCANNED = ("mp3", "aac", "ac3", "eac3", "dts", "mpegvideo")
"""Bare streams, whose declared duration is an estimate from the bit rate."""


class CountedFile(io.FileIO):
    """A file that counts the bytes read."""

    def __init__(self, path: Path, limits: Limits) -> None:
        try:
            # Without O_NONBLOCK, opening a FIFO waits for a writer.
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except OSError as error:
            raise MediaError("corrupt", f"cannot be opened: {error.strerror}") from None
        # Of the open file: the path may be another file by now.
        status = os.fstat(descriptor)
        self.bytes_read = 0
        self.size = status.st_size
        try:
            if not stat.S_ISREG(status.st_mode):
                raise MediaError("unsupported", "not a regular file")
            if self.size == 0:
                raise MediaError("corrupt", "empty file")
            if limits.file_bytes is not None and self.size > limits.file_bytes:
                raise MediaError("too_big", f"{self.size} bytes, the limit is {limits.file_bytes}")
        except MediaError:
            os.close(descriptor)
            raise
        super().__init__(descriptor, "rb")

    def read(self, size: int | None = -1, /) -> bytes:
        """Read and count."""
        content = super().read(-1 if size is None else size) or b""
        self.bytes_read += len(content)
        return content


@dataclass
class MediaFile:
    """An open file: an image (`av` is None), or an FFmpeg container with its selected tracks.

    `origin` is the earliest start of the selected tracks in seconds of the file's own clock; all
    other times count from there.
    """

    file: CountedFile
    container: str
    missing: int
    av: Any = None
    video: Track = None
    audio: Track = None
    origin: float = 0.0
    endless: bool = False
    """Whether its header gives no length, as if it was written into a pipe."""
    restarts: bool = False
    """Whether its clock restarts midway: then it can only be read from its start."""
    ends_early: str = ""
    """Where it ends before its declared end, found while decoding; empty if unknown."""
    clocks: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Seconds per tick of each track as a fraction: PyAV creates a new one at each access."""
    lacking: str = ""
    """That it does not have the audio track that was asked for; empty if it has, or none was."""
    dated: int = 0
    undated: int = 0
    """Numbers of packets read so far with and without a time stamp."""

    @property
    def shortfall(self) -> str:
        """What is missing at the end of a file, in words; empty if nothing is."""
        if self.missing:
            return f"cut off: {self.missing} bytes are missing at its end"
        return self.ends_early

    @property
    def note(self) -> str:
        """What is odd about a file that is read all the same; empty if nothing is."""
        notes = ("its header gives no length" if self.endless else "",)
        notes += ("its clock restarts" if self.restarts else "",)
        notes += (self.lacking,)
        return "; ".join(note for note in notes if note)

    def close(self) -> None:
        """Close the container and the file."""
        if self.av is not None:
            self.av.close()
        self.file.close()

    def packets(self, tracks: list[Track]) -> Packets:
        """Packets of these tracks from the current position to the end.

        Raises:
            MediaError: one is encrypted. A decoder may turn it into noise without an error.
        """
        clock = Clock() if self.restarts else None
        try:
            for packet in self.av.demux(tracks):
                if _encrypted(packet):
                    raise MediaError("unsupported", "its content is encrypted")
                if clock is not None:
                    clock.shift(packet)
                if packet.pts is None and packet.dts is None:
                    self.undated += packet.size > 0
                else:
                    self.dated += 1
                yield packet
        except IndexError:  # PyAV fails at the end if a track appeared while reading
            return

    def check_clock(self) -> None:
        """Refuse a file if most of the packets read so far have no time stamp.

        Raises:
            MediaError: most have none.
        """
        if self.undated > self.dated:
            raise MediaError("corrupt", "most of its packets have no time stamp")

    def seconds(self, ticks: int | None, track: Track) -> float | None:
        """Convert a time stamp of a track to seconds from the start of the file."""
        if ticks is None:
            return None
        numerator, denominator = self.clocks[track.index]
        return ticks * numerator / denominator - self.origin

    def ticks(self, seconds: float, track: Track) -> int:
        """Convert seconds from the start of the file to a time stamp of a track."""
        numerator, denominator = self.clocks[track.index]
        return int((seconds + self.origin) / (numerator / denominator))

    def seek(self, seconds: float, track: Track) -> None:
        """Seek to the last point at or before this time from which a track can be decoded."""
        if self.restarts:
            self.av.seek(0, unsupported_byte_offset=True)
            return
        if self.container == "matroska" and self.video is not None:
            # Its index has video only: a seek by another track would read the file through.
            track = self.video
        if seconds <= 0:
            # MPEG-TS has no index. Its first keyframe is decoded before the start of the file, at which
            # it is shown, so that a seek to the start would land behind it.
            seconds = BEFORE_START if self.container == "mpegts" else 0.0
        self.av.seek(self.ticks(seconds, track), stream=track)

    def tracks(self) -> list[Track]:
        """The selected tracks."""
        return [track for track in (self.video, self.audio) if track is not None]


def _encrypted(packet: Packet) -> bool:
    # Few packets have side data; a search for this kind in each would cost a tenth of audio decoding.
    return next(packet.iter_sidedata(), None) is not None and packet.has_sidedata("encryption_info")


def open_source(path: str | Path, limits: Limits, audio_track: str = "") -> MediaFile:
    """Open a local file of an allowed container.

    Args:
        path: The file.
        limits: What it may cost.
        audio_track: Number from 1 or language of the audio track to decode, if the file has one such;
            empty: the first that is not silent.

    Raises:
        MediaError: not a regular file, empty, too large, of no allowed container, or unreadable.
    """
    try:
        resolved = Path(path).resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        # RuntimeError: a loop of links, before Python 3.13. ValueError: a zero byte in the name.
        unnamed = os.strerror(errno.ELOOP) if isinstance(error, RuntimeError) else "no such file"
        reason = getattr(error, "strerror", None) or unnamed
        raise MediaError("corrupt", f"cannot be opened: {reason}") from None
    file = CountedFile(resolved, limits)
    try:
        head = file.read(HEAD)
        container = container_of(head)
        if container is None:
            raise MediaError("unsupported", UNKNOWN_FORMAT)
        still = container in PICTURES
        check_pixels(*canvas_of(head, container), limits, still=still)
        source = MediaFile(file, container, missing_bytes(file, container))
        source.endless = has_no_length(file, container)
        file.seek(0)
        if not still:
            _open_container(source, limits, audio_track)
    except BaseException:
        file.close()
        raise
    return source


def _refuse(*_: object) -> None:
    raise PermissionError("a media file may not open other files")


def _open_container(source: MediaFile, limits: Limits, audio_track: str) -> None:
    source.av = _demuxer(source, limits)
    sounds = best_first(source.av, "audio", list(source.av.streams.audio))
    if audio_track and sounds:
        tracks = list(source.av.streams.audio)
        chosen_sounds = [one for one in sounds if one in chosen_by(audio_track, tracks)]
        if not chosen_sounds:
            there = ", ".join(f"{n} {language_of(one)}".rstrip() for n, one in enumerate(tracks, 1))
            source.lacking = (
                f"no audio track {audio_track} (there is {there}): the usual one is heard"
            )
        sounds = chosen_sounds or sounds
    pictures = best_first(source.av, "video", _pictures(source.av))
    sound, looked = next(iter(sounds), None), False
    if len(sounds) > 1:
        sound, looked = first_audible(source.av, sounds), True
    if source.container in JOINED and (tracks := [*pictures, *sounds]):
        source.restarts = clock_restarts(source.av, tracks[0], source.file.size)
        looked = True
    chosen = {track.index for track in (*pictures[:1], sound) if track is not None}
    if looked:
        # It moved the position and the decoders.
        source.av.close()
        source.file.seek(0)
        source.av = _demuxer(source, limits)
    _select(source, chosen, limits)


def _demuxer(source: MediaFile, limits: Limits) -> Any:
    import av
    from av.error import FFmpegError

    try:
        demuxer = av.open(
            source.file,
            # Named, because FFmpeg would guess otherwise, also playlists.
            format=source.container,
            options={"protocol_whitelist": "file", "max_pixels": str(limits.pixels)},
            # Titles in an old encoding are no reason to refuse a file.
            metadata_errors="replace",
            buffer_size=65536,
            io_open=_refuse,
        )
    except FFmpegError as error:
        raise MediaError("corrupt", source.shortfall or error.strerror or "unreadable") from None
    if len(demuxer.streams) > limits.streams:
        reason = f"{len(demuxer.streams)} streams, the limit is {limits.streams}"
        raise MediaError("too_big", reason)
    return demuxer


def _pictures(container: Any) -> list[Track]:
    from av.stream import Disposition

    # FFmpeg treats cover art as a video track of one picture.
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    return [s for s in container.streams.video if not s.disposition & covers]


def _select(source: MediaFile, chosen: set[int], limits: Limits) -> None:
    """Take the tracks of these indices and let the demuxer drop all others."""
    from av.stream import Discard

    for stream in source.av.streams:
        if stream.index not in chosen:
            stream.discard = Discard.all
        elif stream.type == "video":
            source.video = stream
        else:
            source.audio = stream
    for track in source.tracks():
        # One thread: files are decoded in parallel, one per child.
        track.codec_context.thread_count = 1
        source.clocks[track.index] = track.time_base.as_integer_ratio()
    if source.video is not None:
        context = source.video.codec_context
        # For the decoder too: a codec may declare more pixels than its container.
        context.options = {"max_pixels": str(limits.pixels)}
        check_pixels(context.width, context.height, limits)
    starts = [
        float(track.start_time * track.time_base)
        for track in source.tracks()
        if track.start_time is not None
    ]
    source.origin = min(starts, default=0.0)


def check_pixels(width: int, height: int, limits: Limits, still: bool = False) -> None:
    """Refuse an image with more pixels than allowed, before it is allocated."""
    most = limits.still_pixels if still else limits.pixels
    if width * height > most:
        raise MediaError("too_big", f"{width} x {height} pixels, the limit is {most} pixels")


def duration_of(source: MediaFile, limits: Limits) -> float:
    """Seconds from the start of the file to the end of its last selected track.

    If the container does not declare it, or only estimates it, all packets are read (not decoded).

    Raises:
        MediaError: longer than allowed. A false duration would be cut into any number of spans.
    """
    seconds = _declared_or_scanned_end(source) if source.tracks() else 0.0
    if seconds > limits.seconds:
        raise MediaError("too_big", f"{seconds:.0f} s long, the limit is {limits.seconds:.0f} s")
    return seconds


def _declared_or_scanned_end(source: MediaFile) -> float:
    # What is declared of a file that is cut off or joined is wrong.
    wrong = source.shortfall or source.endless or source.restarts
    if source.container not in SCANNED and not wrong:
        ends = [declared_end(source, track) for track in source.tracks()]
        if ends and None not in ends:
            return max(0.0, max(end for end in ends if end is not None))
        # FFmpeg gives the duration in microseconds.
        declared = (source.av.duration or 0) / 1_000_000
        if source.container in ABSOLUTE:
            declared -= source.origin
        if declared > 0:
            return declared
    return _scanned_end(source)


def declared_end(source: MediaFile, track: Track) -> float | None:
    """End of a track by its own header; None if it declares none."""
    if not track.duration:
        return None
    return source.seconds((track.start_time or 0) + track.duration, track)


def _scanned_end(source: MediaFile) -> float:
    from av.error import FFmpegError

    end = 0.0
    try:
        for packet in source.packets(source.tracks()):
            end = max(end, packet_end(source, packet, packet_time(source, packet)))
    except FFmpegError as error:  # the rest is unreadable; use the packets before it
        refuse_out_of_memory(error)
    try:
        source.seek(0.0, source.tracks()[0])
    except FFmpegError:
        reason = source.shortfall or "it cannot be read from its start again"
        raise MediaError("corrupt", reason) from None
    return end


def packet_time(source: MediaFile, packet: Packet) -> float | None:
    """Presentation time of a packet, else its decoding time; None if it has neither."""
    ticks = packet.pts if packet.pts is not None else packet.dts
    return source.seconds(ticks, packet.stream)


def packet_end(source: MediaFile, packet: Packet, time: float | None) -> float:
    """End of a packet with this time, in seconds from the start of the file; 0 without a time."""
    if time is None:
        return 0.0
    numerator, denominator = source.clocks[packet.stream.index]
    return time + (packet.duration or 0) * numerator / denominator
