"""The video track: the frames shown at given times, with as little decoding as possible."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable

from av.error import FFmpegError

from trichord.media.failure import refuse_out_of_memory
from trichord.media.media_file import MediaFile, check_pixels, packet_time
from trichord.media.plan import FramePlan, Limits
from trichord.media.pyav import Frame, Packet

# Limit on held packets, because a group of pictures may never end.
MAX_HELD_BYTES = 64 * 1024**2
DATED = ("mov", "mpegts", "flv")
"""Containers with decoding and presentation times of packets."""
SKIPPING = ("h264", "mpeg4", "mpeg2video")
"""Decoders that can skip non-reference pictures without a change of the others. (HEVC's also skips
pictures that higher temporal layers may be predicted from.)"""
OVERWRITING = ("mpeg4", "libdav1d")
"""Decoders that overwrite the whole picture, also a damaged one: old content of its memory never shows.
(VP8's does not.)"""
TOLERANCE = 1e-6
"""Seconds by which a time stamp may be later than its target and still count as shown."""


class VideoTrack:
    """Finds, for each target time, the last frame at or before it (the first, if there is none).

    Packets of a group of pictures are held undecoded until it is known whether a target is in the
    group: the demuxer has passed the target without another keyframe. Then packets are decoded in
    decoding order up to the frame. A decoder of B-frames delays it by some packets: these are decoded
    only if another target needs them, else the decoder is drained as at the end of the file. If the
    plan has keyframes only, each keyframe is a group.

    Non-reference pictures before a frame are skipped if the decoder can do so. If the file is
    damaged, so that a frame is missing and the one before it stands for it, the group is decoded
    again without skipping.

    If the container has no decoding times (Matroska) or no presentation times (AVI), FFmpeg guesses
    them, and packets of earlier frames may follow. Then the frame is the one that the decoder outputs
    in its place, however many packets that takes.
    """

    def __init__(
        self,
        source: MediaFile,
        targets: list[float],
        plan: FramePlan,
        limits: Limits,
        emit: Callable[[float, Frame, float], None],
    ) -> None:
        """Call `choose(target, frame, time)` for each of the sorted `targets`, in order."""
        self.source = source
        self.track = source.video
        self.targets = deque(targets)
        self.keyframes_only = plan.nearest == "keyframe"
        self.undated = source.container not in DATED and not self.keyframes_only
        self.can_skip = not self.undated and self.track.codec_context.name in SKIPPING
        self.overwrites = self.track.codec_context.name in OVERWRITING
        self.limits = limits
        self.emit = emit
        self.decoded = 0
        self.failed = 0
        self.current: Frame = None
        self.at_start = True
        self.has_packets = False
        self.drained = False
        self._forget_group()

    def restart(self) -> None:
        """Leave the current group of pictures; the next keyframe starts a new one."""
        self._drain()
        self._forget_group()

    def _forget_group(self) -> None:
        self.pending: deque[Packet] = deque()
        self.output: deque[Frame] = deque()
        self.due: deque[int] = deque()
        """Time stamps of the first targets' frames: packets decoded, frames still in the decoder."""
        self.stamps: list[int] = []
        self.fed_packets: list[Packet] = []
        """Decoded packets of this group, to decode it again without skipping."""
        self.fed_bytes = 0
        self.frame_before, self.complete = self.current, not self.can_skip
        self.held_bytes = 0
        if self.has_packets:
            self.track.codec_context.flush_buffers()
        self.has_packets = self.drained = False

    @property
    def need(self) -> float | None:
        """The next target whose packets are not decoded yet; None if there is none."""
        return self.targets[len(self.due)] if len(self.targets) > len(self.due) else None

    def feed(self, packet: Packet, time: float | None) -> None:
        """Process the next packet in decoding order, and its time."""
        need = self.need
        if need is None or packet.is_corrupt:
            return
        key = packet.is_keyframe
        # The first packet always counts: not every file starts with a keyframe.
        if not self.keyframes_only or key or self.at_start:
            # The target can be reached from here: the held
            # packets of the group before are never decoded.
            if key and time is not None and time <= need + TOLERANCE:
                self.restart()
            elif not (self.stamps or self.at_start or key):
                return  # the middle of a group, after a seek
            self._enqueue(packet, time)
        # Packets are in decoding order, and none is shown before it is
        # decoded: all packets shown before this time have been read.
        horizon = self.source.seconds(packet.dts, self.track)
        self._decode_due(time if horizon is None else horizon)
        while self.held_bytes > MAX_HELD_BYTES:
            self._decode_oldest()

    def _enqueue(self, packet: Packet, time: float | None) -> None:
        self.at_start = False
        self.pending.append(packet)
        self.held_bytes += packet.size
        if time is not None and not packet.is_discard:
            self.stamps.append(_stamp(packet))

    def finish(self) -> None:
        """Process the end of the file: the remaining targets get the last frame."""
        self._decode_due(float("inf"))
        self._drain()
        self.targets.clear()

    def _decode_due(self, horizon: float | None) -> None:
        """Decode for the targets before `horizon`, the time up to which all packets are read."""
        need = self.need
        if need is None or horizon is None or need + TOLERANCE >= horizon:
            if self.due:
                self._collect()
            return
        while need is not None and need + TOLERANCE < horizon:
            self._skip_to_key(need)
            self.due.append(self._answer(need))
            self._decode_through(self.due[-1])
            self._collect()
            # A packet of a frame nearer to the target may follow: the frame is chosen again then.
            if self.undated and self.due and horizon < float("inf"):
                self.due.pop()
                return
            need = self.need
        # No packet follows that makes the decoder output its frames.
        if need is None or self.keyframes_only:
            self._drain()

    def _skip_to_key(self, need: float) -> None:
        """Restart at the last held keyframe from which the target can be reached."""
        keys = [
            n
            for n, packet in enumerate(self.pending)
            if packet.is_keyframe
            and (time := packet_time(self.source, packet)) is not None
            and time <= need + TOLERANCE
        ]
        # No gain if the group already starts at that keyframe.
        if not keys or (keys[-1] == 0 and not self.has_packets):
            return
        kept = list(self.pending)[keys[-1] :]
        self.restart()
        for packet in kept:
            self._enqueue(packet, packet_time(self.source, packet))

    def _answer(self, target: float) -> int:
        """Time stamp of the frame of this group that is shown at `target`."""
        ordered = sorted(self.stamps)
        count = bisect_right(ordered, target + TOLERANCE, key=self._seconds)
        return ordered[max(0, count - 1)] if ordered else 0

    def _decode_through(self, stamp: int) -> None:
        """Decode the held packets up to this time stamp; none if it is already decoded."""
        stamps = [_stamp(packet) for packet in self.pending]
        for _ in range(stamps.index(stamp) + 1 if stamp in stamps else 0):
            packet = self.pending.popleft()
            self._decode(packet, skippable=_stamp(packet) < stamp)
        while self.undated and self.pending and self._frame_at(stamp, final=False) is None:
            self._decode(self.pending.popleft())

    def _collect(self, final: bool = False) -> None:
        """Emit the frames that the decoder has output; `final`: this group gives no more."""
        while self.due:
            frame = self._frame_at(self.due[0], final)
            if frame is None:
                return
            # Another frame than the one due: a skipped one may be nearer to the target.
            if not self.complete and self._ticks(frame) != self.due[0]:
                self._decode_again()
                continue
            self.due.popleft()
            self.emit(self.targets.popleft(), frame, self._seconds_of(frame))
            self._drop_old_stamps()

    def _frame_at(self, due: int, final: bool) -> Frame:
        """The frame with this time stamp or the last before it; None until the decoder outputs it."""
        while self.current is None or self._ticks(self.current) < due:
            if not self.output:
                return self.current if final else None
            if self.current is not None and self._ticks(self.output[0]) > due:
                return self.current
            self.current = self.output.popleft()
        return self.current

    def _drain(self) -> None:
        """Drain the decoder if a target waits for a frame."""
        if not self.due:
            return
        self._decode(None)
        if not self.complete and self.current is None and not self.output:
            self._decode_again()
        if (
            self.current is None and not self.output
        ):  # all damaged so far: use the first that is not
            rest: Iterable[Packet] = [*self.pending, None]
            for packet in rest:
                if not self.output:
                    self._decode(packet)
        self._collect(final=True)

    def _decode(self, packet: Packet, skippable: bool = False) -> None:
        """Decode a packet; a skippable one only if it is a reference. None ends the group."""
        # A drained decoder accepts no packet until it is flushed.
        if self.drained:
            self.track.codec_context.flush_buffers()
        self.has_packets, self.drained = True, packet is None
        if packet is not None:
            self.held_bytes -= packet.size
            self.decoded += 1
            self._remember(packet)
        # NONREF: FFmpeg skips non-reference pictures.
        self.track.codec_context.skip_frame = (
            "DEFAULT" if self.complete or not skippable else "NONREF"
        )
        try:
            frames = self.track.codec_context.decode(packet)
        except FFmpegError as error:
            refuse_out_of_memory(error)
            self.failed += 1
            frames = None
        if not self.complete and (frames is None or any(frame.is_corrupt for frame in frames)):
            # FFmpeg conceals damage with the frame decoded before, so skipping would change it.
            self._decode_again()
            return
        for frame in frames or ():
            check_pixels(frame.width, frame.height, self.limits)
            if self._ticks(frame) >= self._ticks(self.current):
                if self.output and self._supersedes(frame):
                    self.output.pop()
                self.output.append(frame)

    def _supersedes(self, frame: Frame) -> bool:
        """Whether a frame makes the one output before it useless.

        The decoder then reuses its memory for the next frame, while it is in the processor's cache:
        that saves a tenth of the decoding time.
        """
        if (
            not self.overwrites
            or not self.due
            or self._seconds(self.due[0]) > self.targets[0] + TOLERANCE
        ):
            return False
        return self._ticks(self.output[-1]) < self._ticks(frame) <= self.due[0]

    def _remember(self, packet: Packet) -> None:
        if self.complete:
            return
        self.fed_packets.append(packet)
        self.fed_bytes += packet.size
        # Too much to keep for a second pass: stop skipping.
        if self.fed_bytes > MAX_HELD_BYTES:
            self.complete, self.fed_packets = True, []

    def _decode_again(self) -> None:
        """Decode the packets of this group again, without skipping."""
        fed_packets, ended = self.fed_packets, self.drained
        self.complete, self.fed_packets, self.current = True, [], self.frame_before
        self.output.clear()
        self.track.codec_context.flush_buffers()
        self.drained = False
        for packet in fed_packets:
            # `_decode` subtracts it again.
            self.held_bytes += packet.size
            self._decode(packet)
        if ended:
            self._decode(None)

    def _decode_oldest(self) -> None:
        """Decode the oldest held packet of an endless group; keep only the last frame shown."""
        self._decode(self.pending.popleft())
        self._collect()
        if not self.due:
            while self.output and self._seconds_of(self.output[0]) <= self.targets[0]:
                self.current = self.output.popleft()
            self._drop_old_stamps()

    def _drop_old_stamps(self) -> None:
        """Drop time stamps before the current frame, so that an endless group stays fast."""
        at_start = self._ticks(self.current)
        self.stamps = [ticks for ticks in self.stamps if ticks >= at_start]

    def _ticks(self, frame: Frame) -> int:
        if frame is None:
            # Lower than every time stamp of a file.
            return -(2**62)
        if frame.pts is not None:
            return frame.pts
        # AVI has no presentation times.
        return frame.dts if frame.dts is not None else 0

    def _seconds(self, ticks: int) -> float:
        return self.source.seconds(ticks, self.track) or 0.0

    def _seconds_of(self, frame: Frame) -> float:
        return self._seconds(self._ticks(frame))


def _stamp(packet: Packet) -> int:
    stamp: int | None = packet.dts if packet.pts is None else packet.pts
    return 0 if stamp is None else stamp
