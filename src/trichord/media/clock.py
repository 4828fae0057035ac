"""Clocks that start again: recordings joined end to end, as in a VOB or by `cat a.ts b.ts`."""

from typing import Any

from trichord.media.pyav import Packet, Track

BACK = 0.5
"""Seconds backwards that are a restart: decoding times of one track only grow."""
AHEAD = 10.0
"""Seconds ahead that are one, in a file whose clock restarts; FFmpeg's tools use the same."""
LOOKS = 48
"""Places at which a file is looked at: a recording of less than a 48th of it may go unnoticed."""


class Clock:
    """Continues the time stamps of packets, read from the start of the file, over restarts."""

    def __init__(self) -> None:
        self.offsets = [0.0]
        """Seconds to add, by recording."""
        self.recording: dict[int, int] = {}
        """By track: tracks are interleaved, so that one starts again a little before the other."""
        self.last: dict[int, float] = {}
        self.end = 0.0

    def shift(self, packet: Packet) -> None:
        """Move a packet to its time in the whole file."""
        ticks = packet.pts if packet.dts is None else packet.dts
        if ticks is None:
            return
        tick, track = float(packet.time_base), packet.stream.index
        time = ticks * tick
        recording = self.recording.setdefault(track, len(self.offsets) - 1)
        if not -BACK < time - self.last.get(track, time) < AHEAD:
            # The first track to start again says when; the others follow it.
            if recording == len(self.offsets) - 1:
                self.offsets.append(self.end - time)
            self.recording[track] = recording = len(self.offsets) - 1
        self.last[track] = time
        offset = self.offsets[recording]
        self.end = max(self.end, time + offset + (packet.duration or 0) * tick)
        if offset:
            moved = round(offset / tick)
            packet.pts = None if packet.pts is None else packet.pts + moved
            packet.dts = None if packet.dts is None else packet.dts + moved


def clock_restarts(container: Any, track: Track, size: int) -> bool:
    """Whether time stamps fall from one place of a file to a later one; the position is then anywhere.

    A file is not read through for this: that would take as long as copying it.
    """
    from av.error import FFmpegError

    last = float("-inf")
    for number in range(LOOKS):
        try:
            container.seek(size * number // LOOKS, unsupported_byte_offset=True)
            ticks = _first_stamp(container, track)
        except FFmpegError:  # damaged there
            continue
        if ticks is None:
            continue
        time = ticks * float(track.time_base)
        if time < last - BACK:
            return True
        last = time
    return False


def _first_stamp(container: Any, track: Track) -> int | None:
    for packet in container.demux(track):
        ticks: int | None = packet.pts if packet.dts is None else packet.dts
        if ticks is not None:
            return ticks
    return None
