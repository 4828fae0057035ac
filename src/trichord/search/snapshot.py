"""A collection's vectors in memory, of one version and at one audio type token."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from trichord.search.background import BACKGROUND_QUERIES, calibrate_by
from trichord.search.calibration import Calibration, evenly
from trichord.search.candidates import AnnCandidates, Candidates, ExactCandidates
from trichord.search.collection import StoredCollection
from trichord.search.gallery import Gallery, Vectors
from trichord.search.nearest.ann_indexes import HELD_OUT, SIDES, AnnIndexes, Settings, sweep
from trichord.search.nearest.exact import Allowed, Exact, inner_products
from trichord.search.presence import Presence
from trichord.search.query_plan import Centre, QueryPlan, Rows, ScoredRows
from trichord.search.query_vectors import TextVectors
from trichord.types.arrays import Float, UInt8

if TYPE_CHECKING:  # a single search never loads torch
    from trichord.search.nearest.half_precision import HalfPrecision

BLOCK = 2048
"""Moments whose visual and audio scores are added together, while both are in the cache."""
SPARSE = 0.25
"""If a smaller share of the rows is allowed, they are gathered; otherwise all are scored."""
QUERIES_FROM = 2
"""So many queries at once or more are faster in half precision."""
HALF_FROM = 20_000
"""From so many moments on, half precision is worth its memory: fewer are scored in 2 ms."""

Scores = Float[np.ndarray, "query row"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Snapshot:
    """The data that searches share, which never changes.

    Attributes:
        collection: The collection as it was opened.
        version: Version of the table, or an earlier one.
        token: Audio type token of the audio vectors.
        gallery: The moments.
        calibration: Scales of scores.
        centres: Of all vision and of all audio vectors.
        pattern: Which modalities each moment has; see `query_plan.PATTERNS`.
        indexes: Find candidates; None if there are few enough moments for exact search.
        half: The gallery in half precision, for several queries at once; None if there are too few
            moments or too many, or the processor is not faster with it.
    """

    collection: StoredCollection
    version: int
    token: float | None
    gallery: Gallery
    calibration: Calibration
    centres: tuple[Centre, Centre]
    pattern: UInt8[np.ndarray, " moment"]
    indexes: AnnIndexes | None
    half: "HalfPrecision | None" = None

    @classmethod
    def of(
        cls,
        collection: StoredCollection,
        texts: TextVectors,
        token: float | None,
        *,
        other: "Snapshot | None" = None,
        settings: Settings | None = None,
        persistent: bool = True,
    ) -> "Snapshot":
        """Load a collection.

        Args:
            collection: The collection.
            texts: Text vectors of its model.
            token: Audio type token.
            other: A snapshot at another token, whose vision vectors are shared.
            settings: Settings of ANN indexes; defaults if not given.
            persistent: Whether many searches will follow, for which torch is worth loading.
        """
        # Before the rows are read: a commit in between is seen by the next `is_current`.
        version = collection.table.version
        gallery = collection.table.gallery(token)
        if other is not None and _same_moments(gallery, other.gallery):
            gallery = replace(gallery, vision=other.gallery.vision)
        own = token == collection.audio_type(None)
        # None during the first indexing: the moments stored so far can be searched.
        calibration = collection.description.calibration if own else None
        indexes, cache = None, collection.storage.cache / "nearest"
        settings = settings or Settings()
        if len(gallery) > settings.exact_up_to:
            indexes = AnnIndexes(cache, gallery, version, held_out(texts, gallery), settings)
        else:  # the collection may have been larger
            for side in SIDES:
                sweep(cache, version, side)
        return cls(
            collection=collection,
            version=version,
            token=token,
            gallery=gallery,
            calibration=calibration or calibrate_by(texts, gallery),
            centres=(
                Centre.of(gallery.vision, gallery.has_vision),
                Centre.of(gallery.audio, gallery.has_audio),
            ),
            pattern=(gallery.has_vision + 2 * gallery.has_audio).astype(np.uint8),
            indexes=indexes,
            half=None if indexes or not persistent else _half(gallery),
        )

    def is_current(self, collection: StoredCollection) -> bool:
        """Whether a collection, opened now, is still the same as this snapshot."""
        now = (collection.description, collection.table.version)
        return now == (self.collection.description, self.version)

    @property
    def presence(self) -> Presence:
        """Which files are there."""
        return Presence(self.gallery.files)

    def retire(self) -> None:
        """Stop building indexes. Running searches can finish."""
        if self.indexes is not None:
            self.indexes.close()

    def score(
        self, plans: Sequence[QueryPlan], allowed: Sequence[Allowed | None]
    ) -> list[Candidates]:
        """The candidates of each query, in one pass over the vectors for all queries.

        Args:
            plans: The queries.
            allowed: Which moments each may find; None: all.
        """
        if self.indexes is not None:
            vision, audio = self.indexes.nearest("vision"), self.indexes.nearest("audio")
            if not (isinstance(vision, Exact) and isinstance(audio, Exact)):
                pairs = zip(plans, allowed, strict=True)
                return [AnnCandidates(plan, vision, audio, mask) for plan, mask in pairs]
        batch, rows = _QueryBatch.of(plans), _rows_to_score(allowed)
        half = self.half if rows is None and len(plans) >= QUERIES_FROM else None
        if half is None:
            scores, errors = self._scores(batch, rows), np.zeros(len(plans))
        else:
            scores, errors = half.scores((batch.vision, batch.audio), batch.coefficients)
            rows = half.rows
        candidates: list[Candidates] = []
        for i, (plan, row, mask) in enumerate(zip(plans, scores, allowed, strict=True)):
            if mask is not None:
                row[~mask if rows is None else ~mask[rows]] = -np.inf
            again = None if half is None else partial(self._scores, batch.take(i))
            candidates.append(ExactCandidates(row, rows, plan.slack, float(errors[i]), again))
        return candidates

    def _scores(self, batch: "_QueryBatch", rows: Rows | None) -> Scores:
        vision, audio = batch.vision.astype(np.float32), batch.audio.astype(np.float32)
        coefficients = batch.coefficients.astype(np.float32)
        count = len(self.gallery) if rows is None else len(rows)
        scores = np.empty((len(vision), count), np.float32)
        for first in range(0, count, BLOCK):
            span = slice(first, first + BLOCK)
            part = span if rows is None else rows[span]
            factors = coefficients[:, :, self.pattern[part]]
            block = factors[2]
            if vision.any():
                block += factors[0] * inner_products(_take(self.gallery.vision, part), vision)
            if audio.any():
                block += factors[1] * inner_products(_take(self.gallery.audio, part), audio)
            scores[:, span] = block
        return scores

    def top_k(
        self, plan: QueryPlan, candidates: Candidates, k: int, *, missing: bool = False
    ) -> ScoredRows:
        """The best `k` moments of a query by their exact scores, best first.

        Candidates are chosen without the excluded parts, which only lower scores, and among files that may
        be missing: there are enough of them once `k` are there and not demoted.

        Args:
            plan: The query.
            candidates: Its candidates.
            k: Number of moments.
            missing: Also those of files that are missing.
        """
        depth = 2 * k if plan.excludes else k
        while True:
            scored = plan.score(self.gallery, candidates.best(depth))
            count = len(scored.rows)  # more than `depth` if scores are nearly equal
            if not missing:
                there = self.presence.of(self.gallery.file[scored.rows])
                scored = scored if there.all() else scored.take(np.flatnonzero(there))
            kept = len(scored.rows) - np.count_nonzero(scored.demoted) - max(0, count - depth)
            if kept >= k or count < depth:
                return scored.top_k(k)
            depth *= 4

    def findable(self, plan: QueryPlan, allowed: Allowed | None) -> int:
        """How many moments a query may find."""
        pattern = self.pattern if allowed is None else self.pattern[allowed]
        compared = plan.coefficients()[2] > -np.inf
        return int(np.bincount(pattern, minlength=len(compared))[compared].sum())


@dataclass(frozen=True, slots=True, eq=False)
class _QueryBatch:
    """The arrays of several queries; see `QueryPlan.coefficients`."""

    vision: Float[np.ndarray, "query _"]
    audio: Float[np.ndarray, "query _"]
    coefficients: Float[np.ndarray, "3 query 4"]

    @classmethod
    def of(cls, plans: Sequence[QueryPlan]) -> "_QueryBatch":
        return cls(
            np.stack([plan.vision.vector for plan in plans]),
            np.stack([plan.audio.vector for plan in plans]),
            np.stack([plan.coefficients() for plan in plans], axis=1),
        )

    def take(self, place: int) -> "_QueryBatch":
        """One of the queries."""
        part = slice(place, place + 1)
        return _QueryBatch(self.vision[part], self.audio[part], self.coefficients[:, part])


def _take(vectors: Vectors, rows: slice | Rows) -> Float[np.ndarray, "_ dim"]:
    """Some of the rows; a slice is not copied."""
    return vectors[rows] if isinstance(rows, slice) else vectors.take(rows, axis=0)


def _half(gallery: Gallery) -> "HalfPrecision | None":
    if len(gallery) < HALF_FROM:
        return None
    from trichord.search.nearest.half_precision import HalfPrecision, is_faster  # with torch

    columns = ((gallery.vision, gallery.has_vision), (gallery.audio, gallery.has_audio))
    return HalfPrecision.of(columns) if is_faster() else None


def held_out(texts: TextVectors, gallery: Gallery) -> dict[str, Float[np.ndarray, "query _"]]:
    """Queries of each kind that the recall of an ANN index is measured with.

    Texts are the background queries. Pictures and sounds are means of neighbouring moments, like those
    of a longer file, and so none of the gallery's own vectors. Modalities are crossed only if the model
    compares them.
    """
    pictures = _neighbour_means(gallery.vision, gallery.has_vision)
    sounds = _neighbour_means(gallery.audio, gallery.has_audio)
    queries = {
        "text→sight": np.stack(texts.of(BACKGROUND_QUERIES, "vision")),
        "text→sound": np.stack(texts.of(BACKGROUND_QUERIES, "audio")),
        "picture→sight": pictures,
        "sound→sound": sounds,
    }
    if texts.model.compares("audio", "vision"):
        queries |= {"sound→sight": sounds, "picture→sound": pictures}
    return {name: vectors for name, vectors in queries.items() if len(vectors)}


def _neighbour_means(
    vectors: Float[np.ndarray, "moment dim"], present: Allowed
) -> Float[np.ndarray, "query dim"]:
    rows = np.flatnonzero(present[:-1] & present[1:])
    rows = rows[evenly(len(rows), HELD_OUT)]
    sums = vectors[rows] + vectors[rows + 1]
    return sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(min=1e-6)


def _rows_to_score(allowed: Sequence[Allowed | None]) -> Rows | None:
    """The rows that any query may find, if they are few; None: score all."""
    masks = [mask for mask in allowed if mask is not None]
    if not masks or len(masks) < len(allowed):
        return None
    union = np.logical_or.reduce(masks)
    return np.flatnonzero(union) if union.sum() < SPARSE * len(union) else None


def _same_moments(one: Gallery, other: Gallery) -> bool:
    """Whether two galleries hold the same moments, so that they can share vision vectors."""
    pairs = ((one.file, other.file), (one.start, other.start), (one.vision, other.vision))
    return one.files == other.files and all(np.array_equal(a, b) for a, b in pairs)
