"""Media files to moments with vectors."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from trichord.media.decoded import Decoded
from trichord.media.decoder import Decoder
from trichord.media.pipeline import Pipeline
from trichord.media.plan import DecodePlan, DecodeRequest
from trichord.search.cutting import Cut, CutFile, cut_files, decode_keyed
from trichord.search.moments import Span
from trichord.search.notes import NoteTaker
from trichord.search.table import Entry, Vector
from trichord.types import Modality, Moment
from trichord.types.arrays import Bool, Float

if TYPE_CHECKING:  # a sheet of hits is drawn without torch
    from trichord.models.embedder import Embedder

__all__ = [
    "MOMENTS_AT_ONCE",
    "Cut",
    "batches",
    "decode_files",
    "decode_moments",
    "read_files",
    "read_moments",
]

Item = TypeVar("Item")
DecodedMoment = tuple[Moment, Decoded]
NotedMoment = tuple[Entry, Decoded]

SPANS_AT_ONCE = 8
"""Moments in one request: a file of hours is decoded in pieces, in memory that does not grow."""
MOMENTS_AT_ONCE = 16
"""Moments embedded together, across files."""
DECODED_AHEAD = 2 * MOMENTS_AT_ONCE
"""Moments decoded ahead, beside those that the decoder itself works on."""
BATCHES_AHEAD = 1


def read_moments(
    model: "Embedder",
    decoder: Decoder,
    files: Iterable[str],
    cut: Cut,
    *,
    tokens: Sequence[float] = (),
    modalities: Sequence[Modality] = ("audio", "vision"),
) -> Iterator[Entry]:
    """All moments of files, in order, decoded ahead while the model works.

    An unusable file has one moment without length and vectors, with its status.

    Args:
        model: Makes the vectors.
        decoder: Reads the files.
        files: Paths.
        cut: How files are cut into moments.
        tokens: Audio type tokens of the audio vectors; empty: that of the model.
        modalities: Modalities to decode; others have no vector.
    """
    cuts = cut_files(decoder, files, cut)
    with Pipeline() as pipeline:
        plan = model.plan_of(modalities)
        yield from read_files(model, decoder, cuts, pipeline, plan, tokens=tokens)


def read_files(
    model: "Embedder",
    decoder: Decoder,
    files: Iterable[CutFile],
    pipeline: Pipeline,
    plan: DecodePlan,
    *,
    tokens: Sequence[float] = (),
    taker: NoteTaker | None = None,
) -> Iterator[Entry]:
    """As `read_moments`, for files whose moments are known; decoding and notes have their own threads.

    Args:
        model: Makes the vectors.
        decoder: Reads the files.
        files: With their moments.
        pipeline: Runs the stages; its creator ends them.
        plan: What is decoded: the model's plan, or one of its modalities, or of other frames.
        tokens: As there.
        taker: Takes notes of moments; None: no notes.
    """
    if taker is not None:
        plan = taker.extend(plan)
    decoded = pipeline.ahead(decode_files(plan, decoder, files), DECODED_AHEAD)
    for batch in pipeline.ahead(_take_notes(decoded, taker), BATCHES_AHEAD):
        yield from _embed(model, batch, tokens)


def decode_moments(
    moments: Iterable[Moment], decoder: Decoder, plan: DecodePlan
) -> Iterator[Decoded]:
    """Decode moments, in order; for a missing or broken file, its status."""
    requests = (
        DecodeRequest(path=m.file, spans=_ends([(m.start, m.end)]), plan=plan) for m in moments
    )
    return (decoded for [decoded] in decoder.decode_all(requests))


def decode_files(
    plan: DecodePlan, decoder: Decoder, files: Iterable[CutFile]
) -> Iterator[tuple[Moment, Decoded]]:
    """Decode all moments of files, in order; an unusable file has one without length."""
    requests = (
        (
            (file, spans),
            DecodeRequest(path=file.file, spans=_ends(spans), plan=plan) if spans else None,
        )
        for file in files
        for spans in (batches(file.spans, SPANS_AT_ONCE) if file.spans else ((),))
    )
    for (file, spans), answers in decode_keyed(decoder, requests):
        if not spans:
            moment = Moment(file=file.file, start=0.0, end=0.0)
            yield moment, Decoded(status=file.status, reason=file.reason)
        for (start, end), decoded in zip(spans, answers, strict=True):
            yield Moment(file=file.file, start=start, end=end), decoded


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def _ends(spans: Iterable[Span]) -> list[tuple[float, float | None]]:
    """Spans to decode: a picture is a moment without length, and all of it is decoded."""
    return [(start, end if end > start else None) for start, end in spans]


def _take_notes(
    decoded: Iterable[DecodedMoment], taker: NoteTaker | None
) -> Iterator[list[NotedMoment]]:
    for batch in batches(decoded, MOMENTS_AT_ONCE):
        entries = [
            (Entry(moment=moment, status=clip.status, reason=clip.reason), clip)
            for moment, clip in batch
        ]
        yield [(taker.take(entry, clip) if taker else entry, clip) for entry, clip in entries]


def _embed(model: "Embedder", batch: list[NotedMoment], tokens: Sequence[float]) -> Iterator[Entry]:
    vectors = model.embed_media([decoded for _, decoded in batch], tokens)
    vision_rows = _rows(vectors.vision, vectors.has_vision)
    audio_rows = _rows(vectors.audio.reshape(len(batch), -1), vectors.has_audio)
    for (entry, _), vision, audio in zip(batch, vision_rows, audio_rows, strict=True):
        yield replace(entry, vision=vision, audio=audio)


def _rows(
    vectors: Float[np.ndarray, "clip dim"], present: Bool[np.ndarray, " clip"]
) -> list[Vector | None]:
    """Each vector; None if it is missing or not finite."""
    usable = present & np.isfinite(vectors).all(1) & (np.abs(vectors).sum(1) > 0)
    return [row if has else None for row, has in zip(vectors, usable, strict=True)]
