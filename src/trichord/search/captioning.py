"""Captions of moments: written by a run, checked by retrieval, and stored in a collection."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from trichord.media.decoded import Decoded
from trichord.media.decoder import Decoder
from trichord.media.pipeline import Pipeline
from trichord.media.probe import USABLE, Status
from trichord.models.decoding import Decoding, GeneratedCaption, longest_caption, write
from trichord.models.embedder import Embedder
from trichord.search.checking import EVEN, SideVectors, Weights, best, own_ranks, similarity
from trichord.search.collection import StoredCollection
from trichord.search.cutting import Cut, CutFile, cut_files
from trichord.search.reading import DECODED_AHEAD, MOMENTS_AT_ONCE, batches, decode_files
from trichord.search.table import Note
from trichord.types import Moment, UserError
from trichord.types.tensors import Features

MOMENTS_A_COMMIT = 64
"""Moments after which captions are stored: what an interruption can cost."""
COMMITS_A_COMPACTION = 32
"""Commits after which their small files are joined, because each commit opens all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A candidate caption.

    `log_likelihood` is the sum over its words and its end; `match` the similarity of its vector and the
    moment's (-1 to 1), None if it was not checked.
    """

    text: str
    log_likelihood: float
    match: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionedMoment:
    """A moment and its caption; None if none could be written: `reason` says why.

    `candidates` are in the order of decoding, best first; the caption is one of them. An unusable file
    has one moment without length, and its status.
    """

    moment: Moment
    status: Status
    reason: str = ""
    caption: Candidate | None = None
    candidates: tuple[Candidate, ...] = ()


class CaptionWriter:
    """Writes captions of moments, and keeps the vectors of checked ones, for their ranks."""

    def __init__(
        self,
        model: Embedder,
        decoder: Decoder,
        decoding: Decoding,
        check: Weights | None = None,
    ) -> None:
        """Choose the model and how it decodes.

        Args:
            model: With a captioner.
            decoder: Reads the files.
            decoding: How words are chosen.
            check: Visual and audio weight: of the candidates keep the one whose vector is most similar
                to the moment, by the modalities that the captioner reads. None: keep the one that
                decoding ranks first.

        Raises:
            UserError: The model writes no captions, or none of that length.
        """
        if model.captioner is None:
            raise UserError(
                "This run writes no captions: train one that does, such as 'trichord train "
                "clip4vla-caption'."
            )
        most = longest_caption(model.word_encoder(), model.captioner)
        if decoding.longest is not None and decoding.longest > most:
            raise UserError(
                f"--longest {decoding.longest}: the run has room for {most} tokens; give at most so many."
            )
        self.model = model
        self.decoder = decoder
        self.decoding = decoding
        self.check = check
        self.reads = model.captioner.reads
        self._checked: list[tuple[SideVectors, SideVectors]] = []

    def write(self, files: Iterable[CutFile]) -> Iterator[CaptionedMoment]:
        """Captions of all moments of files, in order, decoded ahead while the model works.

        Raises:
            UserError: A moment is too long for the captioner.
        """
        plan = self.model.plan_of(self.reads)
        with Pipeline() as pipeline:
            decoded = pipeline.ahead(decode_files(plan, self.decoder, files), DECODED_AHEAD)
            for batch in batches(decoded, MOMENTS_AT_ONCE):
                yield from self._batch(batch)

    def ranks(self) -> list[int]:
        """The rank of each checked caption's moment among all checked moments, in order."""
        if not self._checked:
            return []
        texts, moments = (
            SideVectors(
                np.concatenate([part.vision for part in parts]),
                np.concatenate([part.audio for part in parts]),
            )
            for parts in zip(*self._checked, strict=True)
        )
        return own_ranks(texts, moments, self.check or EVEN).tolist()

    def _batch(self, batch: Sequence[tuple[Moment, Decoded]]) -> Iterator[CaptionedMoment]:
        vision, [audio] = self.model.read_media([decoded for _, decoded in batch])
        try:
            written = write(self.model, vision, audio, self.decoding)
        except ValueError as error:
            raise UserError(
                f"--seconds: these moments are too long for the run's captioner: {error}"
            ) from error
        candidates = [_candidates(beams) for beams in written]
        if self.check is not None:
            candidates = self._match(candidates, vision, audio)
        for row, ((moment, decoded), own) in enumerate(zip(batch, candidates, strict=True)):
            if not own:
                reason = decoded.reason or self._missing(bool(written[row]))
                yield CaptionedMoment(moment=moment, status=decoded.status, reason=reason)
                continue
            best = own[_best(own)]
            yield CaptionedMoment(
                moment=moment, status=decoded.status, caption=best, candidates=own
            )

    def _missing(self, wordless: bool) -> str:
        if wordless:
            return "the caption has no words"
        names = {"vision": "picture", "audio": "sound"}
        return f"no {' and no '.join(names[modality] for modality in self.reads)} to write a caption of"

    def _match(
        self, candidates: list[tuple[Candidate, ...]], vision: Features, audio: Features
    ) -> list[tuple[Candidate, ...]]:
        """The candidates with their match; the vectors of the best are kept for `ranks`.

        The vectors are those of a search; modalities that the captioner does not read were not decoded.
        """
        if self.model.fusion is not None:
            with torch.inference_mode():
                fused = self.model.fusion.media(vision, audio)
            vision, audio = fused[0] or vision, fused[1] or audio
        moments = SideVectors(
            *(side.pooled.where(side.present[:, None], 0).cpu().numpy() for side in (vision, audio))
        )
        matched: list[tuple[Candidate, ...]] = []
        for row, group in enumerate(candidates):
            if not group:
                matched.append(())
                continue
            written = [candidate.text for candidate in group]
            toward_vision = self.model.embed_text(written, "vision")
            toward_audio = toward_vision
            if self.model.texts_differ:
                toward_audio = self.model.embed_text(written, "audio")
            texts = SideVectors(toward_vision, toward_audio)
            moment = moments.rows(slice(row, row + 1))
            cosines = similarity(texts, moment, self.check or EVEN)[:, 0]
            group = tuple(
                replace(candidate, match=float(cosine))
                for candidate, cosine in zip(group, cosines, strict=True)
            )
            matched.append(group)
            i = _best(group)
            self._checked.append((texts.rows(slice(i, i + 1)), moment))
        return matched


def cut_for_captions(decoder: Decoder, files: Sequence[str], cut: Cut | None) -> Iterator[CutFile]:
    """Files with the moments to caption.

    Args:
        decoder: Reads their durations.
        files: Paths.
        cut: How to cut them; None: each is one moment.
    """
    for file in cut_files(decoder, files, cut or Cut()):
        yield file if cut or not file.spans else replace(file, spans=((0.0, file.spans[-1][1]),))


def uncaptioned_files(
    collection: StoredCollection, places: Sequence[Path] = (), *, replacing: bool = False
) -> list[CutFile]:
    """The files of a collection with their moments that need a caption.

    Args:
        collection: The collection.
        places: Only these files and folders; empty: all.
        replacing: Include moments that have a caption.

    Raises:
        UserError: The collection has no file at a place.
    """
    columns = ["file", "start", "end", "status", "caption"]
    rows = collection.table.rows(columns).sort_by([("file", "ascending"), ("start", "ascending")])
    spans: dict[str, list[tuple[float, float]]] = {}
    for row in rows.to_pylist():
        own = spans.setdefault(row["file"], [])
        if row["status"] in USABLE and (replacing or row["caption"] is None):
            own.append((row["start"], row["end"]))
    files = collection.at(places, spans) if places else set(spans)
    return [CutFile(file, own) for file, own in spans.items() if own and file in files]


def caption_collection(
    collection: StoredCollection,
    writer: CaptionWriter,
    files: Iterable[CutFile],
    *,
    replacing: bool = False,
) -> Iterator[CaptionedMoment]:
    """Write captions of moments into their collection. Yields each once it is stored.

    Vectors, tags and the scales of scores do not change. It can be interrupted anywhere: captions are
    stored some at a time, and the next call writes the missing ones. Captions that another process adds
    in the meantime stay, unless captions are replaced.

    Args:
        collection: The collection.
        writer: Of any run, not only that of the vectors.
        files: As `uncaptioned_files` returns them.
        replacing: Replace captions of moments that have one.

    Raises:
        UserError: The collection cannot be written to.
    """
    for number, group in enumerate(batches(writer.write(files), MOMENTS_A_COMMIT), start=1):
        _store(collection, group, replacing)
        if number % COMMITS_A_COMPACTION == 0:
            _compact(collection)
        yield from group
    _compact(collection)


def _store(collection: StoredCollection, group: Sequence[CaptionedMoment], replacing: bool) -> None:
    captions = {result.moment: result.caption.text for result in group if result.caption}
    if not captions:
        return
    with collection.keeping_scales():
        notes: dict[str, list[Note]] = {}
        columns = ["file", "start", "end", "caption", "tags"]
        files = sorted({moment.file for moment in captions})
        for row in collection.table.rows(columns, files).to_pylist():
            moment = Moment(file=row["file"], start=row["start"], end=row["end"])
            if moment in captions and (replacing or row["caption"] is None):
                note = (moment.start, moment.end, captions[moment], row["tags"] or ())
                notes.setdefault(moment.file, []).append(note)
        collection.table.annotate_same(notes)


def _compact(collection: StoredCollection) -> None:
    """Join the small files of commits, and update the full-text index."""
    with collection.keeping_scales():
        collection.table.compact()
        collection.table.index_captions()


def _candidates(written: Sequence[GeneratedCaption]) -> tuple[Candidate, ...]:
    """The candidates that have words, without duplicates."""
    texts = {" ".join(beam.text.split()): beam for beam in reversed(written)}
    return tuple(
        Candidate(text=text, log_likelihood=float(beam.log_likelihood))
        for text, beam in reversed(texts.items())
        if text
    )


def _best(candidates: Sequence[Candidate]) -> int:
    matches = [each.match for each in candidates if each.match is not None]
    if not matches:
        return 0
    likelihoods = np.array([each.log_likelihood for each in candidates], np.float32)
    return best(np.array(matches, np.float32), likelihoods)
