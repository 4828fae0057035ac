"""What the routes work on: an engine, and what stands around it while the service runs."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from trichord.media.decoder import Decoder
from trichord.search.collection import Collection
from trichord.search.engine import Prepared, SearchEngine
from trichord.search.query import Query
from trichord.search.query_model import whole
from trichord.search.query_vectors import Toward
from trichord.search.updating import Indexed
from trichord.service.allowance import Allowance
from trichord.service.batching import Batcher, Lane
from trichord.service.catalogue import Catalogue
from trichord.service.description import describe, embed_file
from trichord.service.errors import withheld
from trichord.service.jobs import Jobs
from trichord.service.metrics import Metrics
from trichord.service.parsing import ParsedQuery, parse_query
from trichord.service.responses import numbers, to_response
from trichord.service.schemas import (
    CollectionResponse,
    EmbedRequest,
    GroupResponse,
    SearchRequest,
    SearchResponse,
    TimelineRequest,
    TimelineResponse,
    Vectors,
)
from trichord.service.thumbnails import Thumbnails
from trichord.service.uploads import Uploads
from trichord.types import Hit, Moment, UserError

Question = tuple[Query | Prepared, int]
"""What is searched for, and how many hits are wanted."""
TOWARDS: tuple[Toward, Toward] = ("vision", "audio")
ASIDES = 2
"""Threads for what must not hold up searches by text."""


class Archive:
    """A collection that is served."""

    def __init__(
        self, engine: SearchEngine, roots: Sequence[Path], allowance: Allowance, metrics: Metrics
    ) -> None:
        self.engine = engine
        self.roots = tuple(root.resolve() for root in roots)
        self.metrics = metrics
        self.uploads = Uploads(engine.decoder, allowance)
        self.thumbnails = Thumbnails(engine.decoder, self.roots)
        self.jobs = Jobs(self._index, self.refresh, self.redact, self.roots)
        self.searches = Batcher(
            self._answer,
            most=allowance.batch,
            waiting=allowance.searches,
            seconds=allowance.search_seconds,
            seen=metrics.batch.observe,
        )
        self.asides = Lane(ASIDES, allowance.asides)
        self.pictures = Lane(ASIDES, allowance.requests)
        self.allowance = allowance
        self._said: tuple[Catalogue, CollectionResponse] | None = None
        self._reranks = engine.reranks
        self._named = engine.collection
        self._catalogue = Catalogue(engine.gallery, self.roots)
        self._measure()

    @property
    def collection(self) -> Collection:
        """What is served."""
        return self.engine.collection

    @property
    def catalogue(self) -> Catalogue:
        """Names of what is searched now."""
        engine = self.engine
        if self._named is not engine.collection:
            # Galleries of one state of the collection differ only in where sound is listened to.
            named = engine.collection
            self._catalogue = Catalogue(engine.gallery, self.roots)
            self._named = named
        return self._catalogue

    def refresh(self) -> None:
        """Take up what has been written to the collection meanwhile."""
        if self.engine.refresh():
            self._measure()

    def close(self) -> None:
        """End threads, and delete what clients have sent."""
        for line in (self.searches, self.asides, self.pictures):
            line.close()
        self.uploads.close()

    def redact(self, sentence: str) -> str:
        """A sentence as clients may read it: without the server's paths."""
        secrets = {str(root): "(a root)" for root in self.roots}
        return withheld(sentence, {self.collection.storage.name: "The collection", **secrets})

    async def search(self, asked: SearchRequest) -> SearchResponse:
        """Search.

        Raises:
            RefusedError: 404: an upload or moment is not there; 503: too many wait.
            UserError: The query cannot be answered.
        """
        began = time.perf_counter()
        query = parse_query(asked, self.catalogue, self.uploads)
        groups: list[GroupResponse] | None = None
        try:
            if asked.group:
                groups = await self._grouped(query, asked)
                hits = [group.hits[0] for group in groups]
            else:
                hits = to_response(await self._hits(query, asked), self.catalogue)
        except UserError as error:
            raise UserError(self._withheld(error, query)) from error
        took = (time.perf_counter() - began) * 1000
        moments = len(self.engine.gallery)
        return SearchResponse(
            hits=hits, groups=groups, parts=query.titles, took_ms=round(took, 2), moments=moments
        )

    async def thumbnail(self, moment: Moment) -> bytes:
        """The JPEG of a moment.

        Raises:
            RefusedError: 404: it has no picture; 503: too many wait.
        """
        table = self.collection.table
        return await self.pictures.run(self.thumbnails.find, table, self.catalogue, moment)

    async def described(self) -> CollectionResponse:
        """What the collection holds."""
        catalogue = self.catalogue
        if self._said is None or self._said[0] is not catalogue:
            said = await self.asides.run(describe, self.engine, catalogue)
            self._said = catalogue, said
        return self._said[1].model_copy(
            update={"upload_bytes": self.allowance.upload_bytes, "add": bool(self.roots)}
        )

    async def embed(self, asked: EmbedRequest) -> Vectors:
        """Vectors of texts or of an upload; raises as `search` does."""
        if asked.texts:
            toward = "vision" if asked.toward == "visual" else "audio"
            rows = await self.asides.run(self.engine.reader.texts.of, asked.texts, toward)
            return Vectors(vectors=[row.tolist() for row in rows])
        upload = self.uploads.find(asked.upload or "")
        try:
            vector = await self.asides.run(embed_file, self.engine, upload.path, asked.toward)
        except UserError as error:
            raise UserError(withheld(str(error), {str(upload.path): "The upload"})) from error
        return Vectors(vectors=[vector])

    async def timeline(self, asked: TimelineRequest) -> TimelineResponse:
        """How a query fits a file over time; raises as `search` does."""
        query = parse_query(asked, self.catalogue, self.uploads)
        file = self.catalogue.file(asked.file)
        try:
            timeline = await self.asides.run(self.engine.timeline, query.query, file)
        except UserError as error:
            raise UserError(self._withheld(error, query)) from error
        return TimelineResponse(
            start=[float(one) for one in timeline.start],
            end=[float(one) for one in timeline.end],
            visual=numbers(timeline.visual),
            audio=numbers(timeline.audio),
            score=numbers(timeline.score),
        )

    async def _hits(self, query: ParsedQuery, asked: SearchRequest) -> Sequence[Hit]:
        """Whatever must be decoded is decoded beside; the vectors are gone through in a batch."""
        if rerank := self._rerank(asked):
            return await self.asides.run(self.engine.search, query.query, asked.k, rerank)
        question = query.query
        if query.decodes:
            question = await self.asides.run(self.engine.prepare, query.query)
        return await self.searches.ask((question, asked.k))

    async def _grouped(self, query: ParsedQuery, asked: SearchRequest) -> list[GroupResponse]:
        groups = await self.asides.run(
            self.engine.grouped, query.query, asked.k, self._rerank(asked)
        )
        catalogue = self.catalogue
        listed = ((group, to_response(group.hits, catalogue)) for group in groups)
        return [
            GroupResponse(file=hits[0].file, name=catalogue.shown(group.file), hits=hits)
            for group, hits in listed
            if hits
        ]

    def _withheld(self, error: UserError, query: ParsedQuery) -> str:
        known = {
            self.collection.name: "The collection",
            str(self.collection.path): "The collection",
        }
        roots = {str(root): "(a root)" for root in self.roots}
        return withheld(str(error), {**roots, **known, **query.secrets})

    def _rerank(self, asked: SearchRequest) -> int:
        return asked.rerank if self._reranks else 0

    def _answer(self, asked: Sequence[Question]) -> list[list[Hit]]:
        queries = [query for query, _ in asked if isinstance(query, Query)]
        texts = [part.given for one in queries for part in one.parts if part.kind == "text"]
        for toward in TOWARDS:  # together, where they are new
            self.engine.reader.texts.of(texts, toward)
        prepared = [
            self.engine.prepare(query) if isinstance(query, Query) else query for query, _ in asked
        ]
        found = self.engine.answer(prepared, max(k for _, k in asked), rerank=0)
        return [hits[:k] for hits, (_, k) in zip(found, asked, strict=True)]

    def _index(self, places: Sequence[Path]) -> Iterator[Indexed]:
        model = whole(self.engine.model)

        from trichord.search.indexing import index  # with torch

        # Children of its own: queries do not wait for those that read the archive.
        with Decoder(workers=1) as decoder:
            yield from index(self.collection, model, decoder, places)

    def _measure(self) -> None:
        gallery = self.catalogue.gallery
        self.metrics.moments.set(len(gallery))
        self.metrics.files.set(len(gallery.files))
        self.metrics.version.set(self.collection.table.version)
