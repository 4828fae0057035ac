"""One pass over a file: frames and audio of all spans in one demux loop, seeking only over gaps."""

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence

import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trichord.media.audio import AudioTrack, audible, rate_of
from trichord.media.decoded import Decoded, samples_in
from trichord.media.failure import MediaError, refuse_out_of_memory
from trichord.media.media_file import (
    MediaFile,
    Packets,
    declared_end,
    packet_end,
    packet_time,
)
from trichord.media.picture import pixel_aspect, preview_of, to_rgb
from trichord.media.plan import DecodePlan, Limits
from trichord.media.probe import Status
from trichord.media.pyav import Frame, Packet, Track
from trichord.media.resample import resample
from trichord.media.video import VideoTrack

AHEAD = 5.0
"""Seconds of packets to read through instead of seeking: a seek costs about as much."""
BACK_OFFS = (1.0, 6.0, 40.0, float("inf"))
"""Seconds before the needed time to seek to; the next one is tried if a seek lands too late."""
UNINDEXED = ("mpegts", "mpeg")
"""Containers without an index: FFmpeg only knows the positions that it has seen."""
SHORTEST = 0.1
"""Seconds of a span that must be there if its file ends within it."""
MAX_PEEKED = 500
"""Packets read after a seek to find the first of each track."""

Span = tuple[float, float]


class DecodePass:
    """Decodes spans of an open file and emits each as soon as it is complete."""

    def __init__(
        self,
        source: MediaFile,
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
        self.frame_times = (
            {n: plan.frames.times(*span) for n, span in spans.items()} if plan.frames else {}
        )
        # Overlapping spans may need the same frame:
        # it stays until the last of them is emitted.
        self.uses = Counter(
            time for frame_times in self.frame_times.values() for time in frame_times
        )
        self.frames: dict[float, tuple[float, NDArray[np.uint8]]] = {}
        self.middles = (
            {n: _middle(self.frame_times[n], spans[n]) for n in self.frame_times}
            if plan.preview
            else {}
        )
        """The time of the frame that is the preview of each span."""
        self.previewed = frozenset(self.middles.values())
        self.previews: dict[float, NDArray[np.uint8]] = {}
        self.latest: tuple[Frame, NDArray[np.uint8]] | None = None
        self.converter = VideoReformatter()
        self.video: VideoTrack | None = None
        self.audio: AudioTrack | None = None
        if source.video is not None and self.frame_times:
            assert plan.frames is not None
            self.video = VideoTrack(
                source, sorted(self.uses), plan.frames, limits, self._store_frame
            )
        self.audio_spans: dict[int, Span] = {}
        if source.audio is not None and plan.rates:
            self.audio_spans = {number: self._audio_span(span) for number, span in spans.items()}
            self.audio = AudioTrack(source, list(self.audio_spans.values()), plan)
        # In order of completion, so that only the first is checked.
        self.open = deque(sorted(spans.items(), key=self._due))
        self.cut: dict[int, Span] = {}
        """Spans in which the file ends, cut there: not emitted, because times of frames differ."""
        self.position = 0.0
        self.reached = 0.0
        self.ended = False
        self.last_seek: float | None = None
        self.seeks = 0
        self.ends_early = ""
        self.peeked: deque[Packet] = deque()
        """Packets that were read ahead and come next."""

    def _audio_span(self, span: Span) -> Span:
        """The audio of a span; a part of a longer span is rounded to whole samples of the track."""
        begin, end = self.plan.audio_span(*span)
        if (begin, end) == span:
            return span
        rate = rate_of(self.source.audio)
        first, count = round(begin * rate), math.ceil(self.plan.audio_length(*span) * rate)
        return first / rate, (first + count) / rate

    def _due(self, item: tuple[int, Span]) -> tuple[float, float, int]:
        """Sort key: the time up to which a span needs the file, then its start."""
        number, span = item
        times = [self.audio_spans[number][1]] if self.audio is not None else []
        times += self.frame_times[number][-1:] if self.video is not None else ()
        return max(times, default=span[1]), span[0], number

    def run(self) -> None:
        """Read the file until every span is emitted."""
        tracks = [part.track for part in (self.video, self.audio) if part is not None]
        packets = self._jump(tracks) or self.source.packets(tracks)
        outstanding = self._outstanding()
        while self.open:
            packet = self._next(packets) if tracks else None
            if packet is None:
                self.ended = True
                for part in (self.video, self.audio):
                    if part is not None:
                        part.finish()
            # Empty packets, one per track at the end, only flush the decoders: they are skipped.
            elif packet.size:
                self._feed(packet)
                if outstanding == self._outstanding():
                    continue  # most packets change nothing, and the checks below are slow
                packets = self._jump(tracks) or packets
            self._emit_ready()
            outstanding = self._outstanding()

    def _outstanding(self) -> tuple[int, int, int]:
        """Numbers of open targets, of frames still in the decoder, and of audio blocks to read."""
        video, audio = self.video, self.audio
        return (
            len(video.targets) if video is not None else 0,
            len(video.due) if video is not None else 0,
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
                # Tracks are interleaved by decoding time; a frame may be shown much later.
                decoded = self.source.seconds(packet.dts, packet.stream)
                self.audio.close_before(self.position if decoded is None else decoded)

    # Seeking

    def _jump(self, tracks: list[Track]) -> Packets | None:
        """Seek ahead if that saves reading; return the packets from there, else None."""
        if self.source.restarts:
            return None
        parts = [part.need for part in (self.video, self.audio) if part is not None]
        # The earliest time for which a packet is still needed.
        need = min((time for time in parts if time is not None), default=None)
        # Not twice for the same time: the second seek would land at the same place.
        if need is None or need < self.position + AHEAD or need == self.last_seek:
            return None
        self.last_seek = need
        # Without a keyframe in between, a seek would go back to packets already read.
        if self._keyframe_before(need) <= self.position:
            return None
        for back in BACK_OFFS:
            packets = self._seek_to(need - back, tracks)
            if packets is not None:
                return packets
        return None

    def _keyframe_before(self, time: float) -> float:
        """Where decoding of this time starts by the index; the time itself if it is unknown."""
        if self.video is None or self.source.container in UNINDEXED:
            return time
        track = self.video.track
        ticks = self.source.ticks(time, track)
        entry = track.index_entries.search_timestamp(ticks)
        if entry < 0 or entry == len(track.index_entries) - 1:
            return time  # Matroska's index is loaded by the first seek
        return self.source.seconds(track.index_entries[entry].timestamp, track) or 0.0

    def _seek_to(self, time: float, tracks: list[Track]) -> Packets | None:
        """Packets from a keyframe before this time on; None if the seek lands too late."""
        for part in (self.video, self.audio):
            if part is not None:
                part.restart()
        self.peeked.clear()
        try:
            self.source.seek(time, tracks[0])
        except FFmpegError:
            # Some files are not seekable: they are read through.
            return self.source.packets(tracks)
        self.seeks += 1
        packets = self.source.packets(tracks)
        seen = self._first_of_each(packets, tracks, late_counts=time > 0)
        if seen is None:
            return None
        # A seek lands at different times of the tracks: the earliest counts.
        self.position = min((packet_time(self.source, p) or 0.0 for p in seen), default=time)
        return packets

    def _first_of_each(
        self, packets: Packets, tracks: list[Track], late_counts: bool
    ) -> list[Packet] | None:
        """Packets up to the first decodable one of each track; None if one of these comes too late.

        The packets are read again later, unless the result is None.
        """
        seen: list[Packet] = []
        missing = {track.index for track in tracks}
        while missing and len(seen) < MAX_PEEKED:
            packet = self._next(packets)
            if packet is None or not packet.size:
                break
            seen.append(packet)
            of_video = self.video is not None and packet.stream.index == self.video.track.index
            # A video packet in mid-group cannot be decoded without those before it.
            if packet.stream.index not in missing or (of_video and not packet.is_keyframe):
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

    def _late(self, packet: Packet) -> bool:
        time = packet_time(self.source, packet)
        if time is None:
            return False
        if self.audio is not None and packet.stream.index == self.audio.track.index:
            return bool(self.audio.needed) and time > max(
                0.0, self.audio.block_start(self.audio.needed[0])
            )
        need = self.video.need if self.video is not None else None
        return need is not None and time > need

    # Emitting

    def _store_frame(self, target: float, frame: Frame, time: float) -> None:
        """Store a frame for a target; a frame for several targets is converted once."""
        assert self.plan.frames is not None
        if self.latest is None or self.latest[0] is not frame:
            aspect = pixel_aspect(frame, self.source.video)
            picture = to_rgb(frame, aspect, self.plan.frames, self.limits, self.converter)
            self.latest = (frame, picture)
        self.frames[target] = (time, self.latest[1])
        if target in self.previewed:
            aspect = pixel_aspect(frame, self.source.video)
            self.previews[target] = preview_of(
                frame, aspect, self.plan, self.limits, self.converter
            )

    def _ready(self, number: int, span: Span) -> bool:
        if self.ended:
            return True
        targets = self.video.targets if self.video is not None else ()
        if targets and targets[0] <= self.frame_times[number][-1]:
            return False
        return self.audio is None or self.audio.complete(self.audio_spans[number])

    def _emit_ready(self) -> None:
        while self.open and self._ready(*self.open[0]):
            number, span = self.open.popleft()
            try:
                self._check_complete(number, span)
                if number not in self.cut:
                    self.emit(number, self._build(number, span))
            except MediaError as failure:
                status, reason = failure.status, failure.reason
                self.emit(number, Decoded(status=status, reason=reason, start=span[0], end=span[1]))
            for time in self.frame_times.get(number, ()):
                self.uses[time] -= 1
                if not self.uses[time]:
                    self.frames.pop(time, None)
                    self.previews.pop(time, None)
            if self.audio is not None:
                self.audio.release(self.audio_spans[number])

    def _build(self, number: int, span: Span) -> Decoded:
        """The result of a span; of a track that cannot be decoded nothing, if the other one can."""
        seen, audio, notes = None, {}, []
        if self.source.note:
            notes.append(self.source.note)
        if self.video is not None:
            seen = self._frames_of(number)
        if self.audio is not None:
            audio = self._audio_of(number, span)
        unseen = self.video is not None and seen is None
        unheard = self.audio is not None and self.audio.failed > 0 and not self.audio.decoded
        if unseen and not audio and not self._only_sound():
            raise MediaError("corrupt", "its video cannot be decoded")
        if unheard and seen is None:
            raise MediaError("corrupt", "its audio cannot be decoded")
        notes += ["its video cannot be decoded"] * unseen + [
            "its audio cannot be decoded"
        ] * unheard
        status = self._status(unseen, unheard, bool(audio))
        if self.source.shortfall:
            status, notes = "cut_off", [self.source.shortfall]
        return Decoded(
            status=status,
            reason="; ".join(notes),
            start=span[0],
            end=span[1],
            audio_start=self.plan.audio_span(*span)[0],
            frames=None if seen is None else seen[0],
            times=np.zeros(0) if seen is None else seen[1],
            preview=None if seen is None else self.previews.get(self.middles.get(number, -1.0)),
            audio=audio,
        )

    def _only_sound(self) -> bool:
        """Whether sound, which is not asked for, may be all that the file has: no frame came out."""
        return self.audio is None and self.source.audio is not None and self.latest is None

    def _check_complete(self, number: int, span: Span) -> None:
        """Note a span in which the file ends before its declared end; refuse one that is behind that."""
        if not self.ended:
            return
        self.source.check_clock()
        parts = [part.track for part in (self.video, self.audio) if part is not None]
        ends = [declared_end(self.source, track) for track in parts]
        declared = max((end for end in ends if end is not None), default=0.0)
        due = min(span[1], declared)
        # A track without a declared end is assumed to be as long as the file. This
        # holds only if all tracks are read: a track that is not may be longer.
        if None in ends and len(parts) == len(self.source.tracks()):
            due = span[1]
        # Headers are often slightly wrong. A tenth of a second
        # counts only in a file that is known to be cut off.
        if due - self.reached <= (0.1 if self.source.missing else max(1.0, 0.02 * due)):
            return
        self.ends_early = f"cut off: ends at {self.reached:.1f} of {max(due, declared):.1f} s"
        if self.reached - span[0] < SHORTEST:
            raise MediaError("corrupt", self.source.shortfall or self.ends_early)
        self.cut[number] = (span[0], self.reached)

    def _frames_of(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]] | None:
        """Frames of a span and their times; None if one cannot be decoded."""
        frames = [self.frames[time] for time in self.frame_times[number] if time in self.frames]
        if len(frames) < len(self.frame_times[number]):
            return None
        height, width = frames[0][1].shape[:2]
        # A recording may change its shape midway. Frames of another shape get
        # black bars, as on a screen: all frames of a span are one array.
        pictures = [_in_shape(frame, width, height) for _, frame in frames]
        return np.stack(pictures), np.array([time for time, _ in frames])

    def _audio_of(self, number: int, span: Span) -> dict[int, NDArray[np.float32]]:
        assert self.audio is not None
        samples, context = self.audio.cut(self.audio_spans[number]), self.audio.context
        # The context on either side belongs to other spans. The check comes
        # before resampling, so that a span is silent at all rates or at none.
        if not audible(samples[:, context : samples.shape[1] - context]):
            return {}
        audio: dict[int, NDArray[np.float32]] = {}
        for rate in self.plan.rates:
            count = samples_in(self.plan.audio_length(*span), rate)
            channels = resample(samples, self.audio.rate, rate, context, count)
            audio[rate] = channels if self.plan.stereo else channels[0]
        return audio

    def _status(self, unseen: bool, unheard: bool, audible: bool) -> Status:
        if self.source.audio is None or unheard:
            return "no_audio"
        if self.plan.rates and not audible:
            return "silent"
        return "no_video" if self.source.video is None or unseen else "ok"


def _middle(times: Sequence[float], span: Span) -> float:
    """Of the times of a span's frames, the one nearest to its middle."""
    middle = (span[0] + span[1]) / 2
    return min(times, key=lambda time: abs(time - middle))


def _in_shape(frame: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(ImageOps.pad(Image.fromarray(frame), (width, height)), np.uint8)
