"""Which tracks of a file are decoded: the first picture, the first sound that is not silent."""

from typing import Any

from trichord.media.channels import SILENCE_LEVEL, mono_of
from trichord.media.failure import refuse_out_of_memory
from trichord.media.pyav import Frame, Packet, Track

SILENT_SECONDS = 600.0
"""Seconds of zeros after which a track counts as silent; decoding checks each span itself."""


class AudioCheck:
    """Whether an audio track gives samples, and audible ones."""

    def __init__(self) -> None:
        self.samples = 0
        self.seconds = 0.0
        self.failed = 0
        self.audible = False

    def feed(self, packet: Packet) -> None:
        """Decode a packet."""
        if self.done:
            return
        frames = decode_packet(packet)
        self.failed += frames is None
        for frame in frames or ():
            mono = mono_of(frame)
            self.samples += len(mono)
            # A damaged frame may give its rate as 0.
            self.seconds += len(mono) / max(1, frame.sample_rate)
            self.audible = self.audible or bool((abs(mono) >= SILENCE_LEVEL).any())

    @property
    def done(self) -> bool:
        """Whether a sample was audible, or none for long enough."""
        return self.audible or self.seconds > SILENT_SECONDS


def decode_packet(packet: Packet) -> list[Frame] | None:
    """The frames of a packet; None if it is damaged."""
    from av.error import FFmpegError

    try:
        return packet.decode()
    except FFmpegError as error:
        refuse_out_of_memory(error)
        return None


def best_first(container: Any, kind: str, streams: list[Track]) -> list[Track]:
    """The tracks that have a decoder: FFmpeg's choice, then the others in their order."""
    best = container.streams.best(kind)
    known = [s for s in streams if s.codec_context is not None]
    return sorted(known, key=lambda s: best is None or s.index != best.index)


def chosen_by(wanted: str, tracks: list[Track]) -> list[Track]:
    """The tracks with a number from 1, or with a language, in the letters that the file has for it."""
    names = {str(number): track for number, track in enumerate(tracks, 1)}
    if wanted in names:
        return [names[wanted]]
    return [track for track in tracks if language_of(track) == wanted.lower()]


def language_of(track: Track) -> str:
    """The code of a track's language as the file has it, such as `eng`; empty if it has none."""
    return str(track.metadata.get("language", "")).lower()


def first_audible(container: Any, tracks: list[Track]) -> Track:
    """The first of some audio tracks that is not silent; the first if all are.

    Reads the container until the first track is heard, so mostly a fraction of a second.
    """
    from av.error import FFmpegError

    checks = {track.index: AudioCheck() for track in tracks}
    preferred = checks[tracks[0].index]
    for track in tracks:
        track.codec_context.thread_count = 1
    try:
        for packet in container.demux(tracks):
            checks[packet.stream.index].feed(packet)
            if preferred.done:
                break
    except (FFmpegError, IndexError) as error:  # the rest is unreadable
        refuse_out_of_memory(error)
    return next((track for track in tracks if checks[track.index].audible), tracks[0])
