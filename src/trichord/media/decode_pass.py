"""One pass over a file: every span's frames and sound in one demux loop, seeking only over gaps."""

import math
from collections import Counter, deque
from collections.abc import Callable

import numpy as np
from av.error import FFmpegError
from av.stream import Discard
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from trichord.media.audio import AudioTrack, audible, rate_of
from trichord.media.decoded import Decoded, samples_in
from trichord.media.failure import MediaError, refuse_out_of_memory
from trichord.media.picture import picture_of, pixel_aspect
from trichord.media.plan import DecodePlan, Limits
from trichord.media.probe import Status
from trichord.media.resample import resample
from trichord.media.source import (
    Frame,
    Packet,
    Packets,
    Source,
    Track,
    declared_end,
    packet_end,
    packet_time,
)
from trichord.media.video import VideoTrack

AHEAD = 5.0
"""Seconds of packets that are read through rather than sought over: a seek costs about as much."""
BACK_OFFS = (1.0, 6.0, 40.0, float("inf"))
"""Seconds before the wanted time to seek to; each next one where the last landed too late."""
UNINDEXED = ("mpegts", "mpeg")
"""Containers without an index: FFmpeg's has what it came upon in seeking."""
INDEXED = ("mov",)
"""Containers whose whole index is there as soon as they are open."""
MARGIN = 2.0
"""Seconds before a keyframe from which the picture track is read again: FFmpeg hands out the packets
of MP4's tracks within a second of one another."""
PEEKED = 500
"""Packets looked at behind a seek for the first of each track."""

Span = tuple[float, float]


class DecodePass:
    """Decodes spans of an open source and hands each on as soon as it is complete."""

    def __init__(
        self,
        source: Source,
        spans: dict[int, Span],
        plan: DecodePlan,
        limits: Limits,
        emit: Callable[[int, Decoded], None],
    ) -> None:
        """`spans` by number, cut to the file; `emit(number, decoded)` is called once for each."""
        self.source = source
        self.plan = plan
        self.limits = limits
        self.emit = emit
        self.looks = (
            {n: plan.frames.times(*span) for n, span in spans.items()} if plan.frames else {}
        )
        # Spans that overlap may look at the same times:
        # a frame stays until the last of them has it.
        self.users = Counter(time for looks in self.looks.values() for time in looks)
        self.frames: dict[float, tuple[float, NDArray[np.uint8]]] = {}
        self.latest: tuple[Frame, NDArray[np.uint8]] | None = None
        self.converter = VideoReformatter()
        self.video: VideoTrack | None = None
        self.audio: AudioTrack | None = None
        if source.video is not None and self.looks:
            assert plan.frames is not None
            self.video = VideoTrack(source, sorted(self.users), plan.frames, limits, self._keep)
        self.heard: dict[int, Span] = {}
        if source.audio is not None and plan.rates:
            self.heard = {number: self._heard(span) for number, span in spans.items()}
            self.audio = AudioTrack(source, list(self.heard.values()), plan)
        # By completion, so that only the first needs to be looked at.
        self.open = deque(sorted(spans.items(), key=self._due))
        self.position = 0.0
        self.reached = 0.0
        self.ended = False
        self.sought: float | None = None
        self.wake: float | None = None
        """While the picture track is not read: the time from which it is."""
        self.seeks = 0
        self.peeked: deque[Packet] = deque()
        """Packets that were looked at and come next."""

    def _heard(self, span: Span) -> Span:
        """Where a span's sound lies; what is cut out is whole samples of the track, and enough."""
        begin, end = self.plan.audio_span(*span)
        if (begin, end) == span:
            return span
        rate = rate_of(self.source.audio)
        first, count = round(begin * rate), math.ceil(self.plan.audio_length(*span) * rate)
        return first / rate, (first + count) / rate

    def _due(self, item: tuple[int, Span]) -> tuple[float, float, int]:
        """Order of completion: the time up to which a span needs the file, then its start."""
        number, span = item
        times = [self.heard[number][1]] if self.audio is not None else []
        times += self.looks[number][-1:] if self.video is not None else ()
        return max(times, default=span[1]), span[0], number

    def run(self) -> None:
        """Go over the file until every span has been handed on."""
        tracks = [part.track for part in (self.video, self.audio) if part is not None]
        packets = self._jump(tracks) or self.source.packets(tracks)
        self._doze()
        outstanding = self._outstanding()
        while self.open:
            packet = self._next(packets) if tracks else None
            if packet is None and self.audio is not None and self.wake is not None:
                self.audio.finish()  # all of it was read
                packets = self._awaken(packets, tracks)
            elif packet is None:
                self._finish()
            # Empty packets, one a track at the end, only tell decoders to give what they keep.
            elif packet.size:
                self._feed(packet)
                if self.wake is not None and self.position >= self.wake:
                    packets = self._awaken(packets, tracks)
                if outstanding == self._outstanding():
                    continue  # most packets settle nothing, and asking costs as much as they do
                packets = self._jump(tracks) or packets
                self._doze()
            self._hand_on()
            outstanding = self._outstanding()

    def _outstanding(self) -> tuple[int, int, int]:
        """How many targets are to be found and to be handed on, how many blocks of sound to be read."""
        video, audio = self.video, self.audio
        return (
            len(video.targets) if video is not None else 0,
            len(video.wanted) if video is not None else 0,
            len(audio.needed) if audio is not None else 0,
        )

    def _next(self, packets: Packets) -> Packet:
        if self.peeked:
            return self.peeked.popleft()
        try:
            return next(packets, None)
        except FFmpegError as error:  # the rest of the file is unreadable
            refuse_out_of_memory(error)
            return None

    def _feed(self, packet: Packet) -> None:
        time, index = packet_time(self.source, packet), packet.stream.index
        self.position = time or self.position
        self.reached = max(self.reached, packet_end(self.source, packet, time))
        if self.audio is not None and index == self.audio.track.index:
            self.audio.feed(packet, time)
        elif self.video is not None and index == self.video.track.index:
            self.video.feed(packet, time)
            if self.audio is not None:
                # A picture may be shown long after it is decoded, and tracks lie side by side as decoded.
                decoded = self.source.seconds(packet.dts, packet.stream)
                self.audio.pass_by(self.position if decoded is None else decoded)

    def _finish(self) -> None:
        self.ended = True
        for part in (self.video, self.audio):
            if part is not None:
                part.finish()

    # Seeking

    def _need(self) -> float | None:
        """The earliest time of which a packet is still needed."""
        parts = [part.need for part in (self.video, self.audio) if part is not None]
        return min((need for need in parts if need is not None), default=None)

    def _jump(self, tracks: list[Track]) -> Packets | None:
        """Packets from a later point on, where seeking there saves reading; else None."""
        need = self._need()
        # Not twice for the same time: the second seek would land where the first did.
        if need is None or need < self.position + AHEAD or need == self.sought:
            return None
        self.sought = need
        # Without a keyframe in between, a seek would lead back to what has been read.
        if self._keyframe_before(need) <= self.position:
            return None
        return self._seek_before(need, tracks)

    def _seek_before(self, need: float, tracks: list[Track]) -> Packets | None:
        """Packets from the last point on from which this time can be decoded."""
        for back in BACK_OFFS:
            packets = self._land(need - back, tracks)
            if packets is not None:
                return packets
        return None

    def _doze(self) -> None:
        """Let the demuxer drop pictures up to the keyframe before the next target; sound is read on."""
        video = self.video
        if self.source.container not in INDEXED or video is None or self.audio is None:
            return
        heard = self.audio.need
        if self.wake is not None or video.need is None or heard is None:
            return
        if heard > self.position + AHEAD:
            return  # there is a gap to seek over
        # The index knows when a keyframe is decoded; it is shown a little later.
        latest = max(0.0, video.need - MARGIN)
        if latest - MARGIN <= self.position + AHEAD:
            return
        # `MARGIN` again, now for the order in which packets of the two tracks come.
        wake = self._keyframe_before(latest) - MARGIN
        if wake > self.position + AHEAD:
            # Pictures are left out from here on: the group under way would have a hole.
            video.restart()
            video.track.discard = Discard.all
            self.wake = wake

    def _awaken(self, packets: Packets, tracks: list[Track]) -> Packets:
        """Read pictures again; go back to the keyframe where it was passed, as where the sound ended."""
        video, audio = self.video, self.audio
        assert video is not None
        assert audio is not None
        assert video.need is not None
        self._attend()
        if self._first_of_each(packets, [video.track], late_counts=True) is not None:
            return packets
        heard = audio.begin_of(audio.needed[0]) if audio.needed else video.need
        return self._seek_before(min(video.need, heard), tracks) or packets

    def _attend(self) -> None:
        if self.video is not None and self.wake is not None:
            self.video.track.discard = Discard.default
            self.wake = None

    def _keyframe_before(self, time: float) -> float:
        """Where decoding of this time begins by the index; the time itself where it is unknown."""
        if self.video is None or self.source.container in UNINDEXED:
            return time
        track = self.video.track
        ticks = self.source.ticks(time, track)
        entry = track.index_entries.search_timestamp(ticks)
        if entry < 0 or entry == len(track.index_entries) - 1:
            return time  # Matroska's index is read when it is first sought in
        return self.source.seconds(track.index_entries[entry].timestamp, track) or 0.0

    def _land(self, time: float, tracks: list[Track]) -> Packets | None:
        """Packets from a keyframe before this time on; None where the seek came out too late."""
        for part in (self.video, self.audio):
            if part is not None:
                part.restart()
        self._attend()
        self.peeked.clear()
        try:
            self.source.seek(time, tracks[0])
        except FFmpegError:
            # Some files cannot be sought in: they are read through.
            return self.source.packets(tracks)
        self.seeks += 1
        packets = self.source.packets(tracks)
        seen = self._first_of_each(packets, tracks, late_counts=time > 0)
        if seen is None:
            return None
        # Tracks land at different times: the earliest counts.
        self.position = min((packet_time(self.source, p) or 0.0 for p in seen), default=time)
        return packets

    def _first_of_each(
        self, packets: Packets, tracks: list[Track], late_counts: bool
    ) -> list[Packet] | None:
        """Packets up to the first of each track from which it can be decoded; None: that is too late.

        They are the next ones still, unless it is None.
        """
        seen: list[Packet] = []
        missing = {track.index for track in tracks}
        while missing and len(seen) < PEEKED:
            packet = self._next(packets)
            if packet is None or not packet.size:
                break
            seen.append(packet)
            if packet.stream.index not in missing or self._in_mid_group(packet):
                continue
            if late_counts and self._late(packet):
                return None
            missing.discard(packet.stream.index)
        video = self.video
        unseen = video is not None and video.need is not None and video.track.index in missing
        if late_counts and unseen:
            return None
        self.peeked.extendleft(reversed(seen))
        return seen

    def _in_mid_group(self, packet: Packet) -> bool:
        """Whether it is of a picture that cannot be decoded without those before it."""
        seen = self.video is not None and packet.stream.index == self.video.track.index
        return seen and not packet.is_keyframe

    def _late(self, packet: Packet) -> bool:
        time = packet_time(self.source, packet)
        if time is None:
            return False
        if self.audio is not None and packet.stream.index == self.audio.track.index:
            return bool(self.audio.needed) and time > max(
                0.0, self.audio.begin_of(self.audio.needed[0])
            )
        need = self.video.need if self.video is not None else None
        return need is not None and time > need

    # Handing on

    def _keep(self, target: float, frame: Frame, time: float) -> None:
        """Turn a chosen frame into an array, once, for all targets that it answers."""
        assert self.plan.frames is not None
        if self.latest is None or self.latest[0] is not frame:
            aspect = pixel_aspect(frame, self.source.video)
            short_side = self.plan.frames.short_side
            picture = picture_of(frame, aspect, short_side, self.limits, self.converter)
            self.latest = (frame, picture)
        self.frames[target] = (time, self.latest[1])

    def _ready(self, number: int, span: Span) -> bool:
        if self.ended:
            return True
        looked_for = self.video.targets if self.video is not None else ()
        if looked_for and looked_for[0] <= self.looks[number][-1]:
            return False
        return self.audio is None or self.audio.complete(self.heard[number])

    def _hand_on(self) -> None:
        while self.open and self._ready(*self.open[0]):
            number, span = self.open.popleft()
            try:
                decoded = self._build(number, span)
            except MediaError as failure:
                decoded = Decoded(
                    status=failure.status, reason=failure.reason, start=span[0], end=span[1]
                )
            self.emit(number, decoded)
            self._release(number, span)

    def _release(self, number: int, span: Span) -> None:
        for time in self.looks.get(number, ()):
            self.users[time] -= 1
            if not self.users[time]:
                self.frames.pop(time, None)
        if self.audio is not None:
            self.audio.release(self.heard[number])

    def _build(self, number: int, span: Span) -> Decoded:
        self._check_whole(span)
        frames = times = None
        if self.video is not None:
            frames, times = self._frames_of(number)
        audio = self._audio_of(number, span) if self.audio is not None else {}
        return Decoded(
            status=self._status(bool(audio)),
            start=span[0],
            end=span[1],
            audio_start=self.plan.audio_span(*span)[0],
            frames=frames,
            times=np.zeros(0) if times is None else times,
            audio=audio,
        )

    def _check_whole(self, span: Span) -> None:
        """Refuse a span whose end the file declares but does not hold."""
        if not self.ended:
            return
        self.source.check_clock()
        parts = [part.track for part in (self.video, self.audio) if part is not None]
        ends = [declared_end(self.source, track) for track in parts]
        due = min(span[1], max((end for end in ends if end is not None), default=0.0))
        # A track that does not say when it ends is as long as the file, as far as is known.
        # This holds only if all tracks are read: one that is left out may be the longer.
        if None in ends and len(parts) == len(self.source.tracks()):
            due = span[1]
        # Headers are often a little off. A tenth of a second
        # counts only in a file that is known to be cut.
        if due - self.reached > (0.1 if self.source.missing else max(1.0, 0.02 * due)):
            raise MediaError("corrupt", f"cut off: ends at {self.reached:.1f} of {due:.1f} s")

    def _frames_of(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        found = [self.frames[time] for time in self.looks[number] if time in self.frames]
        if len(found) < len(self.looks[number]):
            raise MediaError("corrupt", "its picture cannot be decoded")
        if len({frame.shape for _, frame in found}) > 1:
            raise MediaError("corrupt", "its picture changes its shape")
        return np.stack([frame for _, frame in found]), np.array([time for time, _ in found])

    def _audio_of(self, number: int, span: Span) -> dict[int, NDArray[np.float32]]:
        assert self.audio is not None
        if self.audio.failed and not self.audio.decoded:
            raise MediaError("corrupt", "its sound cannot be decoded")
        samples, context = self.audio.cut(self.heard[number]), self.audio.context
        # What resampling sees on either side belongs to other spans. Judged
        # before resampling, a span is silent at all rates or at none.
        if not audible(samples[:, context : samples.shape[1] - context]):
            return {}
        audio: dict[int, NDArray[np.float32]] = {}
        for rate in self.plan.rates:
            count = samples_in(self.plan.audio_length(*span), rate)
            channels = resample(samples, self.audio.rate, rate, context, count)
            audio[rate] = channels if self.plan.stereo else channels[0]
        return audio

    def _status(self, heard: bool) -> Status:
        if self.source.audio is None:
            return "no_audio"
        if self.plan.rates and not heard:
            return "silent"
        return "no_video" if self.source.video is None else "ok"
