"""The served collection: a search engine, with its uploads, thumbnails, jobs and counters."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from trichord.media.decoder import Decoder
from trichord.search.collection import StoredCollection
from trichord.search.engine import SearchEngine
from trichord.search.prepared_query import PreparedQuery
from trichord.search.presence import missing_files
from trichord.search.query import Query, QueryPart
from trichord.search.query_model import full_model
from trichord.search.query_notes import notes_on
from trichord.search.updating import Indexed
from trichord.service.allowance import Allowance
from trichord.service.batching import Batcher, Lane
from trichord.service.browsing import list_files, list_moments
from trichord.service.catalogue import Catalogue, numbers, text_response
from trichord.service.errors import RefusedError, redact_paths
from trichord.service.file_manager import show
from trichord.service.jobs import Jobs
from trichord.service.media import within
from trichord.service.metrics import Metrics
from trichord.service.parsing import ParsedQuery, parse_query
from trichord.service.schemas import (
    MOST_HITS,
    CollectionResponse,
    EmbedRequest,
    FileMomentsResponse,
    FilesRequest,
    FilesResponse,
    GroupResponse,
    LineResponse,
    MomentsRequest,
    SearchRequest,
    SearchResponse,
    SearchWeights,
    StatusResponse,
    TextsResponse,
    TimelineRequest,
    TimelineResponse,
    Vectors,
    WordResponse,
)
from trichord.service.thumbnails import Thumbnails
from trichord.service.uploads import Uploads
from trichord.speech.transcript import SpokenSegment
from trichord.types import Hit, Moment, TextKind, UserError

BatchItem = tuple[Query | PreparedQuery, int]
"""A query and its number of hits."""
Cues = Iterable[tuple[float, float, str]]
ASIDES = 2
"""Threads for slow work, so that searches by text do not wait for it."""


class Archive:
    """The served collection."""

    def __init__(
        self,
        engine: SearchEngine,
        roots: Sequence[Path],
        allowance: Allowance,
        metrics: Metrics,
        *,
        show_paths: bool = False,
        open_folders: bool = False,
    ) -> None:
        self.engine = engine
        self.open_folders = open_folders
        self.show_paths = show_paths
        self.version = 0
        self.roots = tuple(root.resolve() for root in roots)
        self.metrics = metrics
        self.uploads = Uploads(engine.decoder, allowance)
        self.thumbnails = Thumbnails(engine.decoder, self.roots)
        self.jobs = Jobs(
            self._index,
            self.refresh,
            self.redact,
            self.roots,
            lambda file: self.catalogue.display_path(file),
        )
        self.searches = Batcher(
            self._search_batch,
            most=allowance.batch,
            waiting=allowance.searches,
            seconds=allowance.search_seconds,
            observe=metrics.batch.observe,
        )
        self.asides = Lane(ASIDES, allowance.asides)
        self.pictures = Lane(ASIDES, allowance.requests)
        self.allowance = allowance
        self._description: tuple[Catalogue, CollectionResponse] | None = None
        self._reranks = engine.model.reranks
        self._catalogued = engine.collection
        self._catalogue = Catalogue(engine.gallery, self.roots)
        self._measure()

    @property
    def collection(self) -> StoredCollection:
        """The collection."""
        return self.engine.collection

    @property
    def catalogue(self) -> Catalogue:
        """Names of the files and moments in memory."""
        engine = self.engine
        if self._catalogued is not engine.collection:
            # Galleries of one version of the collection differ only in their audio vectors.
            collection = engine.collection
            self._catalogue = Catalogue(engine.gallery, self.roots)
            self._catalogued = collection
        return self._catalogue

    def refresh(self) -> None:
        """Load the collection again if it has changed."""
        if self.engine.refresh():
            self._measure()

    def close(self) -> None:
        """End threads, and delete uploads."""
        for pool in (self.searches, self.asides, self.pictures):
            pool.close()
        self.uploads.close()

    def redact(self, sentence: str, query: ParsedQuery | None = None) -> str:
        """A sentence for clients: without the server's paths."""
        name = self.collection.name
        secrets = {str(root): "(a root)" for root in self.roots}
        secrets |= dict.fromkeys((name, str(Path(name))), "The archive")
        return redact_paths(sentence, secrets | (query.secrets if query else {}))

    async def search(self, request: SearchRequest) -> SearchResponse:
        """Search.

        Raises:
            RefusedError: 404: an upload or moment does not exist; 503: too many wait.
            UserError: The query is not valid.
        """
        began = time.perf_counter()
        query = parse_query(request, self.catalogue, self.uploads)
        groups: list[GroupResponse] | None = None
        try:
            if request.group:
                groups = (await self._grouped(query, request))[request.offset :]
                hits = [group.hits[0] for group in groups]
            else:
                found = await self._hits(query, request)
                found = found[request.offset :]
                hits = self.catalogue.to_response(found, await self._missing(query, found))
        except UserError as error:
            raise UserError(self.redact(str(error), query)) from error
        took = (time.perf_counter() - began) * 1000
        moments = len(self.engine.gallery)
        return SearchResponse(
            hits=hits,
            groups=groups,
            parts=query.titles,
            notes=notes_on(query.query, self.engine.model),
            took_ms=round(took, 2),
            moments=moments,
        )

    async def thumbnail(self, moment: Moment) -> bytes:
        """The picture of a moment.

        Raises:
            RefusedError: 404: it has neither a picture nor sound; 503: too many wait.
        """
        table = self.collection.table
        return await self.pictures.run(self.thumbnails.find, table, self.catalogue, moment)

    async def describe(self) -> CollectionResponse:
        """What the collection holds, and what can be asked of it."""
        catalogue = self.catalogue
        if self._description is None or self._description[0] is not catalogue:
            description = await self.asides.run(describe, self.engine, catalogue)
            self._description = catalogue, description
        return self._description[1].model_copy(
            update={
                "upload_bytes": self.allowance.upload_bytes,
                "add": bool(self.roots),
                "open_folders": self.open_folders,
            }
        )

    def status(self) -> StatusResponse:
        """What changes while the collection is indexed."""
        gallery = self.engine.gallery
        return StatusResponse(
            version=self.version,
            files=len(gallery.files),
            moments=len(gallery),
            job=self.jobs.latest,
        )

    async def files(self, request: FilesRequest) -> FilesResponse:
        """A page of files; raises `UserError` if no file can pass the filter."""
        return await asyncio.to_thread(self._list_files, request)

    async def file_moments(self, name: str, request: MomentsRequest) -> FileMomentsResponse:
        """A file with its moments; raises `RefusedError` (404) if there is no such file."""
        return await asyncio.to_thread(list_moments, self.catalogue, name, request, self.show_paths)

    async def open_folder(self, name: str) -> None:
        """Show a file in the file manager of this machine.

        Raises:
            RefusedError: 404: the service was not started for it, or there is no such file; 501: there is
                no file manager; 503: too many wait.
        """
        if not self.open_folders:
            raise RefusedError(404, "No folders are opened: start the service with --open-folders.")
        file = self.catalogue.file(name)
        real = await asyncio.to_thread(within, file, self.roots)
        await self.asides.run(show, real)

    async def texts(self, name: str) -> TextsResponse:
        """What is said and shown in a file; raises `RefusedError` (404) if there is no such file."""
        file = self.catalogue.file(name)
        return TextsResponse(
            speech=list(map(line_response, await self.asides.run(self._lines, file, "speech"))),
            screen=list(map(line_response, await self.asides.run(self._lines, file, "screen"))),
        )

    async def subtitles(self, name: str, write: Callable[[Cues], str]) -> str:
        """What is said in a file, as a subtitle file; raises as `texts` does."""
        lines = await self.asides.run(self._lines, self.catalogue.file(name), "speech")
        return write((line.start, line.end, line.text) for line in lines)

    def _lines(self, file: str, kind: TextKind) -> tuple[SpokenSegment, ...]:
        return self.engine.texts.lines_of(file, kind)

    def _list_files(self, request: FilesRequest) -> FilesResponse:
        overlapping = self.engine.texts.overlapping
        return list_files(self.catalogue, request, self.show_paths, overlapping)

    async def embed(self, request: EmbedRequest) -> Vectors:
        """Vectors of texts or of an upload; raises as `search` does."""
        if request.texts:
            toward = "vision" if request.toward == "visual" else "audio"
            rows = await self.asides.run(self.engine.reader.texts.of, request.texts, toward)
            return Vectors(vectors=[row.tolist() for row in rows])
        upload = self.uploads.find(request.upload or "")
        try:
            part = QueryPart(kind="video", value=str(upload.path))
            vectors = await self.asides.run(self.engine.reader.embed, part, self.engine.gallery)
            vector = vectors.vision if request.toward == "visual" else vectors.audio
            if vector is None:
                raise UserError(
                    f"{upload.path} has no {request.toward} part: ask for the other one."
                )
        except UserError as error:
            raise UserError(redact_paths(str(error), {str(upload.path): "The upload"})) from error
        return Vectors(vectors=[vector.tolist()])

    async def timeline(self, request: TimelineRequest) -> TimelineResponse:
        """How a query fits a file over time; raises as `search` does."""
        query = parse_query(request, self.catalogue, self.uploads)
        file = self.catalogue.file(request.file)
        try:
            timeline = await self.asides.run(self.engine.timeline, query.query, file)
        except UserError as error:
            raise UserError(self.redact(str(error), query)) from error
        return TimelineResponse(
            start=list(timeline.start),
            end=list(timeline.end),
            visual=numbers(timeline.visual),
            audio=numbers(timeline.audio),
            score=numbers(timeline.score),
            texts=[text_response(text) for text in timeline.texts],
        )

    async def _hits(self, query: ParsedQuery, request: SearchRequest) -> Sequence[Hit]:
        """Files are decoded in a thread of their own; the vectors are searched in a batch."""
        most = request.offset + request.k
        rerank = self._rerank(request)
        if rerank or most > MOST_HITS:  # all searches of a batch go as deep as the deepest
            return await self.asides.run(self.engine.search, query.query, most, rerank)
        prepared = query.query
        if query.decodes:
            prepared = await self.asides.run(self.engine.plan, query.query)
        return await self.searches.ask((prepared, most))

    async def _grouped(self, query: ParsedQuery, request: SearchRequest) -> list[GroupResponse]:
        groups = await self.asides.run(
            self.engine.grouped, query.query, request.offset + request.k, self._rerank(request)
        )
        missing = await self._missing(query, [hit for group in groups for hit in group.hits])
        responses = (self.catalogue.to_response(group.hits, missing) for group in groups)
        return [
            GroupResponse(file=hits[0].file, name=hits[0].name, hits=hits)
            for hits in responses
            if hits
        ]

    async def _missing(self, query: ParsedQuery, hits: Sequence[Hit]) -> set[str]:
        """Files of hits that are missing; empty if the query leaves them out."""
        if not query.query.where.missing:
            return set()
        return await self.asides.run(missing_files, hits)

    def _rerank(self, request: SearchRequest) -> int:
        return request.rerank if self._reranks else 0

    def _search_batch(self, batch: Sequence[BatchItem]) -> list[list[Hit]]:
        engine = self.engine
        engine.reader.embed_texts([query for query, _ in batch if isinstance(query, Query)])
        prepared = [engine.plan(query) if isinstance(query, Query) else query for query, _ in batch]
        return engine.search_batch(prepared, [k for _, k in batch], rerank=0)

    def _index(self, places: Sequence[Path]) -> Iterator[Indexed]:
        model = full_model(self.engine.model)

        from trichord.search.indexing import index  # with torch

        # Its own decoder: queries do not wait for it.
        with Decoder(workers=1) as decoder:
            yield from index(self.collection, model, decoder, places)

    def _measure(self) -> None:
        gallery = self.catalogue.gallery
        self.metrics.moments.set(len(gallery))
        self.metrics.files.set(len(gallery.files))
        self.version = self.collection.table.version + self.engine.texts.version
        self.metrics.version.set(self.version)


def line_response(line: SpokenSegment) -> LineResponse:
    """A line for clients."""
    return LineResponse(
        start=line.start,
        end=line.end,
        text=line.text,
        language=line.language,
        speaker=line.speaker,
        words=[WordResponse(word=word.text, start=word.start) for word in line.words],
    )


def describe(engine: SearchEngine, catalogue: Catalogue) -> CollectionResponse:
    """What a collection holds; it reads the whole table."""
    collection, gallery = engine.collection, catalogue.gallery
    description = collection.description
    visual, audio = engine.weighting
    return CollectionResponse(
        name=Path(collection.name).name,
        files=len(gallery.files),
        moments=len(gallery),
        statuses={str(status): count for status, count in collection.counts().items()},
        seconds=description.seconds,
        hop=description.hop,
        audio_types=list(description.audio_types),
        comparable=sorted(engine.model.comparable),
        weighting=SearchWeights(visual=visual, audio=audio),
        tags=sorted(gallery.tags),
        captions=collection.table.captioned() > 0,
        speech=bool(np.isfinite(gallery.speech).any()) or "speech" in engine.texts.kinds,
        texts=sorted(engine.texts.kinds),
        languages=[one for one in engine.texts.languages("speech") if one],
        version=collection.table.version + engine.texts.version,
        model=Path(description.run).name,
    )
