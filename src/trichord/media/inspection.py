"""What an open file holds: its tracks, whether they decode, whether there is anything to hear."""

from dataclasses import replace
from itertools import pairwise

from trichord.media.audio import FAINTEST
from trichord.media.channels import mono_of
from trichord.media.failure import MediaError, refuse_out_of_memory
from trichord.media.picture import display_matrix, display_size, pixel_aspect, rotation_of
from trichord.media.plan import Limits
from trichord.media.probe import AudioStream, Probe, Status, VideoStream
from trichord.media.source import Frame, Packet, Source, Track, check_pixels, duration_of
from trichord.media.still import probe_still

LISTENED = 600.0
"""Seconds of zeros that make a file count as silent; decoding looks at each span itself."""
WATCHED = 128
"""Packets whose spacing tells whether the frame rate varies."""
REORDERED = 17
"""Packets whose successors in time may still be missing: H.264 reorders 16 frames at most."""


def inspect(path: str, source: Source, limits: Limits) -> Probe:
    """Describe an open file, decoding one frame and the sound up to the first that can be heard.

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
        return replace(blank, video=probe_still(source, limits))
    # A probe speaks for the whole file. Decoding still gives the spans that are there.
    if source.missing:
        raise MediaError("corrupt", source.shortfall)
    duration = duration_of(source, limits)
    watch, heard = _look_and_listen(source, limits)
    audio = tuple(_audio_stream(source, track) for track in source.av.streams.audio)
    video = _video_stream(source, watch) if watch.frame is not None else None
    status, reason = _verdict(source, watch, heard, audio)
    return replace(blank, status=status, reason=reason, duration=duration, video=video, audio=audio)


class Watch:
    """The first decoded frame and the first time stamps of the picture track."""

    def __init__(self) -> None:
        self.frame: Frame = None
        self.stamps: list[int] = []
        self.failed = 0

    def feed(self, packet: Packet, limits: Limits) -> None:
        """Note the packet's time, and decode it while no frame has come out."""
        if packet.pts is not None and not packet.is_discard:
            self.stamps.append(packet.pts)
        if self.frame is None:
            frames = _decode(packet)
            self.failed += frames is None
            self.frame = next(iter(frames or ()), None)
            if self.frame is not None:
                check_pixels(self.frame.width, self.frame.height, limits)

    @property
    def done(self) -> bool:
        """Whether it has seen enough, or so much in vain that no more will help."""
        return len(self.stamps) >= WATCHED and (self.frame is not None or self.failed > WATCHED)


class Listen:
    """Whether the sound track gives samples and any that can be heard."""

    def __init__(self) -> None:
        self.samples = 0
        self.seconds = 0.0
        self.failed = 0
        self.audible = False

    def feed(self, packet: Packet) -> None:
        """Decode a packet."""
        if self.done:
            return
        frames = _decode(packet)
        self.failed += frames is None
        for frame in frames or ():
            mono = mono_of(frame)
            self.samples += len(mono)
            # A damaged frame may give its rate as 0.
            self.seconds += len(mono) / max(1, frame.sample_rate)
            self.audible = self.audible or bool((abs(mono) >= FAINTEST).any())

    @property
    def done(self) -> bool:
        """Whether something was heard, or nothing for long enough."""
        return self.audible or self.seconds > LISTENED


def _decode(packet: Packet) -> list[Frame] | None:
    from av.error import FFmpegError

    try:
        return packet.decode()
    except FFmpegError as error:
        refuse_out_of_memory(error)
        return None


def _look_and_listen(source: Source, limits: Limits) -> tuple[Watch, Listen]:
    from av.error import FFmpegError

    watch, heard = Watch(), Listen()
    tracks = source.tracks()
    try:
        for packet in source.packets(tracks) if tracks else ():
            if source.video is not None and packet.stream.index == source.video.index:
                watch.feed(packet, limits)
            else:
                heard.feed(packet)
            if (source.video is None or watch.done) and (source.audio is None or heard.done):
                break
    except FFmpegError as error:  # the rest is unreadable; what came before counts
        refuse_out_of_memory(error)
    return watch, heard


def _verdict(
    source: Source, watch: Watch, heard: Listen, audio: tuple[AudioStream, ...]
) -> tuple[Status, str]:
    source.check_clock()
    if source.video is not None and watch.frame is None:
        raise MediaError("corrupt", "its picture cannot be decoded")
    if source.audio is not None and heard.failed and not heard.samples:
        raise MediaError("corrupt", "its sound cannot be decoded")
    unknown = ", ".join(stream.codec for stream in audio if not stream.decodable)
    reason = f"no decoder for its sound ({unknown})" if unknown and source.audio is None else ""
    if source.video is None and source.audio is None:
        raise MediaError("unsupported", reason or "it holds neither picture nor sound")
    if source.audio is None:
        return "no_audio", reason
    if not heard.audible:
        return "silent", ""
    return ("no_video" if source.video is None else "ok"), ""


def _video_stream(source: Source, watch: Watch) -> VideoStream:
    frame, track = watch.frame, source.video
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
        variable=_uneven(watch.stamps, float(track.time_base), rate),
        pixel_aspect=aspect,
    )


def _uneven(stamps: list[int], tick: float, rate: float | None) -> bool:
    """Whether frames are spaced unevenly, beyond rounding to ticks or milliseconds."""
    ordered = sorted(stamps)
    if len(ordered) > 2 * REORDERED:
        ordered = ordered[:-REORDERED]
    steps = sorted(b - a for a, b in pairwise(ordered) if b > a)
    if len(steps) < 2:
        return False
    middle = steps[len(steps) // 2] * tick
    spread = (steps[-1] - steps[0]) * tick
    drift = abs(1 / rate - middle) if rate else 0.0
    # Matroska and FLV round to milliseconds: steps of 33 and 34 ms are even. The average
    # rate shows what the first packets do not, such as a long still near the end.
    rounding = max(1.01 * tick, 0.0011)
    return spread > max(0.02 * middle, rounding) or drift > max(0.05 * middle, rounding)


def _audio_stream(source: Source, track: Track) -> AudioStream:
    context = track.codec_context
    return AudioStream(
        codec=context.codec.canonical_name if context is not None else "unknown",
        channels=context.channels if context is not None else 0,
        sample_rate=context.sample_rate if context is not None else 0,
        decodable=context is not None,
        chosen=track is source.audio,
    )
