"""From media files to moments with vectors."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from trichord.media.decoded import Decoded
from trichord.media.decoder import Decoder
from trichord.media.overlap import Overlap
from trichord.media.plan import DecodePlan, FrameChoice, Request
from trichord.search.cutting import Cut, CutFile, answered, cut_files
from trichord.search.notes import Notes, NoteTaker
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
_Read = tuple[Moment, Decoded]
_Noted = tuple[Moment, Decoded, Notes]

SPANS_AT_ONCE = 8
"""Moments in one request: a file of hours is decoded in pieces, in memory that does not grow."""
MOMENTS_AT_ONCE = 16
"""Moments embedded together, across files."""
DECODED_AHEAD = 2 * MOMENTS_AT_ONCE
"""Moments decoded before their turn, beside those that the decoder itself has at work."""
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

    A file that cannot be used gives one moment of no length, without vectors, and its status.

    Args:
        model: Makes the vectors.
        decoder: Reads the files.
        files: Paths.
        cut: How files are cut into moments.
        tokens: Audio type tokens to listen at; empty: listen as the model does.
        modalities: What is looked at; of anything else there is no vector.
    """
    cuts = cut_files(decoder, files, cut)
    with Overlap() as overlap:
        yield from read_files(model, decoder, cuts, overlap, tokens=tokens, modalities=modalities)


def read_files(
    model: "Embedder",
    decoder: Decoder,
    files: Iterable[CutFile],
    overlap: Overlap,
    *,
    tokens: Sequence[float] = (),
    modalities: Sequence[Modality] = ("audio", "vision"),
    taker: NoteTaker | None = None,
    frames: FrameChoice = "exact",
) -> Iterator[Entry]:
    """As `read_moments`, of files whose moments are known; decoded and noted in threads of their own.

    Args:
        model: Makes the vectors.
        decoder: Reads the files.
        files: With their moments.
        overlap: Runs the stages; whoever made it ends them.
        tokens: As there.
        modalities: As there.
        taker: Takes notes of moments; None: there are none.
        frames: Which frames are decoded; the model's own choice where it wants keyframes.
    """
    plan = model.plan_of(modalities)
    if frames == "keyframe" and plan.frames is not None:
        plan = replace(plan, frames=replace(plan.frames, nearest=frames))
    if taker is not None:
        plan = taker.widened(plan)
    decoded = overlap.ahead(decode_files(plan, decoder, files), DECODED_AHEAD)
    for batch in overlap.ahead(_noted(decoded, taker), BATCHES_AHEAD):
        yield from _embedded(model, batch, tokens)


def decode_moments(
    moments: Iterable[Moment], decoder: Decoder, plan: DecodePlan
) -> Iterator[Decoded]:
    """Moments decoded anew, in order; of a file that has gone or is broken comes its status."""
    requests = (
        Request(path=one.file, spans=((one.start, _end(one.start, one.end)),), plan=plan)
        for one in moments
    )
    return (decoded for [decoded] in decoder.decode_all(requests))


def decode_files(
    plan: DecodePlan, decoder: Decoder, files: Iterable[CutFile]
) -> Iterator[tuple[Moment, Decoded]]:
    """All moments of files, decoded, in order; one without length of a file that cannot be used."""
    asked = (
        ((file, spans), _request(file, spans, plan))
        for file in files
        for spans in (batches(file.spans, SPANS_AT_ONCE) if file.spans else ((),))
    )
    for (file, spans), answers in answered(decoder, asked):
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


def _request(
    file: CutFile, spans: Sequence[tuple[float, float]], plan: DecodePlan
) -> Request | None:
    wanted = tuple((start, _end(start, end)) for start, end in spans)
    return Request(path=file.file, spans=wanted, plan=plan) if wanted else None


def _end(start: float, end: float) -> float | None:
    """A picture is a moment of no length: all of it is asked for."""
    return end if end > start else None


def _noted(decoded: Iterable[_Read], taker: NoteTaker | None) -> Iterator[list[_Noted]]:
    for batch in batches(decoded, MOMENTS_AT_ONCE):
        yield [
            (moment, one, taker.take(moment, one) if taker else Notes()) for moment, one in batch
        ]


def _embedded(model: "Embedder", batch: list[_Noted], tokens: Sequence[float]) -> Iterator[Entry]:
    found = model.embed_media([decoded for _, decoded, _ in batch], tokens)
    vision = _rows(found.vision, found.has_vision)
    audio = _rows(found.audio.reshape(len(batch), -1), found.has_audio)
    for (moment, decoded, notes), seen, heard in zip(batch, vision, audio, strict=True):
        yield Entry(
            moment=moment,
            status=decoded.status,
            reason=decoded.reason,
            vision=seen,
            audio=heard,
            caption=notes.caption,
            tags=notes.tags,
            thumbnail=notes.thumbnail,
            speech=notes.speech,
        )


def _rows(
    vectors: Float[np.ndarray, "clip dim"], present: Bool[np.ndarray, " clip"]
) -> list[Vector | None]:
    """Each vector, None where there is none or its numbers are broken."""
    usable = present & np.isfinite(vectors).all(1) & (np.abs(vectors).sum(1) > 0)
    return [row if has else None for row, has in zip(vectors, usable, strict=True)]
