"""A query of several parts as arithmetic: what each part gives to the sight and sound of a moment.

A part's cosines are standardised by the yardstick of its own kind, and parts add as weight × standard
value, divided by the root of the sum of squared weights: where parts have nothing to do with one another,
that leaves the spread of a moment's score at 1, and a single part as it is. All of it is linear in the
moment's vectors, so that a query of any number of parts costs one vector towards sight and one towards
sound.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trichord.models.calibration import CosineScale, blend
from trichord.search.calibration import DECIMALS, Calibration
from trichord.search.gallery import Gallery, Vectors
from trichord.search.nearest.neighbours import ROUNDING, cosines
from trichord.search.query_vectors import QueryVectors
from trichord.types.arrays import Bool, Float, Int

Rows = Int[np.ndarray, " row"]
Shares = Float[np.ndarray, " row"]
Given = Float[np.ndarray, "part row"]

PATTERNS = np.array([[False, False], [True, False], [False, True], [True, True]])
"""What a moment may have of sight and sound; its place here is its pattern."""


@dataclass(frozen=True, slots=True, eq=False)
class Centre:
    """The mean of the vectors of a modality, and how many there are."""

    mean: Float[np.ndarray, " dim"]
    count: int

    @classmethod
    def of(cls, vectors: Vectors, present: Bool[np.ndarray, " moment"]) -> "Centre":
        """Of rows that are zero where the modality is lacking."""
        count = int(present.sum())
        return cls(vectors.sum(axis=0, dtype=np.float64) / max(1, count), count)


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """What a part gives to a side: factor × (cosine − usual)."""

    query: Float[np.ndarray, " dim"]
    factor: float
    usual: float


@dataclass(frozen=True, slots=True, eq=False)
class ModalityQuery:
    """A query towards sight or towards sound: a term a part, None where a part says nothing of it."""

    terms: tuple[Term | None, ...]
    weight: float
    dim: int

    @property
    def asked(self) -> bool:
        """Whether anything is compared here, and counts."""
        return self.weight > 0 and any(self.terms)

    @property
    def vector(self) -> Float[np.ndarray, " dim"]:
        """Whose inner product with a moment's vector is the standard value less `constant`."""
        total = np.zeros(self.dim)
        for term in filter(None, self.terms):
            total += term.factor * term.query
        return total

    @property
    def constant(self) -> float:
        """See `vector`."""
        return -math.fsum(term.factor * term.usual for term in self.terms if term)

    def given(self, vectors: Vectors, rows: Rows, shares: Shares) -> Given:
        """What each part gives to some rows, of which this side makes out these shares; nan: nothing."""
        found = np.full((len(self.terms), len(rows)), np.nan)
        for term, row in zip(self.terms, found, strict=True):
            if term:
                standard = term.factor * (cosines(vectors, rows, term.query) - term.usual)
                row[:] = (shares * standard).round(DECIMALS) + 0.0  # no minus zeros
        return found


@dataclass(frozen=True, slots=True, eq=False)
class QueryPlan:
    """A whole query. `agreement` is that of its sight and its sound."""

    vision: ModalityQuery
    audio: ModalityQuery
    agreement: float

    @classmethod
    def of(
        cls,
        asked: Sequence[tuple[QueryVectors, float]],
        weights: tuple[float, float],
        calibration: Calibration,
        centres: tuple[Centre, Centre],
    ) -> "QueryPlan":
        """Put parts together.

        Args:
            asked: The parts' vectors and their weights.
            weights: Of sight and of sound.
            calibration: Scales of each kind of part.
            centres: Of all moments' sight and sound, against which a query is standardised.
        """
        sticks = [calibration.of_kind(one.kind) for one, _ in asked]
        sides = (
            [(one.vision, w, s.vision) for (one, w), s in zip(asked, sticks, strict=True)],
            [(one.audio, w, s.audio) for (one, w), s in zip(asked, sticks, strict=True)],
        )
        vision, audio = (
            ModalityQuery(_terms(parts, centre), weight, len(centre.mean))
            for parts, weight, centre in zip(sides, weights, centres, strict=True)
        )
        shared = sum(
            w**2 * stick.agreement
            for (one, w), stick in zip(asked, sticks, strict=True)
            if one.vision is not None and one.audio is not None
        )
        size = _size(sides[0]) * _size(sides[1])
        return cls(vision, audio, shared / size if size else 0.0)

    @property
    def slack(self) -> float:
        """How far apart two float32 scores of equally good moments may be."""
        parts = 1 + 2 * len(self.vision.terms)
        sizes = (
            float(np.linalg.norm(side.vector)) + abs(side.constant)
            for side in (self.vision, self.audio)
        )
        return 2 * ROUNDING * sum(sizes) + parts * 10.0**-DECIMALS

    def shares(
        self, has_vision: Bool[np.ndarray, " row"], has_audio: Bool[np.ndarray, " row"]
    ) -> tuple[Shares, Shares]:
        """How much of their standard values sight and sound give to the scores of moments."""
        weights = (
            has_vision * (self.vision.weight if self.vision.asked else 0.0),
            has_audio * (self.audio.weight if self.audio.asked else 0.0),
        )
        ones = np.ones(len(has_vision))
        return blend(ones, ones, weights, self.agreement)

    def coefficients(self) -> Float[np.ndarray, "3 4"]:
        """For each of `PATTERNS`, what a score is of the sides' inner products with `vector`.

        The factor of sight, that of sound, and what is added; -inf for moments that have nothing of
        what is asked for.
        """
        vision, audio = self.shares(PATTERNS[:, 0], PATTERNS[:, 1])
        added = vision * self.vision.constant + audio * self.audio.constant
        added[(vision == 0) & (audio == 0)] = -np.inf
        return np.stack([vision, audio, added])

    def settle(self, gallery: Gallery, rows: Rows) -> "ScoredRows":
        """The exact scores of some rows, and what they are made of."""
        seen, heard = gallery.has_vision[rows], gallery.has_audio[rows]
        shares = self.shares(seen, heard)
        return ScoredRows(
            rows=rows,
            vision=np.where(seen, self.vision.given(gallery.vision, rows, shares[0]), np.nan),
            audio=np.where(heard, self.audio.given(gallery.audio, rows, shares[1]), np.nan),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRows:
    """Moments with what each part gave to their sight and sound, in standard deviations.

    nan where a moment lacks the modality, or a part says nothing of it.
    """

    rows: Rows
    vision: Given
    audio: Given

    @property
    def totals(self) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
        """Sight and sound, all parts together; 0 where there is none."""
        return _total(self.vision), _total(self.audio)

    def best(self, k: int) -> "ScoredRows":
        """The best `k` rows, best first; equal scores by row, and so by file and time."""
        seen, heard = self.totals
        order = np.lexsort((self.rows, -(seen + heard)))[:k]
        return self.take(order)

    def take(self, places: Int[np.ndarray, " place"]) -> "ScoredRows":
        """Some of the rows, in this order."""
        return ScoredRows(self.rows[places], self.vision[:, places], self.audio[:, places])


def _terms(
    parts: Sequence[tuple[Float[np.ndarray, " dim"] | None, float, CosineScale]], centre: Centre
) -> tuple[Term | None, ...]:
    size = _size(parts)
    found: list[Term | None] = []
    for query, weight, scale in parts:
        if query is None or not size:
            found.append(None)
            continue
        wide = query.astype(np.float64)
        usual = scale.usual(float(centre.mean @ wide), centre.count)
        found.append(Term(wide, weight / (size * scale.spread), usual))
    return tuple(found)


def _size(parts: Sequence[tuple[Float[np.ndarray, " dim"] | None, float, CosineScale]]) -> float:
    """What a sum of unrelated parts spreads as; of parts that say nothing of the side, not at all."""
    return math.sqrt(sum(weight**2 for query, weight, _ in parts if query is not None))


def _total(given: Given) -> Float[np.ndarray, " row"]:
    return np.where(np.isnan(given), 0.0, given).sum(axis=0).round(DECIMALS) + 0.0
