"""Finding moments: the one way from queries to hits, for any number of threads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from trichord.media.decoder import Decoder
from trichord.search.calibration import Calibration
from trichord.search.candidates import Candidates
from trichord.search.collection import Collection
from trichord.search.cutting import Cut
from trichord.search.gallery import Gallery
from trichord.search.grouping import EACH, Group, group, leading
from trichord.search.hits import hits_of
from trichord.search.loaded import Loaded
from trichord.search.nearest.neighbours import Allowed
from trichord.search.nearest.structures import Settings
from trichord.search.query import Part, Query, Weights
from trichord.search.query_model import QueryModel, whole
from trichord.search.query_plan import QueryPlan, ScoredRows
from trichord.search.query_vectors import PartReader
from trichord.search.rank_fusion import fuse_ranks
from trichord.search.timeline import SimilarityTimeline, timeline_over
from trichord.types import Hit, Moment, UserError

if TYPE_CHECKING:  # a search by text never loads torch
    from trichord.models.embedder import Embedder
    from trichord.search.reranking import Reranker

RERANK = 50
"""Moments that a fusion looks at again where nothing else is said."""
DEPTH = 1000
"""Moments of either order that are looked at where words of captions have their say."""
HEARD = 3
"""Audio type tokens at which sound is held in memory: the run's own and the latest others."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A query that has been read: what is left to do is arithmetic on the vectors in `loaded`."""

    query: Query
    weights: Weights
    loaded: Loaded
    combined: QueryPlan
    allowed: Allowed | None

    @property
    def text(self) -> str:
        """The text of a query that is nothing but one; else ""."""
        [first, *others] = self.query.parts
        return first.given if first.kind == "text" and not others else ""

    def permits(self, row: int) -> bool:
        """Whether a moment may be found."""
        return self.allowed is None or bool(self.allowed[row])


class SearchEngine:
    """A collection in memory, ready for queries from several threads at once.

    What searches read never changes: `refresh` puts another collection in its place, and searches
    under way end with the one they began with.
    """

    def __init__(
        self,
        collection: Collection,
        model: "Embedder | QueryModel",
        decoder: Decoder,
        audio_type: float | None = None,
        settings: Settings | None = None,
        *,
        persistent: bool = True,
    ) -> None:
        """Load the vectors.

        Args:
            collection: What to search in.
            model: That made it.
            decoder: Reads the files of queries, and moments again that a fusion looks at.
            audio_type: At which to load them, where the first search is known to ask for it.
            settings: Of what finds candidates in large collections; the defaults if not given.
            persistent: Whether it is for many searches.

        Raises:
            UserError: The collection was made by other weights, or has no audio type tokens.
        """
        collection.require(model.fingerprint)
        self.model = model
        self.decoder = decoder
        there = collection.description
        self.reader = PartReader(model, decoder, Cut(there.seconds, there.hop))
        self._settings = settings
        self._lasting = persistent
        self._loading = Lock()
        token = collection.audio_type(audio_type)
        # Never changed, only replaced as a whole: readers need no lock. The first one leads.
        self._held = {token: self._load(collection, token)}
        self._latest = token

    @property
    def collection(self) -> Collection:
        """What is searched in, as it was when it was loaded."""
        return next(iter(self._held.values())).collection

    @property
    def gallery(self) -> Gallery:
        """The moments, heard at the audio type token of the last search."""
        return self._at(self._latest).gallery

    @property
    def calibration(self) -> Calibration:
        """Scales of scores at that audio type token."""
        return self._at(self._latest).calibration

    @property
    def reranks(self) -> bool:
        """Whether its model's fusion can look at moments again."""
        return self.model.reranks

    @property
    def weighting(self) -> Weights:
        """Of sight and of sound, where a query by texts does not say."""
        return self.collection.description.weighting or (1.0, 1.0)

    def refresh(self) -> bool:
        """Look whether the collection has moved on, and load it anew if so.

        Raises:
            UserError: It cannot be opened, or is of other weights now; what was loaded goes on being
                searched.
        """
        with self._loading:
            there = Collection.open(self.collection.name)
            if next(iter(self._held.values())).is_current(there):
                return False
            there.require(self.model.fingerprint)
            token = there.audio_type(None)
            before, self._held = self._held, {token: self._load(there, token)}
            self._latest = token
            for one in before.values():
                one.retire()
            return True

    def search(self, query: Query, k: int = 10, rerank: int = RERANK) -> list[Hit]:
        """The best `k` moments, best first; fewer where the collection has fewer to offer.

        A score is a weighted sum of standardised cosines in units of its own spread under no match
        (see `models.yardstick`), so a moment without sound competes by its sight alone, and the other
        way round. Where all the weight lies on a modality, moments without it are not found. Equal
        scores are ordered by file and time. A moment that is asked for by likeness, and those of its
        file that overlap it, are left out.

        Where the model's fusion reads text and moment together, it then reorders the best `rerank`
        moments of a text; all others follow as they were. Where captions count, their order by words
        and the one so far are then joined by reciprocal ranks; scores stay those of the vectors.

        Raises:
            UserError: `k` is less than 1 or `rerank` less than 0; the query's file cannot be used;
                the query says nothing of the modality that has all the weight; or it asks for a
                audio type token where the collection has none.
        """
        return self.search_many([query], k, rerank)[0]

    def search_many(
        self, queries: Sequence[Query], k: int = 10, rerank: int = RERANK
    ) -> list[list[Hit]]:
        """The hits of several queries, in one pass over the vectors for all of them.

        Raises:
            UserError: As for `search`, of any of the queries.
        """
        words = [part.given for query in queries for part in query.parts if part.kind == "text"]
        self.reader.texts.of(words, "vision")
        self.reader.texts.of(words, "audio")
        return self.answer([self.prepare(query) for query in queries], k, rerank)

    def prepare(self, query: Query) -> Prepared:
        """Read a query: all that can go wrong with it, and all that must be decoded for it.

        Raises:
            UserError: As for `search`.
        """
        token = self.collection.audio_type(query.audio_type)
        loaded = self._at(token)
        self._latest = token
        weights = self._weights(query)
        parts = [(self.reader.read(one, loaded.gallery, token), one.weight) for one in query.parts]
        combined = QueryPlan.of(parts, weights, loaded.calibration, loaded.centres)
        if not (combined.vision.asked or combined.audio.asked):
            side = "the picture" if weights[0] else "the sound"
            raise UserError(
                f"The search ({query.given}) says nothing of {side}, which has all the weight here: "
                "change --visual-weight and --audio-weight, or search by something else."
            )
        return Prepared(query, weights, loaded, combined, _allowed(query, loaded.gallery))

    def answer(
        self, prepared: Sequence[Prepared], k: int = 10, rerank: int = RERANK
    ) -> list[list[Hit]]:
        """The hits of queries that have been read, as `search_many` gives them.

        Raises:
            UserError: `k` is less than 1 or `rerank` less than 0; or as for `Reranker.reorder`.
        """
        _require(k, rerank)
        found: list[list[Hit]] = []
        for one, candidates in zip(prepared, _candidates(prepared), strict=True):
            depth = max(k, self._depth(one, rerank))
            settled = one.loaded.best(one.combined, candidates, depth)
            found.append(self._finished(one, settled, rerank)[:k])
        return _captioned(prepared, found)

    def grouped(
        self, query: Query, k: int = 10, rerank: int = RERANK, each: int = EACH
    ) -> list[Group]:
        """The best `k` files by their best moment, each with at most `each` moments.

        Raises:
            UserError: As for `search`.
        """
        _require(k, rerank)
        one = self.prepare(query)
        [candidates] = _candidates([one])
        depth = max(k * each, self._depth(one, rerank))
        while True:
            settled = one.loaded.best(one.combined, candidates, depth)
            files = one.loaded.gallery.file[settled.rows]
            if len(settled.rows) < depth or len(np.unique(files)) >= k:
                break
            depth *= 4
        settled = settled.take(leading(files, max(k, self._depth(one, rerank)), each))
        [hits] = _captioned([one], [self._finished(one, settled, rerank)])
        return group(hits, k, each)

    def timeline(self, query: Query, file: str) -> SimilarityTimeline:
        """How well a query fits each moment of a file, whatever the query's filters say.

        Raises:
            UserError: As for `search`, or the collection has no such file.
        """
        one = self.prepare(query)
        return timeline_over(file, one.combined, one.loaded.gallery)

    def _at(self, token: float | None) -> Loaded:
        """The moments as heard at an audio type token; loaded where they are not."""
        if (there := self._held.get(token)) is not None:
            return there
        with self._loading:
            held = self._held
            if token not in held:
                first = next(iter(held.values()))
                made = self._load(first.collection, token, first)
                usual, *others = held.items()
                kept = others[-(HEARD - 2) :]
                self._held = dict([usual, *kept, (token, made)])
                for _, one in others[: -len(kept)] if kept else []:
                    one.retire()
            return self._held[token]

    def _load(
        self, collection: Collection, token: float | None, beside: Loaded | None = None
    ) -> Loaded:
        return Loaded.of(
            collection,
            self.reader.texts,
            token,
            beside=beside,
            settings=self._settings,
            persistent=self._lasting,
        )

    def _weights(self, query: Query) -> Weights:
        """Visual and audio weight. The learnt ones hold for texts, which they were learnt from."""
        by_text = all(part.kind == "text" for part in query.parts)
        usual = self.weighting if by_text else (1.0, 1.0)
        return (
            usual[0] if query.visual_weight is None else float(query.visual_weight),
            usual[1] if query.audio_weight is None else float(query.audio_weight),
        )

    def _reranker(self, one: Prepared, rerank: int) -> "Reranker | None":
        # A model that is not loaded yet is loaded by asking for its fusion.
        if not rerank or not one.text or self.model.fusion is None:
            return None
        from trichord.search.reranking import Reranker

        return Reranker.of(whole(self.model), self.decoder)

    def _depth(self, one: Prepared, rerank: int) -> int:
        """How many moments are looked at before the last word on their order is spoken."""
        depth = rerank if self._reranker(one, rerank) else 0
        return max(depth, DEPTH) if _reads_captions(one) else depth

    def _finished(self, one: Prepared, settled: ScoredRows, rerank: int) -> list[Hit]:
        hits = hits_of(settled, one.loaded.gallery)
        reranker = self._reranker(one, rerank)
        if reranker is not None:
            with self.reader.reading:
                best = reranker.reorder(hits[:rerank], one.text, one.weights, one.loaded.token)
            hits = [*best, *hits[rerank:]]
        return _joined(one, hits) if _reads_captions(one) else hits


def _require(k: int, rerank: int) -> None:
    if k < 1:
        raise UserError(f"The number of hits asked for is {k}: ask for at least 1.")
    if rerank < 0:
        raise UserError(f"--rerank is {rerank}: give a number of moments, or 0 for none.")


def _allowed(query: Query, gallery: Gallery) -> Allowed | None:
    """Which moments a query may find; None: all."""
    likes = [part for part in query.parts if part.kind == "moment"]
    if query.where.open and not likes:
        return None
    allowed = query.where.mask(gallery)
    for part in likes:
        _leave_out(part, gallery, allowed)
    return allowed


def _leave_out(part: Part, gallery: Gallery, allowed: Allowed) -> None:
    """A moment, and those of its file that overlap it."""
    rows = gallery.rows_of(part.given)
    row = gallery.row_of(part.given, part.start)
    if row is not None:
        before, after = (
            gallery.start[rows] < gallery.end[row],
            gallery.end[rows] > gallery.start[row],
        )
        allowed[rows] &= ~(before & after)
        allowed[row] = False


def _candidates(prepared: Sequence[Prepared]) -> list[Candidates]:
    """Where the best of queries are, in one pass for all that were read from the same vectors."""
    found: dict[int, Candidates] = {}
    for loaded in {id(one.loaded): one.loaded for one in prepared}.values():
        places = [i for i, one in enumerate(prepared) if one.loaded is loaded]
        asked = [prepared[i].combined for i in places]
        scored = loaded.candidates(asked, [prepared[i].allowed for i in places])
        found |= dict(zip(places, scored, strict=True))
    return [found[i] for i in range(len(prepared))]


def _reads_captions(one: Prepared) -> bool:
    return one.query.caption_weight > 0 and one.loaded.captioned and bool(one.query.words)


def _joined(one: Prepared, hits: list[Hit]) -> list[Hit]:
    """Hits in the joint order of vectors and captions, with moments that captions alone found."""
    gallery = one.loaded.gallery
    # A filter applies to the matches: all of them are asked for, lest the best lie elsewhere.
    depth = DEPTH if one.query.where.open else max(DEPTH, len(gallery))
    matched = one.loaded.collection.table.match_captions(one.query.words, depth)
    rows = [row for file, start, _ in matched if (row := gallery.row_of(file, start)) is not None]
    said = [row for row in dict.fromkeys(rows) if one.permits(row)][:DEPTH]
    settled = one.combined.settle(gallery, np.array(said, np.int64))
    by_words: dict[Moment, Hit] = {hit.moment: hit for hit in hits_of(settled, gallery)}
    by_moment = by_words | {hit.moment: hit for hit in hits}
    order = fuse_ranks(
        [([hit.moment for hit in hits], 1.0), (list(by_words), one.query.caption_weight)]
    )
    return [by_moment[moment] for moment in order]


def _captioned(prepared: Sequence[Prepared], found: list[list[Hit]]) -> list[list[Hit]]:
    """Hits with what is said about their moments."""
    result: list[list[Hit]] = []
    for one, hits in zip(prepared, found, strict=True):
        said = one.loaded.captions_of([hit.moment for hit in hits])
        result.append(
            [replace(hit, caption=said.get(hit.moment)) for hit in hits] if said else hits
        )
    return result
