"""Probing an open file: its tracks, whether they decode, whether the audio is silent."""

from dataclasses import replace
from itertools import pairwise

from trichord.media.failure import MediaError, refuse_out_of_memory
from trichord.media.media_file import MediaFile, check_pixels, duration_of
from trichord.media.picture import display_matrix, display_size, pixel_aspect, rotation_of
from trichord.media.plan import Limits
from trichord.media.probe import AudioStream, Probe, Status, VideoStream
from trichord.media.pyav import Frame, Packet, Track
from trichord.media.still import inspect_image
from trichord.media.tracks import AudioCheck, decode_packet, language_of

TIMED_PACKETS = 128
"""Packets whose spacing shows whether the frame rate varies."""
UNSEEN = "its video cannot be decoded"
UNHEARD = "its audio cannot be decoded"
MAX_REORDERED = 17
"""Last packets to ignore: H.264 reorders up to 16 frames, so their neighbours may be missing."""


def inspect(path: str, source: MediaFile, limits: Limits) -> Probe:
    """Describe an open file; decodes one frame, and the audio up to the first audible sample.

    Raises:
        MediaError: nothing in it can be decoded.
    """
    blank = Probe(
        path=path,
        status="no_audio",
        container=source.container,
        size=source.file.size,
        duration=0.0,
    )
    if source.av is None:
        return inspect_image(source, limits, blank)
    duration = duration_of(source, limits)
    video_check, audio_check = _check_tracks(source, limits)
    audio = tuple(_audio_stream(source, track) for track in source.av.streams.audio)
    video = _video_stream(source, video_check) if video_check.frame is not None else None
    status, reason = _status(source, video_check, audio_check, audio)
    if source.shortfall:
        status, reason = "cut_off", source.shortfall
    return replace(blank, status=status, reason=reason, duration=duration, video=video, audio=audio)


class VideoCheck:
    """The first decoded frame and the first time stamps of the video track."""

    def __init__(self) -> None:
        self.frame: Frame = None
        self.stamps: list[int] = []
        self.failed = 0

    def feed(self, packet: Packet, limits: Limits) -> None:
        """Record the time of a packet; decode it until the first frame."""
        if packet.pts is not None and not packet.is_discard:
            self.stamps.append(packet.pts)
        if self.frame is None:
            frames = decode_packet(packet)
            self.failed += frames is None
            self.frame = next(iter(frames or ()), None)
            if self.frame is not None:
                check_pixels(self.frame.width, self.frame.height, limits)

    @property
    def done(self) -> bool:
        """Whether it has enough packets, or has failed on so many that more will not help."""
        return len(self.stamps) >= TIMED_PACKETS and (
            self.frame is not None or self.failed > TIMED_PACKETS
        )


def _check_tracks(source: MediaFile, limits: Limits) -> tuple[VideoCheck, AudioCheck]:
    from av.error import FFmpegError

    video_check, audio_check = VideoCheck(), AudioCheck()
    tracks = source.tracks()
    try:
        for packet in source.packets(tracks) if tracks else ():
            if source.video is not None and packet.stream.index == source.video.index:
                video_check.feed(packet, limits)
            else:
                audio_check.feed(packet)
            if (source.video is None or video_check.done) and (
                source.audio is None or audio_check.done
            ):
                break
    except FFmpegError as error:  # the rest is unreadable; use the packets before it
        refuse_out_of_memory(error)
    return video_check, audio_check


def _status(
    source: MediaFile,
    video_check: VideoCheck,
    audio_check: AudioCheck,
    audio: tuple[AudioStream, ...],
) -> tuple[Status, str]:
    source.check_clock()
    unseen = source.video is not None and video_check.frame is None
    unheard = source.audio is not None and audio_check.failed > 0 and not audio_check.samples
    unknown = ", ".join(stream.codec for stream in audio if not stream.decodable)
    notes = [source.note] if source.note else []
    if unknown and source.audio is None:
        notes.append(f"no decoder for its audio ({unknown})")
    if source.video is None and source.audio is None:
        if source.shortfall:
            raise MediaError("corrupt", source.shortfall)
        raise MediaError("unsupported", notes[-1] if unknown else "it has neither video nor audio")
    # A track that cannot be decoded does not spoil the other one.
    if unseen:
        if not audio_check.audible:
            raise MediaError("corrupt", source.shortfall or UNSEEN)
        notes.append(UNSEEN)
    if unheard:
        if video_check.frame is None:
            raise MediaError("corrupt", source.shortfall or UNHEARD)
        notes.append(UNHEARD)
    return _status_of_tracks(source, video_check, audio_check, unheard), "; ".join(notes)


def _status_of_tracks(
    source: MediaFile, video_check: VideoCheck, audio_check: AudioCheck, unheard: bool
) -> Status:
    if source.audio is None or unheard:
        return "no_audio"
    if not audio_check.audible:
        return "silent"
    return "no_video" if video_check.frame is None else "ok"


def _video_stream(source: MediaFile, video_check: VideoCheck) -> VideoStream:
    frame, track = video_check.frame, source.video
    matrix = display_matrix(frame)
    aspect = pixel_aspect(frame, track)
    width, height = display_size(frame.width, frame.height, aspect, matrix)
    rate = float(track.average_rate) if track.average_rate else None
    return VideoStream(
        codec=track.codec_context.codec.canonical_name,
        width=width,
        height=height,
        rotation=rotation_of(matrix),
        frame_rate=rate,
        variable=_uneven(video_check.stamps, float(track.time_base), rate),
        pixel_aspect=aspect,
    )


def _uneven(stamps: list[int], tick: float, rate: float | None) -> bool:
    """Whether frames are spaced unevenly, beyond rounding to ticks or milliseconds."""
    ordered = sorted(stamps)
    if len(ordered) > 2 * MAX_REORDERED:
        ordered = ordered[:-MAX_REORDERED]
    steps = sorted(b - a for a, b in pairwise(ordered) if b > a)
    if len(steps) < 2:
        return False
    middle = steps[len(steps) // 2] * tick
    spread = (steps[-1] - steps[0]) * tick
    drift = abs(1 / rate - middle) if rate else 0.0
    # Matroska and FLV round to milliseconds: steps of 33 and 34 ms are even. The average
    # rate shows what the first packets do not, such as a long still frame near the end.
    rounding = max(1.01 * tick, 0.0011)
    return spread > max(0.02 * middle, rounding) or drift > max(0.05 * middle, rounding)


def _audio_stream(source: MediaFile, track: Track) -> AudioStream:
    context = track.codec_context
    return AudioStream(
        codec=context.codec.canonical_name if context is not None else "unknown",
        channels=context.channels if context is not None else 0,
        sample_rate=context.sample_rate if context is not None else 0,
        decodable=context is not None,
        chosen=track is source.audio,
        language=language_of(track),
    )
