"""A query of several parts as arithmetic: what each part adds to the visual and audio score of a moment.

The cosines of a part are standardised by the calibration of its kind of query. Parts add as weight ×
standardised cosine, divided by the root of the sum of squared weights: if parts are unrelated, that keeps
the spread of a moment's score at 1, and a single part stays as it is. All of it is linear in the moment's
vectors, so that a query of any number of parts costs one vector for vision and one for audio.

A part with a negative weight chooses nothing: it is no part of that sum. A moment that fits it is demoted;
the others keep the score that they have without it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trichord.models.calibration import CosineScale, blend
from trichord.search.calibration import DECIMALS, Calibration, Kind
from trichord.search.gallery import Gallery, Vectors
from trichord.search.nearest.exact import ROUNDING, cosines
from trichord.search.query_vectors import QueryVectors
from trichord.types.arrays import Bool, Float, Int

Rows = Int[np.ndarray, " row"]
Shares = Float[np.ndarray, " row"]
PartScores = Float[np.ndarray, "part row"]
WeightedParts = Sequence[tuple[Float[np.ndarray, " dim"] | None, float, CosineScale]]
"""Vector, weight and scale of each part in one modality."""

EXCLUDED_FROM = 1.5
"""A moment is demoted if it fits an excluded part this much, in standard deviations of picture or sound.
Chosen on the validation clips of the generated world, see `studies/answers.py`."""
PATTERNS = np.array([[False, False], [True, False], [False, True], [True, True]])
"""Which of vision and audio a moment may have; the index here is its pattern."""


@dataclass(frozen=True, slots=True, eq=False)
class Centre:
    """The mean of a modality's vectors, and how many there are."""

    mean: Float[np.ndarray, " dim"]
    count: int

    @classmethod
    def of(cls, vectors: Vectors, present: Bool[np.ndarray, " moment"]) -> "Centre":
        """The centre of vectors whose rows are zero if the modality is missing."""
        count = int(present.sum())
        return cls(vectors.sum(axis=0, dtype=np.float64) / max(1, count), count)


@dataclass(frozen=True, slots=True, eq=False)
class PartTerm:
    """What a part adds to a modality's score: factor × (cosine − expected)."""

    query: Float[np.ndarray, " dim"]
    factor: float
    expected: float


@dataclass(frozen=True, slots=True, eq=False)
class ModalityQuery:
    """A query in one modality: a term for each part, None if the part has no vector here.

    `terms` are None for parts with a negative weight, `excluded` for the others. The factor of an
    excluded one is relative to the largest weight of a part.
    """

    terms: tuple[PartTerm | None, ...]
    weight: float
    dim: int
    excluded: tuple[PartTerm | None, ...] = ()

    @property
    def active(self) -> bool:
        """Whether anything is compared in this modality, and counts."""
        return self.weight > 0 and any(self.terms)

    @property
    def vector(self) -> Float[np.ndarray, " dim"]:
        """Its inner product with a moment's vector, plus `constant`, is the standardised score."""
        total = np.zeros(self.dim)
        for term in filter(None, self.terms):
            total += term.factor * term.query
        return total

    @property
    def constant(self) -> float:
        """See `vector`."""
        return -math.fsum(term.factor * term.expected for term in self.terms if term)

    def part_scores(self, vectors: Vectors, rows: Rows, shares: Shares) -> PartScores:
        """What each part adds to the scores of some rows; nan: the part has no vector here.

        Args:
            vectors: The gallery's vectors of this modality.
            rows: Which of them.
            shares: This modality's share in the score of each row.
        """
        scores = np.full((len(self.terms), len(rows)), np.nan)
        for term, row in zip(self.terms, scores, strict=True):
            if term:
                standard = term.factor * (cosines(vectors, rows, term.query) - term.expected)
                row[:] = (shares * standard).round(DECIMALS) + 0.0  # no minus zeros
        return scores

    def exclusions(
        self, vectors: Vectors, rows: Rows, present: Bool[np.ndarray, " row"]
    ) -> PartScores:
        """How well some rows fit each excluded part, in standard deviations; nan: not compared here."""
        fits = np.full((len(self.terms), len(rows)), np.nan)
        for term, row in zip(self.excluded, fits, strict=False):
            if term and self.weight:
                fit = term.factor * (cosines(vectors, rows, term.query) - term.expected)
                row[present] = fit[present].round(DECIMALS)
        return fits


@dataclass(frozen=True, slots=True, eq=False)
class QueryPlan:
    """A query of any number of parts.

    `agreement` is that of its visual and audio scores, `kind` that of its heaviest part.
    """

    vision: ModalityQuery
    audio: ModalityQuery
    agreement: float
    kind: Kind = "text"

    @classmethod
    def of(
        cls,
        parts: Sequence[tuple[QueryVectors, float]],
        weights: tuple[float, float],
        calibration: Calibration,
        centres: tuple[Centre, Centre],
    ) -> "QueryPlan":
        """Combine parts.

        Args:
            parts: Vectors and weight of each part.
            weights: Visual and audio weight.
            calibration: Scales of each kind of part.
            centres: Of the vision and audio vectors of all moments: queries are standardised by them.
        """
        scales = [calibration.of_kind(vectors.kind) for vectors, _ in parts]
        sides = (
            [(part.vision, w, s.vision) for (part, w), s in zip(parts, scales, strict=True)],
            [(part.audio, w, s.audio) for (part, w), s in zip(parts, scales, strict=True)],
        )
        heaviest = max(parts, key=lambda part: part[1])
        vision, audio = (
            ModalityQuery(
                _terms(side, centre),
                weight,
                len(centre.mean),
                _excluded(side, centre, heaviest[1]),
            )
            for side, weight, centre in zip(sides, weights, centres, strict=True)
        )
        shared = sum(
            w**2 * scale.agreement
            for (part, w), scale in zip(parts, scales, strict=True)
            if w > 0 and part.vision is not None and part.audio is not None
        )
        size = _spread(sides[0]) * _spread(sides[1])
        return cls(vision, audio, shared / size if size else 0.0, heaviest[0].kind)

    @property
    def excludes(self) -> bool:
        """Whether it has a part that demotes."""
        return any((*self.vision.excluded, *self.audio.excluded))

    @property
    def slack(self) -> float:
        """How far apart float32 scores of equally good moments may be."""
        parts = 1 + 2 * len(self.vision.terms)
        sizes = (
            float(np.linalg.norm(side.vector)) + abs(side.constant)
            for side in (self.vision, self.audio)
        )
        return 2 * ROUNDING * sum(sizes) + parts * 10.0**-DECIMALS

    def shares(
        self, has_vision: Bool[np.ndarray, " row"], has_audio: Bool[np.ndarray, " row"]
    ) -> tuple[Shares, Shares]:
        """How much the visual and audio scores of moments count in their scores."""
        weights = (
            has_vision * (self.vision.weight if self.vision.active else 0.0),
            has_audio * (self.audio.weight if self.audio.active else 0.0),
        )
        ones = np.ones(len(has_vision))
        return blend(ones, ones, weights, self.agreement)

    def coefficients(self) -> Float[np.ndarray, "3 4"]:
        """The score as a function of the inner products with `vector`, for each of `PATTERNS`.

        The factors of vision and audio, and a constant: -inf for moments that have no modality that the
        query compares.
        """
        vision, audio = self.shares(PATTERNS[:, 0], PATTERNS[:, 1])
        added = vision * self.vision.constant + audio * self.audio.constant
        added[(vision == 0) & (audio == 0)] = -np.inf
        return np.stack([vision, audio, added])

    def score(self, gallery: Gallery, rows: Rows) -> "ScoredRows":
        """The exact scores of some rows, by part and modality."""
        has_vision, has_audio = gallery.has_vision[rows], gallery.has_audio[rows]
        shares = self.shares(has_vision, has_audio)
        vision = self.vision.part_scores(gallery.vision, rows, shares[0])
        audio = self.audio.part_scores(gallery.audio, rows, shares[1])
        scored = ScoredRows(
            rows=rows,
            vision=np.where(has_vision, vision, np.nan),
            audio=np.where(has_audio, audio, np.nan),
            demoted=np.zeros(len(rows), bool),
        )
        if not self.excludes:
            return scored
        return scored.demote(
            self.vision.exclusions(gallery.vision, rows, has_vision),
            self.audio.exclusions(gallery.audio, rows, has_audio),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRows:
    """Moments with what each part adds to their visual and audio scores, in standard deviations.

    nan if a moment lacks the modality, or the part has no vector there. `demoted` are those that fit an
    excluded part.
    """

    rows: Rows
    vision: PartScores
    audio: PartScores
    demoted: Bool[np.ndarray, " row"]

    @property
    def totals(self) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
        """Visual and audio score over all parts; 0 if there is none."""
        return _total(self.vision), _total(self.audio)

    def top_k(self, k: int) -> "ScoredRows":
        """The best `k` rows, best first; equal scores by row, and so by file and time."""
        visual, audio = self.totals
        order = np.lexsort((self.rows, -(visual + audio)))[:k]
        return self.take(order)

    def take(self, places: Int[np.ndarray, " place"]) -> "ScoredRows":
        """Some of the rows, in this order."""
        return ScoredRows(
            self.rows[places],
            self.vision[:, places],
            self.audio[:, places],
            self.demoted[places],
        )

    def demote(self, vision: PartScores, audio: PartScores) -> "ScoredRows":
        """Demote rows by how well they fit the excluded parts; see `ModalityQuery.exclusions`.

        A demoted row loses its score, as far as it is positive, and its fit besides: it is below all
        rows with a positive score, and never above what it was.
        """
        fits = np.stack([vision, audio])
        scores = np.stack([self.vision, self.audio])
        scores[~np.isnan(fits)] = 0.0
        flat = 2 * len(self.vision), len(self.rows)
        known = np.where(np.isnan(fits), -np.inf, fits).reshape(flat)
        worst = known.argmax(axis=0)
        fit = known.max(axis=0)
        demoted = fit >= EXCLUDED_FROM
        positive = np.maximum(sum(self.totals), 0.0)
        places = np.flatnonzero(demoted)
        scores.reshape(flat)[worst[places], places] = -(positive + fit)[places]
        return ScoredRows(self.rows, scores[0], scores[1], demoted)


def _terms(parts: WeightedParts, centre: Centre) -> tuple[PartTerm | None, ...]:
    spread = _spread(parts)
    terms: list[PartTerm | None] = []
    for query, weight, scale in parts:
        if query is None or not spread or weight < 0:
            terms.append(None)
        else:
            terms.append(_term(query, weight / spread, scale, centre))
    return tuple(terms)


def _excluded(parts: WeightedParts, centre: Centre, heaviest: float) -> tuple[PartTerm | None, ...]:
    return tuple(
        _term(query, -weight / heaviest, scale, centre)
        if query is not None and weight < 0
        else None
        for query, weight, scale in parts
    )


def _term(
    query: Float[np.ndarray, " dim"], factor: float, scale: CosineScale, centre: Centre
) -> PartTerm:
    wide = query.astype(np.float64)
    expected = scale.usual(float(centre.mean @ wide), centre.count)
    return PartTerm(wide, factor / scale.spread, expected)


def _spread(parts: WeightedParts) -> float:
    """The spread of a sum of unrelated parts; those without a vector or that demote do not count."""
    return math.sqrt(
        sum(weight**2 for query, weight, _ in parts if query is not None and weight > 0)
    )


def _total(scores: PartScores) -> Float[np.ndarray, " row"]:
    return np.where(np.isnan(scores), 0.0, scores).sum(axis=0).round(DECIMALS) + 0.0
