"""From media files to moments with vectors."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float

from trichord.media.decoded import Decoded
from trichord.media.decoder import Decoder
from trichord.media.plan import DecodePlan, Request
from trichord.media.probe import USABLE, Probe
from trichord.models.embedder import Embedder
from trichord.search.moments import SECONDS, moments
from trichord.search.table import Entry, Vector
from trichord.types import Modality, Moment

Item = TypeVar("Item")
Span = tuple[float, float]

SPANS_AT_ONCE = 8
"""Moments in one request: a file of hours is decoded in pieces, in memory that does not grow."""
MOMENTS_AT_ONCE = 16
"""Moments embedded together, across files."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How files are cut into moments: length and distance of starts, in seconds."""

    seconds: float = SECONDS
    hop: float = SECONDS


def read_moments(
    model: Embedder,
    decoder: Decoder,
    files: Iterable[str],
    cut: Cut,
    *,
    tokens: Sequence[float] = (),
    modalities: Sequence[Modality] = ("audio", "vision"),
) -> Iterator[Entry]:
    """All moments of files, in order, decoded ahead while the model works.

    A file that cannot be used gives one moment of no length, without vectors, and its status.

    Args:
        model: Makes the vectors.
        decoder: Reads the files.
        files: Paths.
        cut: How files are cut into moments.
        tokens: Sound tokens to listen at; empty: listen as the model does.
        modalities: What is looked at; of anything else there is no vector.
    """
    plan = model.plan_of(modalities)
    for batch in batches(_decoded(plan, decoder, files, cut), MOMENTS_AT_ONCE):
        found = model.embed_media([decoded for _, decoded in batch], tokens)
        vision = _rows(found.vision, found.has_vision)
        audio = _rows(found.audio.reshape(len(batch), -1), found.has_audio)
        for (moment, decoded), seen, heard in zip(batch, vision, audio, strict=True):
            yield Entry(
                moment=moment,
                status=decoded.status,
                reason=decoded.reason,
                vision=seen,
                audio=heard,
            )


def decode_moments(
    moments: Iterable[Moment], decoder: Decoder, plan: DecodePlan
) -> Iterator[Decoded]:
    """Moments decoded anew, in order; of a file that has gone or is broken comes its status."""
    requests = (
        Request(path=one.file, spans=((one.start, _end(one.start, one.end)),), plan=plan)
        for one in moments
    )
    return (decoded for [decoded] in decoder.decode_all(requests))


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def _rows(
    vectors: Float[np.ndarray, "clip dim"], present: Bool[np.ndarray, " clip"]
) -> list[Vector | None]:
    """Each vector, None where there is none or its numbers are broken."""
    usable = present & np.isfinite(vectors).all(1) & (np.abs(vectors).sum(1) > 0)
    return [row if has else None for row, has in zip(vectors, usable, strict=True)]


@dataclass(frozen=True, slots=True)
class _Job:
    """A request's file and moments; no spans where the file is not usable and nothing is asked."""

    probe: Probe
    spans: Sequence[Span]


def _decoded(
    plan: DecodePlan, decoder: Decoder, files: Iterable[str], cut: Cut
) -> Iterator[tuple[Moment, Decoded]]:
    jobs: deque[_Job] = deque()

    def requests() -> Iterator[Request]:
        for probe in decoder.probe_all(files):
            for spans in _portions(probe, cut):
                jobs.append(_Job(probe, spans))
                if spans:
                    wanted = tuple((start, _end(start, end)) for start, end in spans)
                    yield Request(path=probe.path, spans=wanted, plan=plan)

    for answers in decoder.decode_all(requests()):
        yield from _refused(jobs)
        job = jobs.popleft()
        for (start, end), decoded in zip(job.spans, answers, strict=True):
            yield Moment(file=job.probe.path, start=start, end=end), decoded
    yield from _refused(jobs)


def _end(start: float, end: float) -> float | None:
    """A picture is a moment of no length: all of it is asked for."""
    return end if end > start else None


def _portions(probe: Probe, cut: Cut) -> Iterator[Sequence[Span]]:
    if probe.status not in USABLE:
        yield ()
        return
    yield from batches(moments(probe.duration or 0.0, cut.seconds, cut.hop), SPANS_AT_ONCE)


def _refused(jobs: deque[_Job]) -> Iterator[tuple[Moment, Decoded]]:
    """The files that nothing was asked of, up to the next request."""
    while jobs and not jobs[0].spans:
        probe = jobs.popleft().probe
        moment = Moment(file=probe.path, start=0.0, end=0.0)
        yield moment, Decoded(status=probe.status, reason=probe.reason)
