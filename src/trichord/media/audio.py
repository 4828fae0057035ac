"""The sound track: samples of spans, the same bits wherever decoding began.

Decoders carry state (AAC fills bands with noise from a running generator, Opus predicts), so
samples would depend on how much was decoded before them. Therefore the track is cut into blocks of
`BLOCK` seconds, and each is decoded by a decoder of its own that begins `WARM_UP` seconds early:
a sample is a function of the file alone.
"""

from collections import Counter, deque
from itertools import islice
from typing import Any

import numpy as np
from av.error import FFmpegError

from trichord.media.channels import Run, Samples
from trichord.media.failure import refuse_out_of_memory
from trichord.media.plan import DecodePlan
from trichord.media.resample import context_samples
from trichord.media.source import Frame, Packet, Source, Track

# Seconds; a warm-up of half a second makes each block a sixteenth more work.
BLOCK = 8.0
WARM_UP = 0.5
TOGETHER = 1.0
"""Seconds of frames that are turned into samples at once."""
GAP = 0.03
"""Seconds by which time stamps may stray before it is a gap in the track and not rounding."""
FAINTEST = 2.0**-16
"""Half a step of 16-bit sound: what stays below rounds to zero and is silence."""
SLACK = 1.0
"""Seconds of sound kept on either side of what is wanted, beyond what resampling needs."""
CHUNK = 1 << 16
"""Samples looked at together for one that can be heard."""
LATE = 10.0
"""Seconds past its end after which a block waits no longer for packets."""

REOPENED = (
    "aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "libvorbis",
    "flac", "alac", "ac3", "eac3",
)  # fmt: skip
"""Decoders that can be opened afresh from what PyAV lets us copy; PCM has no state and needs none.
Any other codec is one long block, decoded from the file's start."""

Context = Any
"""A PyAV codec context: one decoder."""


def rate_of(track: Track) -> int:
    """Samples a second of a sound track, as its header has it; the decoded frames have the last word."""
    return max(1, track.codec_context.sample_rate)


def audible(samples: Samples) -> bool:
    """Whether anything in it can be heard; it looks no further than the first."""
    pieces = (samples[:, at : at + CHUNK] for at in range(0, samples.shape[1], CHUNK))
    return any(max(piece.max(), -piece.min()) >= FAINTEST for piece in pieces)


class Block:
    """One block of the track and the decoder that works on it; yields (sample index, samples)."""

    def __init__(self, context: Context, number: int, end: float, rows: int) -> None:
        self.context = context
        self.number = number
        self.begin = number * BLOCK
        self.end = end
        self.rate = 0
        self.held: list[tuple[int | None, Frame]] = []
        self.run = Run(rows)
        self.start = 0
        self.next: int | None = None
        self.done = False
        self.failed = 0

    def decode(self, packet: Packet, source: Source) -> list[tuple[int, Samples]]:
        """Decode a packet (None: the end) into the samples that belong to this block."""
        try:
            frames = self.context.decode(packet)
        except FFmpegError as error:
            refuse_out_of_memory(error)
            self.failed += 1
            frames = []
        pieces: list[tuple[int, Samples]] = []
        for frame in frames:
            pieces += self._take(frame, source)
        return pieces + self._anchor() + self._join() if packet is None else pieces

    def _take(self, frame: Frame, source: Source) -> list[tuple[int, Samples]]:
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
        self.held.append((index, frame))
        # Block 0 has no warm-up: its own first half second fixes its place.
        warm = time is not None and time >= self.begin + (WARM_UP if self.number == 0 else 0)
        return self._anchor() if warm else []

    def _anchor(self) -> list[tuple[int, Samples]]:
        """Fix the block's position on the time line from the frames held.

        Matroska and FLV round time stamps to milliseconds; the median over the warm-up is better
        than any one of them. The first frame of a decoder begun in mid-track may be cut: it does
        not count.
        """
        held, self.held = self.held, []
        if self.number and len(held) > 1:
            held = held[1:]
        offsets: list[int] = []
        length = 0
        for index, frame in held:
            if index is not None:
                offsets.append(index - length)
            length += frame.samples
        self.next = round(float(np.median(offsets))) if offsets else round(self.begin * self.rate)
        return [piece for _, frame in held for piece in self._place(None, frame)]

    def _place(self, index: int | None, frame: Frame) -> list[tuple[int, Samples]]:
        assert self.next is not None
        pieces: list[tuple[int, Samples]] = []
        # Without a gap samples are counted on: time stamps are rounded.
        if index is not None and abs(index - self.next) > GAP * self.rate:
            pieces, self.next = self._join(), index
        if not self.run.length:
            self.start = self.next
        self.next = end = self.next + frame.samples
        self.run.add(frame)
        self.done = end >= round(self.end * self.rate)
        whole = self.done or self.run.length >= TOGETHER * self.rate
        return pieces + self._join() if whole else pieces

    def _join(self) -> list[tuple[int, Samples]]:
        """The samples of the frames placed one behind the other, as far as they are the block's."""
        if not self.run.length:
            return []
        samples, start = self.run.take(), self.start
        # No other block would give what comes before block 0.
        low = start if self.number == 0 else max(start, round(self.begin * self.rate))
        high = min(start + samples.shape[1], round(self.end * self.rate))
        return [(low, samples[:, low - start : high - start])] if high > low else []


class AudioTrack:
    """Collects the samples of spans while packets go by, and keeps no more than open spans need."""

    def __init__(self, source: Source, spans: list[tuple[float, float]], plan: DecodePlan) -> None:
        """Spans of sound are (start, end) in seconds from the file's start."""
        self.source = source
        self.track = source.audio
        self.rates = plan.rates
        self.rows = 2 if plan.stereo and self.track.codec_context.channels != 1 else 1
        self.rate: int = rate_of(self.track)
        codec = self.track.codec_context.codec.name
        self.stateless = codec.startswith("pcm_")
        self.undivided = not (self.stateless or codec in REOPENED)
        self.margin = self.context / self.rate
        self.last = max((end for _, end in spans), default=0.0) + self.margin + SLACK
        self.starts = deque(sorted(spans))
        self.closed: Counter[tuple[float, float]] = Counter()
        self.needed = deque(sorted({n for span in spans for n in self.blocks(span)}))
        self.live: dict[int, Block] = {}
        self.settled = (0.0, 0.0)
        """From when to when no block begins and none is given up: most packets need not ask."""
        self.pieces: deque[tuple[int, Samples]] = deque()
        self.failed = 0
        self.decoded = 0.0
        self.last_time = 0.0

    @property
    def context(self) -> int:
        """Samples that resampling wants on either side of a span."""
        return max((context_samples(self.rate, rate) for rate in self.rates), default=0)

    @property
    def need(self) -> float | None:
        """Time of the first packet still needed: -inf for the very next, None when all is there."""
        if not self.needed:
            return None
        return float("-inf") if self.live else self.begin_of(self.needed[0])

    def restart(self) -> None:
        """Forget the blocks under way, behind a seek."""
        self.live.clear()
        self.settled = (0.0, 0.0)

    def blocks(self, span: tuple[float, float]) -> range:
        """Numbers of the blocks that hold a span and what resampling needs around it."""
        if self.undivided:
            return range(1)
        first = max(0.0, span[0] - self.margin) // BLOCK
        return range(int(first), int(max(0.0, span[1] + self.margin) // BLOCK) + 1)

    def begin_of(self, number: int) -> float:
        """From which packet time on a block is decoded."""
        return float("-inf") if number == 0 else number * BLOCK - WARM_UP

    def feed(self, packet: Packet, time: float | None) -> None:
        """Take the next packet and its time."""
        self.last_time = now = self.last_time if time is None else time
        if packet.is_corrupt:
            return
        since, until = self.settled
        settled = since <= now < until
        if not settled:
            self._settle(now)
        # A copy: a block that is done leaves the dict.
        for block in list(self.live.values()):
            self._store(block, block.decode(packet, self.source))
        if not settled:
            self.pass_by(now)

    def _settle(self, now: float) -> None:
        """Begin the blocks that a packet of this time belongs to."""
        near = list(islice(self.needed, 3))
        for number in near:
            if number not in self.live and self.begin_of(number) <= now < self._end(number):
                self._begin(number)
        later = [begin for number in near if (begin := self.begin_of(number)) > now]
        lost = [self._end(number) + LATE for number in near[:1]]
        self.settled = (now, min(later + lost, default=float("inf")))

    def pass_by(self, time: float) -> None:
        """Close blocks that the file has gone past without filling them: a hole in the track."""
        while self.needed and self._end(self.needed[0]) + LATE < time:
            block = self.live.get(self.needed[0])
            if block is not None:
                self._store(block, block.decode(None, self.source))
            self._close(self.needed[0])

    def finish(self) -> None:
        """Take the file's end."""
        self.pass_by(float("inf"))

    def complete(self, span: tuple[float, float]) -> bool:
        """Whether all samples of a span that there will be are there."""
        return not self.needed or self.blocks(span)[-1] < self.needed[0]

    def cut(self, span: tuple[float, float]) -> Samples:
        """Samples of a span at the track's rate, `context` more at either end; zeros where none."""
        low = round(span[0] * self.rate) - self.context
        high = round(span[1] * self.rate) + self.context
        out = np.zeros((self.rows, max(0, high - low)), np.float32)
        for start, samples in self.pieces:
            a, b = max(low, start), min(high, start + samples.shape[1])
            if b > a:
                out[:, a - low : b - low] = samples[:, a - start : b - start]
        return out

    def release(self, span: tuple[float, float]) -> None:
        """Close a span and drop the samples that no open one needs."""
        self.closed[span] += 1
        while self.starts and self.closed[self.starts[0]]:
            self.closed[self.starts.popleft()] -= 1
        self._drop()

    def _drop(self) -> None:
        first = (self.starts[0][0] if self.starts else float("inf")) - self.margin - SLACK
        while self.pieces and (self.pieces[0][0] + self.pieces[0][1].shape[1]) / self.rate < first:
            self.pieces.popleft()

    def _end(self, number: int) -> float:
        return self.last if self.undivided else (number + 1) * BLOCK

    def _begin(self, number: int) -> None:
        self.live[number] = Block(self._decoder(number), number, self._end(number), self.rows)

    def _decoder(self, number: int) -> Context:
        own = self.track.codec_context
        # The track's own decoder knows the packets' clock and trims the encoder's padding.
        if number == 0 or self.stateless:
            return own
        from av.codec import CodecContext

        fresh: Any = CodecContext.create(own.codec.name, "r")
        fresh.thread_count = 1
        fresh.extradata = own.extradata
        fresh.sample_rate = own.sample_rate
        fresh.layout = own.layout
        return fresh

    def _store(self, block: Block, pieces: list[tuple[int, Samples]]) -> None:
        self.rate = block.rate or self.rate
        if pieces:
            self.pieces.extend(pieces)
            self.decoded += sum(samples.shape[1] for _, samples in pieces) / self.rate
            self._drop()
        if block.done:
            self._close(block.number)

    def _close(self, number: int) -> None:
        block = self.live.pop(number, None)
        self.settled = (0.0, 0.0)
        self.failed += block.failed if block is not None else 0
        if number in self.needed:
            self.needed.remove(number)
