"""The picture track: the frames shown at given times, decoding no group of pictures without one."""

from collections import deque
from collections.abc import Callable

from trichord.media.failure import refuse_hunger
from trichord.media.plan import Limits
from trichord.media.source import Frame, Packet, Source, check_pixels, packet_time

HELD_BYTES = 64 * 1024**2
TOLERANCE = 1e-6
"""Seconds by which a time stamp may lie behind its target and still count as shown."""


class Sight:
    """Finds, for each target time, the last frame at or before it (the first, where none is).

    Packets of a group of pictures are held back undecoded until it is known whether a target falls
    into the group: the demuxer has passed the target and no keyframe came between. Then as many
    are decoded as the frame takes.
    """

    def __init__(
        self,
        source: Source,
        targets: list[float],
        limits: Limits,
        choose: Callable[[float, Frame, float], None],
    ) -> None:
        """Call `choose(target, frame, time)` for each of the sorted `targets`, in order."""
        self.source = source
        self.track = source.video
        self.targets = deque(targets)
        self.limits = limits
        self.choose = choose
        self.decoded = 0
        self.failed = 0
        self.shown: Frame = None
        self.first = True
        self.restart()

    def restart(self) -> None:
        """Forget the group of pictures under way; the next keyframe begins a new one."""
        self.waiting: deque[Packet] = deque()
        self.output: deque[Frame] = deque()
        self.known: list[int] = []
        self.held = 0
        self.fed = False
        self.ended = False

    @property
    def need(self) -> float | None:
        """The next target, None when all are found."""
        return self.targets[0] if self.targets else None

    def feed(self, packet: Packet) -> None:
        """Take the next packet in decoding order."""
        if not self.targets or packet.is_corrupt:
            return
        time = packet_time(self.source, packet)
        if packet.is_keyframe and time is not None and time <= self.targets[0] + TOLERANCE:
            self._begin_group()
        elif not (self.known or self.first or packet.is_keyframe):
            return  # the middle of a group, behind a seek
        self.first = False
        self.waiting.append(packet)
        self.held += packet.size
        if time is not None and not packet.is_discard:
            self.known.append(packet.dts if packet.pts is None else packet.pts)
        horizon = self.source.seconds(packet.dts, self.track)
        self._settle(time if horizon is None else horizon)
        while self.held > HELD_BYTES:
            self._shed()

    def finish(self) -> None:
        """Take the file's end: every target left is settled by what there is."""
        self.ended = True
        self.waiting.append(None)
        self._settle(float("inf"))

    def _begin_group(self) -> None:
        if self.fed:
            self.track.codec_context.flush_buffers()
        self.restart()

    def _settle(self, horizon: float | None) -> None:
        """Choose frames for the targets before `horizon`, up to which all packets are known."""
        while self.targets and horizon is not None and self.targets[0] + TOLERANCE < horizon:
            frame = self._reach(self._wanted(self.targets[0]))
            if frame is None and not self.ended:
                return
            target = self.targets.popleft()
            if frame is None:
                continue
            self.choose(target, frame, self._time(frame))
            self._forget()

    def _wanted(self, target: float) -> int:
        """Time stamp of the frame shown at `target`, among the packets of this group."""
        earlier = [t for t in self.known if self._at(t) <= target + TOLERANCE]
        return max(earlier) if earlier else min(self.known, default=0)

    def _reach(self, wanted: int) -> Frame:
        """The frame with this time stamp or the last before; None while it needs more packets."""
        while self.shown is None or self._ticks(self.shown) < wanted:
            frame = self._peek()
            if frame is None:
                return self.shown if self.ended else None
            if self.shown is not None and self._ticks(frame) > wanted:
                return self.shown
            self.shown = self.output.popleft()
        return self.shown

    def _peek(self) -> Frame:
        while not self.output and self.waiting:
            self._decode(self.waiting.popleft())
        return self.output[0] if self.output else None

    def _decode(self, packet: Packet) -> None:
        from av.error import FFmpegError

        self.fed = True
        self.held -= packet.size if packet is not None else 0
        try:
            frames = self.track.codec_context.decode(packet)
        except FFmpegError as error:
            refuse_hunger(error)
            self.failed += 1
            return
        for frame in frames:
            check_pixels(frame.width, frame.height, self.limits)
            self.decoded += 1
            if self._ticks(frame) >= self._ticks(self.shown):
                self.output.append(frame)

    def _shed(self) -> None:
        """Decode one held packet of an endless group, keeping only the frame shown last."""
        self._decode(self.waiting.popleft())
        while self.output and self._time(self.output[0]) <= self.targets[0]:
            self.shown = self.output.popleft()
        self._forget()

    def _forget(self) -> None:
        """Drop time stamps before the frame shown, lest an endless group make searches longer."""
        self.known = [ticks for ticks in self.known if ticks >= self._ticks(self.shown)]

    def _ticks(self, frame: Frame) -> int:
        if frame is None:
            return -(2**62)
        if frame.pts is not None:
            return frame.pts
        return frame.dts if frame.dts is not None else 0

    def _at(self, ticks: int) -> float:
        return self.source.seconds(ticks, self.track) or 0.0

    def _time(self, frame: Frame) -> float:
        return self._at(self._ticks(frame))
