"""A collection's vectors in memory as they were at one moment, heard at one audio type token."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from trichord.search.background import BACKGROUND_QUERIES, calibrate_by
from trichord.search.calibration import Calibration, evenly
from trichord.search.candidates import Bounded, Candidates, Proposed, Scored
from trichord.search.collection import Collection
from trichord.search.gallery import Gallery, Vectors
from trichord.search.nearest.exact import Exact, products
from trichord.search.nearest.files import StructureFiles
from trichord.search.nearest.neighbours import Allowed
from trichord.search.nearest.structures import HELD_OUT, SIDES, Settings, Structures
from trichord.search.query_plan import Centre, QueryPlan, Rows, ScoredRows
from trichord.search.query_vectors import TextVectors
from trichord.types import Moment
from trichord.types.arrays import Float, UInt8

if TYPE_CHECKING:  # a single search never loads torch
    from trichord.search.nearest.half_precision import HalfPrecision

BLOCK = 2048
"""Moments whose sight and sound are scored together, while both are near the processor."""
SPARSE = 0.25
"""Where less of the gallery is allowed, its rows are gathered, else all are scored."""
QUERIES_FROM = 2
"""Queries at once from which half precision is faster."""
HALF_FROM = 20_000
"""Moments from which on vectors in half precision are worth their memory: fewer are scored in 2 ms."""
CAPTIONS = 65_536
"""Captions of found moments that are remembered."""

Scores = Float[np.ndarray, "query row"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Loaded:
    """What searches share; nothing in it changes but what it remembers.

    Attributes:
        collection: As it was opened.
        version: Of the table, or an earlier one.
        token: Where sound is listened to.
        gallery: The moments.
        calibration: Scales of scores.
        centres: Of all sights and of all sounds.
        pattern: What each moment has; see `combination.PATTERNS`.
        captioned: Whether any moment has a caption.
        structures: That find candidates; None where there are few enough moments for exact search.
        half: The gallery in half precision, for several queries at once; None where
            there are too few moments or too many, or the processor is no faster with them.
    """

    collection: Collection
    version: int
    token: float | None
    gallery: Gallery
    calibration: Calibration
    centres: tuple[Centre, Centre]
    pattern: UInt8[np.ndarray, " moment"]
    captioned: bool
    structures: Structures | None
    half: "HalfPrecision | None" = None
    _captions: dict[Moment, str | None] = field(default_factory=dict[Moment, str | None])

    @classmethod
    def of(
        cls,
        collection: Collection,
        texts: TextVectors,
        token: float | None,
        *,
        beside: "Loaded | None" = None,
        settings: Settings | None = None,
        persistent: bool = True,
    ) -> "Loaded":
        """Load a collection.

        Args:
            collection: What to load.
            texts: Vectors of the model that made it.
            token: Where to listen.
            beside: The same collection heard elsewhere, whose pictures need not be held twice.
            settings: Of structures that find candidates; the defaults if not given.
            persistent: Whether many searches are to come, for which torch is worth loading.
        """
        # Before the rows are read: what is committed in between is found by the next look.
        version = collection.table.version
        gallery = collection.table.gallery(token)
        if beside is not None and _same(gallery, beside.gallery):
            gallery = replace(gallery, vision=beside.gallery.vision)
        usual = token == collection.audio_type(None)
        # None while the first indexing is under way: what is there can be searched all the same.
        kept = collection.description.calibration if usual else None
        structures, cache = None, collection.storage.cache / "nearest"
        if len(gallery) > (settings or Settings()).exact_up_to:
            structures = Structures(
                cache,
                gallery,
                version,
                held_out(texts, gallery),
                settings or Settings(),
                persistent=token is None or token in collection.description.audio_types,
            )
        else:  # there may have been more of them
            for side in SIDES:
                StructureFiles(cache, version, passing=False).sweep(side)
        return cls(
            collection=collection,
            version=version,
            token=token,
            gallery=gallery,
            calibration=kept or calibrate_by(texts, gallery),
            centres=(
                Centre.of(gallery.vision, gallery.has_vision),
                Centre.of(gallery.audio, gallery.has_audio),
            ),
            pattern=(gallery.has_vision + 2 * gallery.has_audio).astype(np.uint8),
            captioned=collection.table.captioned() > 0,
            structures=structures,
            half=None if structures or not persistent else _half(gallery),
        )

    def is_current(self, collection: Collection) -> bool:
        """Whether a collection, opened now, is still what was loaded."""
        there = (collection.description, collection.table.version)
        return there == (self.collection.description, self.version)

    def retire(self) -> None:
        """Build no structures any more; searches that began here end here."""
        if self.structures is not None:
            self.structures.close()

    def candidates(
        self, asked: Sequence[QueryPlan], allowed: Sequence[Allowed | None]
    ) -> list[Candidates]:
        """Where the best of each query are, looked for in one pass over the vectors for all queries.

        Args:
            asked: The queries.
            allowed: Which moments each may find; None: all.
        """
        if self.structures is not None:
            vision, audio = self.structures.nearest("vision"), self.structures.nearest("audio")
            if not (isinstance(vision, Exact) and isinstance(audio, Exact)):
                pairs = zip(asked, allowed, strict=True)
                return [Proposed(one, vision, audio, mask) for one, mask in pairs]
        many, rows = _Asked.of(asked), _needed(allowed)
        if self.half is not None and rows is None and len(asked) >= QUERIES_FROM:
            return self._bounded(many, asked, allowed, self.half)
        found: list[Candidates] = []
        for one, row, mask in zip(asked, self._scores(many, rows), allowed, strict=True):
            if mask is not None:
                row[~mask if rows is None else ~mask[rows]] = -np.inf
            found.append(Scored(row, rows, one.slack))
        return found

    def _bounded(
        self,
        many: "_Asked",
        asked: Sequence[QueryPlan],
        allowed: Sequence[Allowed | None],
        half: "HalfPrecision",
    ) -> list[Candidates]:
        scores, errors = half.scores((many.vision, many.audio), many.coefficients)
        found: list[Candidates] = []
        for i, (one, row, mask) in enumerate(zip(asked, scores, allowed, strict=True)):
            if mask is not None:
                row[~mask[half.rows]] = -np.inf
            score = partial(self._scores_of, many.take(i))
            found.append(Bounded(row, half.rows, float(errors[i]), score, one.slack))
        return found

    def _scores(self, asked: "_Asked", rows: Rows | None) -> Scores:
        vision, audio = asked.vision.astype(np.float32), asked.audio.astype(np.float32)
        coefficients = asked.coefficients.astype(np.float32)
        count = len(self.gallery) if rows is None else len(rows)
        scores = np.empty((len(vision), count), np.float32)
        for first in range(0, count, BLOCK):
            span = slice(first, first + BLOCK)
            chosen = span if rows is None else rows[span]
            factors = coefficients[:, :, self.pattern[chosen]]
            block = factors[2]
            if vision.any():
                block += factors[0] * products(_taken(self.gallery.vision, chosen), vision)
            if audio.any():
                block += factors[1] * products(_taken(self.gallery.audio, chosen), audio)
            scores[:, span] = block
        return scores

    def _scores_of(self, one: "_Asked", rows: Rows) -> Float[np.ndarray, " row"]:
        return self._scores(one, rows)[0]

    def best(self, combined: QueryPlan, candidates: Candidates, k: int) -> ScoredRows:
        """The best `k` moments of a query by their exact scores, best first."""
        return combined.settle(self.gallery, candidates.best(k)).best(k)

    def captions_of(self, moments: Sequence[Moment]) -> dict[Moment, str | None]:
        """What is said about moments."""
        if not self.captioned:
            return {}
        known = {moment: self._captions.get(moment, "") for moment in moments}
        missing = [moment for moment, said in known.items() if said == ""]
        if missing:
            found = self.collection.table.captions(missing)
            known |= dict(zip(missing, found, strict=True))
            if len(self._captions) > CAPTIONS:
                self._captions.clear()
            self._captions.update(known)
        return known


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Queries as arithmetic; see `QueryPlan.coefficients`."""

    vision: Float[np.ndarray, "query _"]
    audio: Float[np.ndarray, "query _"]
    coefficients: Float[np.ndarray, "3 query 4"]

    @classmethod
    def of(cls, asked: Sequence[QueryPlan]) -> "_Asked":
        return cls(
            np.stack([one.vision.vector for one in asked]),
            np.stack([one.audio.vector for one in asked]),
            np.stack([one.coefficients() for one in asked], axis=1),
        )

    def take(self, place: int) -> "_Asked":
        """One of the queries."""
        one = slice(place, place + 1)
        return _Asked(self.vision[one], self.audio[one], self.coefficients[:, one])


def _taken(vectors: Vectors, chosen: slice | Rows) -> Float[np.ndarray, "_ dim"]:
    """Some of the rows; those of a slice stay where they are."""
    return vectors[chosen] if isinstance(chosen, slice) else vectors.take(chosen, axis=0)


def _half(gallery: Gallery) -> "HalfPrecision | None":
    if len(gallery) < HALF_FROM:
        return None
    from trichord.search.nearest.half_precision import HalfPrecision, is_faster  # with torch

    columns = ((gallery.vision, gallery.has_vision), (gallery.audio, gallery.has_audio))
    return HalfPrecision.of(columns) if is_faster() else None


def held_out(texts: TextVectors, gallery: Gallery) -> dict[str, Float[np.ndarray, "query _"]]:
    """Queries of each modality that a structure's recall is measured with.

    Texts are the backdrop's; pictures and sounds are the means of neighbouring moments, as those of
    a longer file are, and so none of the gallery's own vectors. Across modalities only where
    the model compares them.
    """
    pictures = _between(gallery.vision, gallery.has_vision)
    sounds = _between(gallery.audio, gallery.has_audio)
    found = {
        "text→sight": np.stack(texts.of(BACKGROUND_QUERIES, "vision")),
        "text→sound": np.stack(texts.of(BACKGROUND_QUERIES, "audio")),
        "picture→sight": pictures,
        "sound→sound": sounds,
    }
    if texts.model.compares("audio", "vision"):
        found |= {"sound→sight": sounds, "picture→sound": pictures}
    return {name: queries for name, queries in found.items() if len(queries)}


def _between(
    vectors: Float[np.ndarray, "moment dim"], present: Allowed
) -> Float[np.ndarray, "query dim"]:
    rows = np.flatnonzero(present[:-1] & present[1:])
    rows = rows[evenly(len(rows), HELD_OUT)]
    sums = vectors[rows] + vectors[rows + 1]
    return sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(min=1e-6)


def _needed(allowed: Sequence[Allowed | None]) -> Rows | None:
    """The rows that any query may find where those are few; None where all are to be scored."""
    masks = [mask for mask in allowed if mask is not None]
    if not masks or len(masks) < len(allowed):
        return None
    union = np.logical_or.reduce(masks)
    return np.flatnonzero(union) if union.sum() < SPARSE * len(union) else None


def _same(one: Gallery, other: Gallery) -> bool:
    """Whether two galleries hold the same moments, so that they may share their pictures."""
    pairs = ((one.file, other.file), (one.start, other.start), (one.vision, other.vision))
    return one.files == other.files and all(np.array_equal(a, b) for a, b in pairs)
