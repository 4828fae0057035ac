"""The search engine: from queries to hits, for any number of threads."""

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from trichord.media.decoder import Decoder
from trichord.search.calibration import Calibration
from trichord.search.candidates import Candidates
from trichord.search.collection import StoredCollection
from trichord.search.copies import with_copies
from trichord.search.cutting import Cut
from trichord.search.folding import fold
from trichord.search.gallery import Gallery
from trichord.search.hits import (
    EACH,
    FileHits,
    SimilarityTimeline,
    group_by_file,
    leading,
    timeline_over,
)
from trichord.search.nearest.ann_indexes import Settings
from trichord.search.nearest.exact import Allowed
from trichord.search.ordering import DEPTH, below_least, in_order, rows_of, scored_hits
from trichord.search.prepared_query import PreparedQuery, TextMatches
from trichord.search.query import Query, Weights
from trichord.search.query_model import QueryModel, full_model
from trichord.search.query_plan import QueryPlan
from trichord.search.query_vectors import PartReader
from trichord.search.snapshot import Snapshot
from trichord.search.text_search import TextIndex, Wanted
from trichord.types import Hit, TextKind, UserError

if TYPE_CHECKING:  # a search by text never loads torch
    from trichord.models.embedder import Embedder
    from trichord.search.reranking import Reranker

RERANK = 50
"""Moments that a fusion reranks by default."""
TOGETHER = 10.0
"""Weight of the order by words that are all said together, if none is given. Where there is such a line, it
is hardly ever the wrong one (`studies/word_search.py`), so it comes before what only looks or sounds alike.
On the validation clips of `studies/spoken_words.py` the largest weight that was tried, 50, is the best; 10
puts the first 500 lines as far ahead."""
FOLDED = 4
"""Moments that are read for each hit if scenes are folded: with windows that overlap by half, most hits
stand for two or three."""
SNAPSHOTS = 3
"""Audio type tokens whose vectors stay in memory: the run's own and the latest others."""


class SearchEngine:
    """A collection in memory, for queries from several threads at once.

    The data that searches read never changes: `refresh` replaces it, and running searches finish with
    the data they began with.
    """

    def __init__(
        self,
        collection: StoredCollection,
        model: "Embedder | QueryModel",
        decoder: Decoder,
        audio_type: float | None = None,
        settings: Settings | None = None,
        *,
        persistent: bool = True,
    ) -> None:
        """Load the vectors.

        Args:
            collection: The collection.
            model: Its model.
            decoder: Reads the files of queries, and the moments that a fusion reranks.
            audio_type: The audio type token of the first search, if it is known.
            settings: Of the search in large collections; defaults if not given.
            persistent: Whether many searches will follow.

        Raises:
            UserError: The collection was made by other weights, or has no audio type tokens.
        """
        collection.require(model.fingerprint)
        self.model = model
        self.decoder = decoder
        description = collection.description
        self.reader = PartReader(model, decoder, Cut(description.seconds, description.hop))
        self._settings = settings
        self._persistent = persistent
        self._loading = Lock()
        token = collection.audio_type(audio_type)
        # Never changed, only replaced as a whole: readers need no lock. The first one always stays.
        self._snapshots = {token: self._load(collection, token)}
        self._latest = token
        self._texts: TextIndex | None = None

    @property
    def collection(self) -> StoredCollection:
        """The collection as it was when it was loaded."""
        return next(iter(self._snapshots.values())).collection

    @property
    def gallery(self) -> Gallery:
        """The moments, at the audio type token of the last search."""
        return self._snapshot(self._latest).gallery

    @property
    def calibration(self) -> Calibration:
        """Scales of scores at that audio type token."""
        return self._snapshot(self._latest).calibration

    @property
    def weighting(self) -> Weights:
        """Default visual and audio weight of queries by text."""
        return self.collection.description.weighting or (1.0, 1.0)

    def refresh(self) -> bool:
        """Load the collection again if it has changed. Returns whether it has.

        Raises:
            UserError: It cannot be opened, or is of other weights now; searches go on with the loaded
                data.
        """
        with self._loading:
            collection = StoredCollection.open(self.collection.name)
            texts = self._texts
            current = texts is None or texts.is_current(collection)
            if next(iter(self._snapshots.values())).is_current(collection) and current:
                return False
            collection.require(self.model.fingerprint)
            token = collection.audio_type(None)
            before, self._snapshots = self._snapshots, {token: self._load(collection, token)}
            self._latest = token
            self._texts = None  # only now: until here searches go on with the loaded words
            for snapshot in before.values():
                snapshot.retire()
            return True

    def search(self, query: Query, k: int = 10, rerank: int = RERANK) -> list[Hit]:
        """The best `k` moments, best first; fewer if the collection has fewer.

        A score is a weighted sum of standardised cosines, in units of its own spread under no match
        (see `models.calibration`), so that a moment without audio competes by its visual score alone,
        and the other way round. If all the weight is on one modality, moments without it are not found.
        Equal scores are ordered by file and time. If the query asks for moments like one of the
        collection, that moment and those of its file that overlap it are left out. Moments that fit a
        part with a negative weight come last. If the query folds, `k` counts scenes.

        If the model's fusion reads text and moment together, it then reorders the best `rerank` moments
        of a text; the others follow in their order. If captions count, the order by their words and the
        order so far are fused by reciprocal ranks; scores stay those of the vectors.

        Raises:
            UserError: `k` is less than 1 or `rerank` less than 0; the query's file cannot be used; the
                query has no vector for the modality that has all the weight; or it asks for an audio
                type token and the collection has none.
        """
        _require(k, rerank)
        return self.search_batch([self.plan(query)], k, rerank)[0]

    def search_batch(
        self, queries: Sequence[PreparedQuery], k: int | Sequence[int] = 10, rerank: int = RERANK
    ) -> list[list[Hit]]:
        """The hits of several queries, in one pass over the vectors for all that share a snapshot.

        Args:
            queries: The queries.
            k: How many hits, of all or of each query.
            rerank: As for `search`.

        Raises:
            UserError: As for `search`.
        """
        ks = [k] * len(queries) if isinstance(k, int) else k
        _require(min(ks, default=1), rerank)
        candidates: dict[int, Candidates] = {}
        for snapshot in {id(query.snapshot): query.snapshot for query in queries}.values():
            places = [i for i, query in enumerate(queries) if query.snapshot is snapshot]
            plans = [queries[i].plan for i in places]
            scored = snapshot.score(plans, [queries[i].allowed for i in places])
            candidates |= dict(zip(places, scored, strict=True))
        found = (
            (query, self.top_k(query, candidates[i], ks[i], rerank))
            for i, query in enumerate(queries)
        )
        return [_spare_copies(query, hits) for query, hits in found]

    def plan(self, query: Query) -> PreparedQuery:
        """Embed a query: this does all decoding, and raises all errors that a query can cause.

        Raises:
            UserError: As for `search`.
        """
        token = self.collection.audio_type(query.audio_type)
        snapshot = self._snapshot(token)
        self._latest = token
        weights = self._weights(query)
        self.reader.embed_texts([query])
        parts = [
            (self.reader.embed(part, snapshot.gallery, token), part.weight) for part in query.parts
        ]
        plan = QueryPlan.of(parts, weights, snapshot.calibration, snapshot.centres)
        if not (plan.vision.active or plan.audio.active):
            side = "the picture" if weights[0] else "the sound"
            raise UserError(
                f"The search ({query.title}) says nothing of {side}, which has all the weight here: "
                "change --visual-weight and --audio-weight, or search by something else."
            )
        allowed = self._allowed(query, snapshot.gallery)
        moments = snapshot.findable(plan, allowed)
        texts = self._text_matches(query, snapshot, allowed)
        if query.words_only and not texts:
            raise UserError(
                "Only words count in this search, and it has none that could be said or shown in this "
                "archive: let the picture or the sound count too, or search by a text."
            )
        return PreparedQuery(query, weights, snapshot, plan, allowed, moments, texts)

    def top_k(self, query: PreparedQuery, candidates: Candidates, k: int, rerank: int) -> list[Hit]:
        """The best `k` of a query's candidates; see `search`."""
        folded, missing = query.query.fold, query.query.where.missing
        depth = max(FOLDED * k if folded else k, self._depth(query, rerank))
        head: list[Hit] | None = None
        while True:
            scored = query.snapshot.top_k(query.plan, candidates, depth, missing=missing)
            hits = scored_hits(query, scored)
            if head is None:  # once: reranking decodes
                head = self._rerank(query, hits[:rerank])
            hits = in_order(query, [*head, *hits[len(head) :]])
            if not folded:
                return hits[:k]
            hits, complete = fold(hits, query.snapshot.gallery, k, adjoining=self._adjoining)
            enough = complete or query.only_texts or len(scored.rows) < depth
            if enough or below_least(query, scored):
                return hits
            depth *= 4

    def grouped(
        self, query: Query, k: int = 10, rerank: int = RERANK, each: int = EACH
    ) -> list[FileHits]:
        """The best `k` files by their best moment, each with at most `each` moments.

        Raises:
            UserError: As for `search`.
        """
        _require(k, rerank)
        prepared = self.plan(query)
        snapshot = prepared.snapshot
        [candidates] = snapshot.score([prepared.plan], [prepared.allowed])
        least = self._depth(prepared, rerank)
        read = FOLDED * each if query.fold else each
        depth = max(k * read, least)
        while True:
            scored = snapshot.top_k(prepared.plan, candidates, depth, missing=query.where.missing)
            files = snapshot.gallery.file[scored.rows]
            if len(scored.rows) < depth or len(np.unique(files)) >= k:
                break
            depth *= 4
        hits = scored_hits(prepared, scored.take(leading(files, max(k, least), read)))
        hits = [*self._rerank(prepared, hits[:rerank]), *hits[rerank:]]
        hits = in_order(prepared, hits)
        if query.fold:  # copies are files of their own
            most, adjoining = len(hits), self._adjoining
            hits, _ = fold(hits, snapshot.gallery, most, adjoining=adjoining, copies=False)
        return group_by_file(_spare_copies(prepared, hits), k, each)

    def timeline(self, query: Query, file: str) -> SimilarityTimeline:
        """How well a query fits each moment of a file, whatever the query's filters.

        Raises:
            UserError: As for `search`, or the collection has no such file.
        """
        prepared = self.plan(query)
        timeline = timeline_over(file, prepared.plan, prepared.snapshot.gallery)
        texts = [
            found
            for kind, weight in _weights_of_words(query).items()
            if weight != 0
            for found in self.texts.found_in(file, Wanted.of(query, loose=weight is not None), kind)
        ]
        return replace(timeline, texts=tuple(sorted(texts, key=lambda found: found.at)))

    def _snapshot(self, token: float | None) -> Snapshot:
        """The moments at an audio type token, loaded if needed."""
        if (snapshot := self._snapshots.get(token)) is not None:
            return snapshot
        with self._loading:
            if token not in self._snapshots:
                own, *others = self._snapshots.items()
                snapshot = self._load(own[1].collection, token, own[1])
                kept = 2 - SNAPSHOTS  # counted from the end: beside the run's own and the new one
                self._snapshots = dict([own, *others[kept:], (token, snapshot)])
                for _, other in others[:kept]:
                    other.retire()
            return self._snapshots[token]

    def _load(
        self, collection: StoredCollection, token: float | None, other: Snapshot | None = None
    ) -> Snapshot:
        return Snapshot.of(
            collection,
            self.reader.texts,
            token,
            other=other,
            settings=self._settings,
            persistent=self._persistent,
        )

    def _weights(self, query: Query) -> Weights:
        """Visual and audio weight. Learnt weights are for texts only: they were learnt from texts."""
        by_text = all(part.kind == "text" for part in query.parts)
        default = self.weighting if by_text else (1.0, 1.0)
        return (
            default[0] if query.visual_weight is None else float(query.visual_weight),
            default[1] if query.audio_weight is None else float(query.audio_weight),
        )

    def _reranker(self, query: PreparedQuery, rerank: int) -> "Reranker | None":
        # Reading the fusion of a `QueryModel` loads its model.
        if not rerank or not query.text or self.model.fusion is None:
            return None
        from trichord.search.reranking import Reranker

        return Reranker.of(full_model(self.model), self.decoder)

    def _depth(self, query: PreparedQuery, rerank: int) -> int:
        """How many moments reranking and rank fusion read."""
        depth = rerank if self._reranker(query, rerank) else 0
        return max(depth, DEPTH) if query.uses_words else depth

    def _rerank(self, query: PreparedQuery, hits: list[Hit]) -> list[Hit]:
        """Hits in the order of the model's fusion, if it reads text and moment together."""
        reranker = self._reranker(query, len(hits))
        if reranker is None:
            return hits
        with self.reader.reading:
            return reranker.reorder(hits, query.text, query.weights, query.snapshot.token)

    def _allowed(self, query: Query, gallery: Gallery) -> Allowed | None:
        """Which moments a query may find; None: all."""
        likes = [part for part in query.parts if part.kind == "moment"]
        if query.where.open and not likes:
            return None
        overlapping = self.texts.overlapping if query.where.of_speech else None
        allowed = query.where.mask(gallery, overlapping)
        for part in likes:
            row = gallery.row_at(part.value, part.start)
            if row is not None:  # without the moments of its file that overlap it
                rows = gallery.rows_of(part.value)
                starts_before = gallery.start[rows] < gallery.end[row]
                ends_after = gallery.end[rows] > gallery.start[row]
                allowed[rows] &= ~(starts_before & ends_after)
                allowed[row] = False
        return allowed

    def _text_matches(
        self, query: Query, snapshot: Snapshot, allowed: Allowed | None
    ) -> tuple[TextMatches, ...]:
        """Moments in which words of a query are said, and in which they are shown."""
        if not query.words:
            return ()
        matches: list[TextMatches] = []
        for kind, weight in _weights_of_words(query).items():
            if weight == 0 or kind not in self.texts.kinds:
                continue
            loose = weight is not None
            wanted = Wanted.of(query, loose=loose)
            lists = [self.texts.match(wanted, kind)]
            if not query.phrases:  # which are exact
                lists.append(self.texts.similar(query.words, self.reader.texts, kind, loose=loose))
            for lines in lists:
                places = ((moment.file, moment.start, text) for moment, text in lines)
                found = rows_of(places, query, snapshot, allowed)
                matches.append(TextMatches(TOGETHER if weight is None else weight, found))
        return tuple(matches)

    @property
    def texts(self) -> TextIndex:
        """What is said and shown in the files."""
        if (texts := self._texts) is not None:  # a refresh may hold the lock for seconds
            return texts
        with self._loading:
            if self._texts is None:
                snapshot = next(iter(self._snapshots.values()))
                self._texts = TextIndex.of(snapshot.collection, snapshot.gallery)
            return self._texts

    @property
    def _adjoining(self) -> bool:
        """Whether moments that adjoin are of one scene: windows are, shots are not."""
        return self.collection.description.cut == "window"


def _require(k: int, rerank: int) -> None:
    if k < 1:
        raise UserError(f"The number of hits is {k}: give at least 1.")
    if rerank < 0:
        raise UserError(f"--rerank is {rerank}: give a number of moments, or 0 for none.")


def _weights_of_words(query: Query) -> dict[TextKind, float | None]:
    return {"speech": query.speech_weight, "screen": query.screen_weight}


def _spare_copies(query: PreparedQuery, hits: list[Hit]) -> list[Hit]:
    """The hits; those in copies of the query's file are not weak."""
    return with_copies(hits, query.query, query.snapshot.collection.table)
