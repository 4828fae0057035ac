"""Lines by their meaning: vectors of what is said or shown, and which of them a query is like."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trichord.models.calibration import BestScores, CosineScale
from trichord.search.background import BACKGROUND_QUERIES
from trichord.search.calibration import MOMENTS, evenly
from trichord.search.entries import Vector
from trichord.search.query_vectors import TextVectors
from trichord.search.text_table import TextTable, Vectors
from trichord.types import FoundText, TextKind

MOST = 1000
"""Lines that count at most."""
UNLIKELY = 0.05
"""A line counts if the best of as many unrelated ones scores as high with at most this probability."""


@dataclass(frozen=True, slots=True, eq=False)
class Meanings:
    """The lines of a kind that have vectors, with the scale of their scores."""

    lines: tuple[tuple[str, FoundText], ...]
    vectors: Vectors
    scale: CosineScale
    best: BestScores

    @classmethod
    def of(cls, table: TextTable, kind: TextKind, texts: TextVectors) -> "Meanings":
        """Read the lines of a model, and measure background queries on a sample of them."""
        rows, vectors = table.meanings(kind, texts.model.fingerprint)
        sample = vectors[evenly(len(vectors), MOMENTS)]
        if not len(sample):
            return cls((), vectors, CosineScale(0.0, 1.0), BestScores(0.0, 1.0, 1.0))
        queries = np.stack(texts.of(BACKGROUND_QUERIES, "vision"))
        cosines = (queries @ sample.T).astype(np.float64)
        present = np.ones(cosines.shape, bool)
        scale = CosineScale.of(cosines, present, vectors.shape[1])
        lines = tuple(
            (
                row["signature"],
                FoundText(kind=kind, start=row["start"], end=row["end"], text=row["text"]),
            )
            for row in rows
        )
        return cls(
            lines, vectors, scale, BestScores.of(scale.standardise(cosines, present), present)
        )

    def similar(self, query: Vector, *, loose: bool) -> Iterator[tuple[str, FoundText]]:
        """Signature of the file, and line, of those that a query is like, best first.

        Args:
            query: Its vector.
            loose: All lines count, up to `MOST`, and not only those that are unlikely to be unrelated.
        """
        if not self.lines:
            return
        cosines = (self.vectors @ query).astype(np.float64)
        usual = self.scale.usual(float(cosines.mean()), len(cosines))
        scores = (cosines - usual) / self.scale.spread
        chances = self.best.chance(scores, len(scores))
        for place in np.argsort(-scores, kind="stable")[:MOST]:
            if chances[place] > UNLIKELY and not loose:
                return
            yield self.lines[place]
