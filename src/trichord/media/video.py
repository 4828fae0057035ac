"""The picture track: the frames shown at given times, decoding no more than leads to them."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable

from av.error import FFmpegError

from trichord.media.failure import refuse_out_of_memory
from trichord.media.plan import FramePlan, Limits
from trichord.media.source import Frame, Packet, Source, check_pixels, packet_time

# Packets held back at most: a group of pictures may never end.
HELD_BYTES = 64 * 1024**2
DATED = ("mov", "mpegts", "flv")
"""Containers that say of a packet both when it is decoded and when it is shown."""
LEAVING_OUT = ("h264", "mpeg4", "mpeg2video")
"""Decoders that can leave out pictures no other is predicted from, and give the same others. (HEVC's
leave out pictures that higher temporal layers may be predicted from.)"""
PAINTING = ("mpeg4", "libdav1d")
"""Decoders that paint whole pictures, damaged ones too: what their memory held before never shows.
(VP8's leaves it there.)"""
TOLERANCE = 1e-6
"""Seconds by which a time stamp may lie behind its target and still count as shown."""


class VideoTrack:
    """Finds, for each target time, the last frame at or before it (the first, where none is).

    Packets of a group of pictures are held back undecoded until it is known whether a target falls
    into the group: the demuxer has passed the target and no keyframe came between. Then as many are
    decoded, in decoding order, as lead to the frame. A decoder of B-frames keeps it back for some
    packets more: they are decoded only if another target needs them, else it is fetched from the
    decoder as at the file's end. If the plan wants keyframes alone, each is a group by itself.

    Of the pictures that lead to a frame, those that no other is predicted from are left out where the
    decoder can. Where the file turns out to be damaged, so that a frame that does not come out is
    answered by the one before it, the group is decoded once more, whole.

    Where the container has no decoding times (Matroska) or no presentation times (AVI), FFmpeg guesses
    them, and packets of earlier frames may yet come. There the frame is the one that the decoder puts
    out in its place, however many packets that takes.
    """

    def __init__(
        self,
        source: Source,
        targets: list[float],
        plan: FramePlan,
        limits: Limits,
        choose: Callable[[float, Frame, float], None],
    ) -> None:
        """Call `choose(target, frame, time)` for each of the sorted `targets`, in order."""
        self.source = source
        self.track = source.video
        self.targets = deque(targets)
        self.keys_alone = plan.nearest == "keyframe"
        self.undated = source.container not in DATED and not self.keys_alone
        self.leaves_out = not self.undated and self.track.codec_context.name in LEAVING_OUT
        self.paints = self.track.codec_context.name in PAINTING
        self.limits = limits
        self.choose = choose
        self.decoded = 0
        self.failed = 0
        self.shown: Frame = None
        self.first = True
        self.fed = False
        self.drained = False
        self._forget_group()

    def restart(self) -> None:
        """Leave the group of pictures under way; the next keyframe begins a new one."""
        self._drain()
        self._forget_group()

    def _forget_group(self) -> None:
        self.waiting: deque[Packet] = deque()
        self.output: deque[Frame] = deque()
        self.wanted: deque[int] = deque()
        """Time stamps that answer the first targets; their packets are decoded, their frames not out."""
        self.known: list[int] = []
        self.past: list[Packet] = []
        """Packets of this group that were decoded, in case some were left out that now count."""
        self.past_bytes = 0
        self.before, self.whole = self.shown, not self.leaves_out
        self.held = 0
        if self.fed:
            self.track.codec_context.flush_buffers()
        self.fed = self.drained = False

    @property
    def need(self) -> float | None:
        """The next target whose packets are not decoded yet, None when there is none."""
        return self.targets[len(self.wanted)] if len(self.targets) > len(self.wanted) else None

    def feed(self, packet: Packet, time: float | None) -> None:
        """Take the next packet in decoding order, and its time."""
        need = self.need
        if need is None or packet.is_corrupt:
            return
        key = packet.is_keyframe
        # The first packet counts in any case: not every file begins with a keyframe.
        if not self.keys_alone or key or self.first:
            # The target can be reached from here: what is
            # held of the group before is never decoded.
            if key and time is not None and time <= need + TOLERANCE:
                self.restart()
            elif not (self.known or self.first or key):
                return  # the middle of a group, behind a seek
            self._hold(packet, time)
        # Packets come in decoding order and none is shown before it
        # is decoded: all that are shown before this time are known.
        horizon = self.source.seconds(packet.dts, self.track)
        self._settle(time if horizon is None else horizon)
        while self.held > HELD_BYTES:
            self._shed()

    def _hold(self, packet: Packet, time: float | None) -> None:
        self.first = False
        self.waiting.append(packet)
        self.held += packet.size
        if time is not None and not packet.is_discard:
            self.known.append(_stamp(packet))

    def finish(self) -> None:
        """Take the file's end: every target left is settled by what there is."""
        self._settle(float("inf"))
        self._drain()
        self.targets.clear()

    def _settle(self, horizon: float | None) -> None:
        """Decode what targets before `horizon` take, up to which all packets are known."""
        need = self.need
        if need is None or horizon is None or need + TOLERANCE >= horizon:
            if self.wanted:
                self._collect()
            return
        while need is not None and need + TOLERANCE < horizon:
            self._skip_to_key(need)
            self.wanted.append(self._answer(need))
            self._decode_through(self.wanted[-1])
            self._collect()
            # A packet of a frame nearer to the target may yet come: the answer is found anew then.
            if self.undated and self.wanted and horizon < float("inf"):
                self.wanted.pop()
                return
            need = self.need
        # No packet follows that would push the frames out of the decoder.
        if need is None or self.keys_alone:
            self._drain()

    def _skip_to_key(self, need: float) -> None:
        """Begin anew at a keyframe among the packets held from which the target can be reached."""
        keys = [n for n, packet in enumerate(self.waiting) if self._leads_to(packet, need)]
        # Nothing to gain where the group begins at that keyframe already.
        if not keys or (keys[-1] == 0 and not self.fed):
            return
        kept = list(self.waiting)[keys[-1] :]
        self.restart()
        for packet in kept:
            self._hold(packet, packet_time(self.source, packet))

    def _leads_to(self, packet: Packet, need: float) -> bool:
        if not packet.is_keyframe:
            return False
        time = packet_time(self.source, packet)
        return time is not None and time <= need + TOLERANCE

    def _answer(self, target: float) -> int:
        """Time stamp of the frame shown at `target`, among the packets of this group."""
        ordered = sorted(self.known)
        count = bisect_right(ordered, target + TOLERANCE, key=self._at)
        return ordered[max(0, count - 1)] if ordered else 0

    def _decode_through(self, stamp: int) -> None:
        """Decode the packets held up to the one of this time stamp; none where it is behind."""
        stamps = [_stamp(packet) for packet in self.waiting]
        for _ in range(stamps.index(stamp) + 1 if stamp in stamps else 0):
            packet = self.waiting.popleft()
            self._decode(packet, needless=_stamp(packet) < stamp)
        while self.undated and self.waiting and self._reach(stamp, final=False) is None:
            self._decode(self.waiting.popleft())

    def _collect(self, final: bool = False) -> None:
        """Hand on the frames that are out; `final`: no more come out of this group."""
        while self.wanted:
            frame = self._reach(self.wanted[0], final)
            if frame is None:
                return
            # Not the frame meant: one that was left out might have come nearer to it.
            if not self.whole and self._ticks(frame) != self.wanted[0]:
                self._decode_whole()
                continue
            self.wanted.popleft()
            self.choose(self.targets.popleft(), frame, self._time(frame))
            self._forget()

    def _reach(self, wanted: int, final: bool) -> Frame:
        """The frame with this time stamp or the last before; None while it is not out."""
        while self.shown is None or self._ticks(self.shown) < wanted:
            if not self.output:
                return self.shown if final else None
            if self.shown is not None and self._ticks(self.output[0]) > wanted:
                return self.shown
            self.shown = self.output.popleft()
        return self.shown

    def _drain(self) -> None:
        """Fetch the frames that the decoder keeps back, where a target waits for one."""
        if not self.wanted:
            return
        self._decode(None)
        if not self.whole and self.shown is None and not self.output:
            self._decode_whole()
        if self.shown is None and not self.output:  # all damaged so far: the first that is not
            rest: Iterable[Packet] = [*self.waiting, None]
            for packet in rest:
                if not self.output:
                    self._decode(packet)
        self._collect(final=True)

    def _decode(self, packet: Packet, needless: bool = False) -> None:
        """Decode a packet; a needless one only if others are predicted from it. None ends the group."""
        # After its end a decoder takes no packet until it is flushed.
        if self.drained:
            self.track.codec_context.flush_buffers()
        self.fed, self.drained = True, packet is None
        if packet is not None:
            self.held -= packet.size
            self.decoded += 1
            self._note(packet)
        # NONREF: FFmpeg leaves out what no other picture is predicted from.
        self.track.codec_context.skip_frame = "DEFAULT" if self.whole or not needless else "NONREF"
        try:
            frames = self.track.codec_context.decode(packet)
        except FFmpegError as error:
            refuse_out_of_memory(error)
            self.failed += 1
            frames = None
        if not self.whole and (frames is None or any(frame.is_corrupt for frame in frames)):
            self._decode_whole()  # what is damaged is mended by what was decoded before, whatever it was
            return
        for frame in frames or ():
            check_pixels(frame.width, frame.height, self.limits)
            if self._ticks(frame) >= self._ticks(self.shown):
                if self.output and self._overtakes(frame):
                    self.output.pop()
                self.output.append(frame)

    def _overtakes(self, frame: Frame) -> bool:
        """Whether a frame makes the one put out before it useless.

        Its memory goes back to the decoder then, for the next frame: while it lies in the processor's
        cache, that saves a tenth of decoding.
        """
        if (
            not self.paints
            or not self.wanted
            or self._at(self.wanted[0]) > self.targets[0] + TOLERANCE
        ):
            return False
        return self._ticks(self.output[-1]) < self._ticks(frame) <= self.wanted[0]

    def _note(self, packet: Packet) -> None:
        if self.whole:
            return
        self.past.append(packet)
        self.past_bytes += packet.size
        # Too much to keep for a second try: from here on nothing is left out.
        if self.past_bytes > HELD_BYTES:
            self.whole, self.past = True, []

    def _decode_whole(self) -> None:
        """Decode what this group has had so far once more, leaving nothing out."""
        past, ended = self.past, self.drained
        self.whole, self.past, self.shown = True, [], self.before
        self.output.clear()
        self.track.codec_context.flush_buffers()
        self.drained = False
        for packet in past:
            # `_decode` takes it off once more.
            self.held += packet.size
            self._decode(packet)
        if ended:
            self._decode(None)

    def _shed(self) -> None:
        """Decode one held packet of an endless group, keeping only the frame shown last."""
        self._decode(self.waiting.popleft())
        self._collect()
        if not self.wanted:
            while self.output and self._time(self.output[0]) <= self.targets[0]:
                self.shown = self.output.popleft()
            self._forget()

    def _forget(self) -> None:
        """Drop time stamps before the frame shown, lest an endless group make searches longer."""
        first = self._ticks(self.shown)
        self.known = [ticks for ticks in self.known if ticks >= first]

    def _ticks(self, frame: Frame) -> int:
        if frame is None:
            # Before every time stamp of a file.
            return -(2**62)
        if frame.pts is not None:
            return frame.pts
        # AVI has no presentation times.
        return frame.dts if frame.dts is not None else 0

    def _at(self, ticks: int) -> float:
        return self.source.seconds(ticks, self.track) or 0.0

    def _time(self, frame: Frame) -> float:
        return self._at(self._ticks(frame))


def _stamp(packet: Packet) -> int:
    stamp: int | None = packet.dts if packet.pts is None else packet.pts
    return 0 if stamp is None else stamp
