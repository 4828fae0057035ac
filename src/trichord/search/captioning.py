"""Captions of moments: written by a run, checked by retrieval, and kept in a collection to search by."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trichord.media.decoded import Decoded
from trichord.media.decoder import Decoder
from trichord.media.overlap import Overlap
from trichord.media.probe import USABLE, Status
from trichord.models.decoding import Decoding, GeneratedCaption, longest_caption, write
from trichord.models.embedder import Embedder
from trichord.search.checking import EVEN, Shown, Texts, Weights, best, likeness, own_ranks
from trichord.search.collection import Collection
from trichord.search.cutting import Cut, CutFile, cut_files
from trichord.search.reading import DECODED_AHEAD, MOMENTS_AT_ONCE, batches, decode_files
from trichord.search.table import Note
from trichord.storage.lance_table import among
from trichord.types import Moment, UserError
from trichord.types.tensors import Features

MOMENTS_A_COMMIT = 64
"""Moments after which captions are stored: what an interruption can cost."""
COMMITS_A_TIDYING = 32
"""Commits after which their small files are joined; each opens all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of the captions that were thought of.

    `log_likelihood` is the sum over its words, its end included; `match` how like its vector is to the
    moment's (-1 to 1), None where that was not asked.
    """

    text: str
    log_likelihood: float
    match: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Captioned:
    """A moment and its caption; None where none could be written: `reason` says why.

    `candidates` are as decoding ranks them, the best first; the caption is one of them. A file that
    cannot be used gives one moment of no length and its status.
    """

    moment: Moment
    status: Status
    reason: str = ""
    caption: Candidate | None = None
    candidates: tuple[Candidate, ...] = ()


class CaptionWriter:
    """Writes captions of moments, and remembers those that it checks, to say at the end who finds whom."""

    def __init__(
        self,
        model: Embedder,
        decoder: Decoder,
        decoding: Decoding,
        check: Weights | None = None,
    ) -> None:
        """Choose who writes and how.

        Args:
            model: With a captioner.
            decoder: Reads the files.
            decoding: How words are chosen.
            check: Of the candidates keep the one whose own vector is most like the moment, by what
                the captioner reads of it; these are the weights of sight and sound. None: keep
                the one that decoding ranks first.

        Raises:
            UserError: The model writes no captions, or none that are as long.
        """
        if model.captioner is None:
            raise UserError(
                "This run writes no captions: train one that does, such as 'trichord train "
                "clip4vla-caption'."
            )
        most = longest_caption(model.word_encoder(), model.captioner)
        if decoding.longest is not None and decoding.longest > most:
            raise UserError(
                f"--longest {decoding.longest}: the run has room for {most} tokens; give at most that."
            )
        self.model = model
        self.decoder = decoder
        self.decoding = decoding
        self.check = check
        self.reads = model.captioner.reads
        self._checked: list[tuple[Texts, Shown]] = []

    def write(self, files: Iterable[CutFile]) -> Iterator[Captioned]:
        """Captions of all moments of files, in order, decoded ahead while the model works.

        Raises:
            UserError: A moment has more frames or sound than the captioner has room for.
        """
        plan = self.model.plan_of(self.reads)
        with Overlap() as overlap:
            decoded = overlap.ahead(decode_files(plan, self.decoder, files), DECODED_AHEAD)
            for batch in batches(decoded, MOMENTS_AT_ONCE):
                yield from self._batch(batch)

    def ranks(self) -> list[int]:
        """At which place each checked caption finds its moment among those of all of them, in order."""
        if not self._checked:
            return []
        texts, shown = zip(*self._checked, strict=True)
        return own_ranks(
            Texts(
                toward_vision=np.concatenate([one.toward_vision for one in texts]),
                toward_audio=np.concatenate([one.toward_audio for one in texts]),
            ),
            _joined(shown),
            self.check or EVEN,
        ).tolist()

    def _batch(self, batch: Sequence[tuple[Moment, Decoded]]) -> Iterator[Captioned]:
        vision, [audio] = self.model.read_media([decoded for _, decoded in batch])
        try:
            written = write(self.model, vision, audio, self.decoding)
        except ValueError as error:
            raise UserError(
                f"--seconds: these moments are too long for the run's captioner: {error}"
            ) from error
        candidates = [_candidates(one) for one in written]
        if self.check is not None:
            candidates = self._matched(candidates, self._shown(vision, audio))
        for row, ((moment, decoded), found) in enumerate(zip(batch, candidates, strict=True)):
            if not found:
                reason = decoded.reason or self._lack(bool(written[row]))
                yield Captioned(moment=moment, status=decoded.status, reason=reason)
                continue
            yield Captioned(
                moment=moment,
                status=decoded.status,
                caption=found[_chosen(found)],
                candidates=found,
            )

    def _lack(self, wordless: bool) -> str:
        if wordless:
            return "the caption has no words"
        names = {"vision": "picture", "audio": "sound"}
        return f"no {' and no '.join(names[one] for one in self.reads)} to write a caption of"

    def _shown(self, vision: Features, audio: Features) -> Shown:
        """Vectors as a search has them; of what the captioner does not read nothing was decoded."""
        if self.model.fusion is not None:
            with torch.inference_mode():
                seen, heard = self.model.fusion.media(vision, audio)
            vision, audio = seen or vision, heard or audio
        return Shown(
            vision=vision.pooled.cpu().numpy(),
            has_vision=vision.present.cpu().numpy(),
            audio=audio.pooled.cpu().numpy(),
            has_audio=audio.present.cpu().numpy(),
        )

    def _matched(
        self, candidates: list[tuple[Candidate, ...]], shown: Shown
    ) -> list[tuple[Candidate, ...]]:
        """The same candidates with their match; what is chosen of them is remembered."""
        matched: list[tuple[Candidate, ...]] = []
        for row, found in enumerate(candidates):
            if not found:
                matched.append(())
                continue
            texts = self._vectors([one.text for one in found])
            own = _rows(shown, row)
            cosines = likeness(texts, own, self.check or EVEN)[:, 0]
            found = tuple(
                replace(one, match=float(cosine))
                for one, cosine in zip(found, cosines, strict=True)
            )
            matched.append(found)
            i = _chosen(found)
            kept = Texts(
                toward_vision=texts.toward_vision[i : i + 1],
                toward_audio=texts.toward_audio[i : i + 1],
            )
            self._checked.append((kept, own))
        return matched

    def _vectors(self, texts: list[str]) -> Texts:
        seen = self.model.embed_text(texts, "vision")
        heard = self.model.embed_text(texts, "audio") if self.model.texts_differ else seen
        return Texts(toward_vision=seen, toward_audio=heard)


def cut_to_caption(decoder: Decoder, files: Sequence[str], cut: Cut | None) -> Iterator[CutFile]:
    """Files with the moments to caption.

    Args:
        decoder: Reads how long they are.
        files: Paths.
        cut: How to cut them; None: each is one moment.
    """
    for one in cut_files(decoder, files, cut or Cut()):
        yield one if cut or not one.spans else replace(one, spans=((0.0, one.spans[-1][1]),))


def cut_in(
    collection: Collection, places: Sequence[Path] = (), *, replacing: bool = False
) -> list[CutFile]:
    """The moments of a collection that are to have a caption.

    Args:
        collection: Whose moments.
        places: Only of these files and folders; none: of all.
        replacing: Also those that have one.

    Raises:
        UserError: The collection has no file at a place.
    """
    columns = ["file", "start", "end", "status", "caption"]
    rows = collection.table.rows(columns).sort_by([("file", "ascending"), ("start", "ascending")])
    spans: dict[str, list[tuple[float, float]]] = {}
    for row in rows.to_pylist():
        there = spans.setdefault(row["file"], [])
        if row["status"] in USABLE and (replacing or row["caption"] is None):
            there.append((row["start"], row["end"]))
    chosen = collection.at(places, spans) if places else set(spans)
    return [CutFile(file, kept) for file, kept in spans.items() if kept and file in chosen]


def caption_collection(
    collection: Collection,
    writer: CaptionWriter,
    files: Iterable[CutFile],
    *,
    replacing: bool = False,
) -> Iterator[Captioned]:
    """Write captions of moments into their collection; gives each once that is stored.

    Vectors, tags and the scales of scores stay as they are. It can be interrupted anywhere: captions
    are stored some at a time, and the next call writes those that are missing. What another process
    says of a moment meanwhile stays, unless captions are to be replaced.

    Args:
        collection: Where they go.
        writer: Of any run: it need not be the one that the vectors are of.
        files: As `cut_in` gives them.
        replacing: Also moments that have a caption.

    Raises:
        UserError: The collection cannot be written to.
    """
    for number, group in enumerate(batches(writer.write(files), MOMENTS_A_COMMIT), start=1):
        _store(collection, group, replacing)
        if number % COMMITS_A_TIDYING == 0:
            _tidy(collection)
        yield from group
    _tidy(collection)


def _store(collection: Collection, group: Sequence[Captioned], replacing: bool) -> None:
    said = {one.moment: one.caption.text for one in group if one.caption}
    if not said:
        return
    with _vectors_as_they_are(collection):
        notes: dict[str, list[Note]] = {}
        for row in _rows_of(collection, sorted({moment.file for moment in said})):
            moment = Moment(file=row["file"], start=row["start"], end=row["end"])
            if moment in said and (replacing or row["caption"] is None):
                note = (moment.start, moment.end, said[moment], row["tags"] or ())
                notes.setdefault(moment.file, []).append(note)
        collection.table.annotate_same(notes)


def _rows_of(collection: Collection, files: Sequence[str]) -> list[dict[str, Any]]:
    columns = ["file", "start", "end", "caption", "tags"]
    return collection.table.rows(columns, filter=among("file", files)).to_pylist()


def _tidy(collection: Collection) -> None:
    """Join what commits left in pieces, and bring the index of words up to date."""
    with _vectors_as_they_are(collection):
        collection.table.compact()
        collection.table.index_captions()


@contextmanager
def _vectors_as_they_are(collection: Collection) -> Generator[None]:
    """Hold a collection for what changes no vector: scales of scores that were valid stay so."""
    with collection.writing():
        measured = collection.calibrated
        yield
        there = collection.description.calibration
        if measured and there is not None:
            collection.keep(there, collection.table.version)


def _candidates(written: Sequence[GeneratedCaption]) -> tuple[Candidate, ...]:
    """Those that have words, each wording once."""
    texts = {" ".join(one.text.split()): one for one in reversed(written)}
    ordered = [(text, one) for text, one in reversed(texts.items()) if text]
    return tuple(
        Candidate(text=text, log_likelihood=float(one.log_likelihood)) for text, one in ordered
    )


def _chosen(found: Sequence[Candidate]) -> int:
    matches = [one.match for one in found if one.match is not None]
    if not matches:
        return 0
    likelihoods = np.array([one.log_likelihood for one in found], np.float32)
    return best(np.array(matches, np.float32), likelihoods)


def _rows(shown: Shown, row: int) -> Shown:
    one = slice(row, row + 1)
    return Shown(
        vision=shown.vision[one],
        has_vision=shown.has_vision[one],
        audio=shown.audio[one],
        has_audio=shown.has_audio[one],
    )


def _joined(shown: Sequence[Shown]) -> Shown:
    return Shown(
        vision=np.concatenate([one.vision for one in shown]),
        has_vision=np.concatenate([one.has_vision for one in shown]),
        audio=np.concatenate([one.audio for one in shown]),
        has_audio=np.concatenate([one.has_audio for one in shown]),
    )
