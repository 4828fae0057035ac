"""The audio track: samples of spans, the same bits wherever decoding starts.

Decoders carry state (AAC fills bands with noise from a running generator, Opus predicts), so
samples would depend on how much was decoded before them. So the track is cut into blocks of `BLOCK`
seconds. Each block has its own decoder, which starts `WARM_UP` seconds early: a sample depends on the
file alone.
"""

from collections import Counter, deque
from itertools import islice
from typing import Any

import numpy as np
from av.error import FFmpegError

from trichord.media.channels import SILENCE_LEVEL, SampleRun, Samples
from trichord.media.failure import refuse_out_of_memory
from trichord.media.media_file import MediaFile
from trichord.media.plan import DecodePlan
from trichord.media.pyav import Frame, Packet, Track
from trichord.media.resample import context_samples

# Seconds; a warm-up of half a second makes each block a sixteenth more work.
BLOCK = 8.0
WARM_UP = 0.5
JOIN_SECONDS = 1.0
"""Seconds of frames that are converted to samples at once."""
GAP = 0.03
"""Seconds by which time stamps may be off: more is a gap in the track, less is rounding."""
SLACK = 1.0
"""Seconds of audio kept on either side of a span, beyond what resampling needs."""
CHUNK = 1 << 16
"""Samples checked at once for an audible one."""
BLOCK_PATIENCE = 10.0
"""Seconds past its end for which a block waits for packets."""

RECREATED = (
    "aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "libvorbis",
    "flac", "alac", "ac3", "eac3",
)  # fmt: skip
"""Decoders that can be created again from the settings that PyAV lets us copy. PCM has no state and
needs no second decoder. Any other codec is one long block, decoded from the start of the file."""

Context = Any
"""A PyAV codec context: one decoder."""


def rate_of(track: Track) -> int:
    """Sample rate of an audio track by its header; the decoded frames may correct it."""
    return max(1, track.codec_context.sample_rate)


def audible(samples: Samples) -> bool:
    """Whether any sample is audible; it stops at the first."""
    pieces = (samples[:, at : at + CHUNK] for at in range(0, samples.shape[1], CHUNK))
    return any(max(piece.max(), -piece.min()) >= SILENCE_LEVEL for piece in pieces)


class Block:
    """One block of the track and its decoder; gives pieces (sample index, samples)."""

    def __init__(self, context: Context, number: int, end: float, rows: int) -> None:
        self.context = context
        self.number = number
        self.begin = number * BLOCK
        self.end = end
        self.rate = 0
        self.pending: list[tuple[int | None, Frame]] = []
        self.run = SampleRun(rows)
        self.start = 0
        self.next: int | None = None
        self.done = False
        self.failed = 0

    def decode(self, packet: Packet, source: MediaFile) -> list[tuple[int, Samples]]:
        """Decode a packet (None: the end) into samples of this block."""
        try:
            frames = self.context.decode(packet)
        except FFmpegError as error:
            refuse_out_of_memory(error)
            self.failed += 1
            frames = []
        pieces: list[tuple[int, Samples]] = []
        for frame in frames:
            pieces += self._add(frame, source)
        return pieces + self._anchor() + self._join() if packet is None else pieces

    def _add(self, frame: Frame, source: MediaFile) -> list[tuple[int, Samples]]:
        if frame.samples == 0:
            return []
        self.rate = self.rate or frame.sample_rate
        if frame.sample_rate != self.rate:
            self.failed += 1
            return []
        time = source.seconds(frame.pts, source.audio)
        index = None if time is None else round(time * self.rate)
        if self.next is not None:
            return self._place(index, frame)
        self.pending.append((index, frame))
        # Block 0 has no warm-up: its first half second fixes its position.
        warm = time is not None and time >= self.begin + (WARM_UP if self.number == 0 else 0)
        return self._anchor() if warm else []

    def _anchor(self) -> list[tuple[int, Samples]]:
        """Fix the position of the block on the time line by the pending frames.

        Matroska and FLV round time stamps to milliseconds: the median over the warm-up is more
        precise than any one of them. The first frame of a decoder that starts in mid-track may be
        cut, so it does not count.
        """
        pending, self.pending = self.pending, []
        if self.number and len(pending) > 1:
            pending = pending[1:]
        offsets: list[int] = []
        length = 0
        for index, frame in pending:
            if index is not None:
                offsets.append(index - length)
            length += frame.samples
        self.next = round(float(np.median(offsets))) if offsets else round(self.begin * self.rate)
        return [piece for _, frame in pending for piece in self._place(None, frame)]

    def _place(self, index: int | None, frame: Frame) -> list[tuple[int, Samples]]:
        assert self.next is not None
        pieces: list[tuple[int, Samples]] = []
        # Without a gap the samples are counted, because time stamps are rounded.
        if index is not None and abs(index - self.next) > GAP * self.rate:
            pieces, self.next = self._join(), index
        if not self.run.length:
            self.start = self.next
        self.next = end = self.next + frame.samples
        self.run.add(frame)
        self.done = end >= round(self.end * self.rate)
        full = self.done or self.run.length >= JOIN_SECONDS * self.rate
        return pieces + self._join() if full else pieces

    def _join(self) -> list[tuple[int, Samples]]:
        """The samples of the consecutive frames so far, cut to the block."""
        if not self.run.length:
            return []
        samples, start = self.run.take(), self.start
        # No other block gives the samples before block 0.
        low = start if self.number == 0 else max(start, round(self.begin * self.rate))
        high = min(start + samples.shape[1], round(self.end * self.rate))
        return [(low, samples[:, low - start : high - start])] if high > low else []


class AudioTrack:
    """Collects the samples of spans from a stream of packets; keeps only what open spans need."""

    def __init__(
        self, source: MediaFile, spans: list[tuple[float, float]], plan: DecodePlan
    ) -> None:
        """Spans are (start, end) in seconds from the start of the file."""
        self.source = source
        self.track = source.audio
        self.rates = plan.rates
        self.rows = 2 if plan.stereo and self.track.codec_context.channels != 1 else 1
        self.rate: int = rate_of(self.track)
        codec = self.track.codec_context.codec.name
        self.stateless = codec.startswith("pcm_")
        self.single_block = not (self.stateless or codec in RECREATED)
        self.margin = self.context / self.rate
        self.last = max((end for _, end in spans), default=0.0) + self.margin + SLACK
        self.starts = deque(sorted(spans))
        self.closed: Counter[tuple[float, float]] = Counter()
        self.needed = deque(sorted({n for span in spans for n in self.blocks(span)}))
        self.active: dict[int, Block] = {}
        self.idle_window = (0.0, 0.0)
        """Times between which no block starts and none is given up: most packets skip the check."""
        self.pieces: deque[tuple[int, Samples]] = deque()
        self.failed = 0
        self.decoded = 0.0
        self.last_time = 0.0

    @property
    def context(self) -> int:
        """Samples that resampling needs on either side of a span."""
        return max((context_samples(self.rate, rate) for rate in self.rates), default=0)

    @property
    def need(self) -> float | None:
        """Time of the first packet still needed: -inf for the very next one, None if none is."""
        if not self.needed:
            return None
        return float("-inf") if self.active else self.block_start(self.needed[0])

    def restart(self) -> None:
        """Drop the blocks in progress, after a seek."""
        self.active.clear()
        self.idle_window = (0.0, 0.0)

    def blocks(self, span: tuple[float, float]) -> range:
        """Numbers of the blocks that cover a span and the context for resampling."""
        if self.single_block:
            return range(1)
        first = max(0.0, span[0] - self.margin) // BLOCK
        return range(int(first), int(max(0.0, span[1] + self.margin) // BLOCK) + 1)

    def block_start(self, number: int) -> float:
        """Packet time from which a block is decoded."""
        return float("-inf") if number == 0 else number * BLOCK - WARM_UP

    def feed(self, packet: Packet, time: float | None) -> None:
        """Process the next packet and its time."""
        self.last_time = now = self.last_time if time is None else time
        # A cut packet of PCM still has the samples before the cut.
        if packet.is_corrupt and not self.stateless:
            return
        since, until = self.idle_window
        idle = since <= now < until
        if not idle:
            self._start_blocks(now)
        # A copy, because a finished block leaves the dict.
        for block in list(self.active.values()):
            self._store(block, block.decode(packet, self.source))
        if not idle:
            self.close_before(now)

    def _start_blocks(self, now: float) -> None:
        """Start the blocks that a packet of this time belongs to."""
        near = list(islice(self.needed, 3))
        for number in near:
            if number not in self.active and self.block_start(number) <= now < self._end(number):
                block = Block(self._decoder(number), number, self._end(number), self.rows)
                self.active[number] = block
        later = [begin for number in near if (begin := self.block_start(number)) > now]
        lost = [self._end(number) + BLOCK_PATIENCE for number in near[:1]]
        self.idle_window = (now, min(later + lost, default=float("inf")))

    def close_before(self, time: float) -> None:
        """Close blocks that the file has passed without filling them: the track has a hole."""
        while self.needed and self._end(self.needed[0]) + BLOCK_PATIENCE < time:
            block = self.active.get(self.needed[0])
            if block is not None:
                self._store(block, block.decode(None, self.source))
            self._close(self.needed[0])

    def finish(self) -> None:
        """Process the end of the file."""
        self.close_before(float("inf"))

    def complete(self, span: tuple[float, float]) -> bool:
        """Whether all available samples of a span are decoded."""
        return not self.needed or self.blocks(span)[-1] < self.needed[0]

    def cut(self, span: tuple[float, float]) -> Samples:
        """Samples of a span at the rate of the track, with `context` more at either end; gaps are zeros."""
        low = round(span[0] * self.rate) - self.context
        high = round(span[1] * self.rate) + self.context
        out = np.zeros((self.rows, max(0, high - low)), np.float32)
        for start, samples in self.pieces:
            a, b = max(low, start), min(high, start + samples.shape[1])
            if b > a:
                out[:, a - low : b - low] = samples[:, a - start : b - start]
        return out

    def release(self, span: tuple[float, float]) -> None:
        """Close a span and drop the samples that no open span needs."""
        self.closed[span] += 1
        while self.starts and self.closed[self.starts[0]]:
            self.closed[self.starts.popleft()] -= 1
        self._drop()

    def _drop(self) -> None:
        first = (self.starts[0][0] if self.starts else float("inf")) - self.margin - SLACK
        while self.pieces and (self.pieces[0][0] + self.pieces[0][1].shape[1]) / self.rate < first:
            self.pieces.popleft()

    def _end(self, number: int) -> float:
        return self.last if self.single_block else (number + 1) * BLOCK

    def _decoder(self, number: int) -> Context:
        context = self.track.codec_context
        # The decoder of the track knows the clock of its packets and trims the encoder's padding.
        if number == 0 or self.stateless:
            return context
        from av.codec import CodecContext

        decoder: Any = CodecContext.create(context.codec.name, "r")
        decoder.thread_count = 1
        decoder.extradata = context.extradata
        decoder.sample_rate = context.sample_rate
        decoder.layout = context.layout
        return decoder

    def _store(self, block: Block, pieces: list[tuple[int, Samples]]) -> None:
        self.rate = block.rate or self.rate
        if pieces:
            self.pieces.extend(pieces)
            self.decoded += sum(samples.shape[1] for _, samples in pieces) / self.rate
            self._drop()
        if block.done:
            self._close(block.number)

    def _close(self, number: int) -> None:
        block = self.active.pop(number, None)
        self.idle_window = (0.0, 0.0)
        self.failed += block.failed if block is not None else 0
        if number in self.needed:
            self.needed.remove(number)
