"""A query that is ready to be scored: its vectors, and the moments in which its words are said or shown."""

from dataclasses import dataclass

from trichord.models.calibration import BestScores
from trichord.search.nearest.exact import Allowed
from trichord.search.query import Query, Weights
from trichord.search.query_plan import QueryPlan
from trichord.search.snapshot import Snapshot
from trichord.types import FoundText


@dataclass(frozen=True, slots=True)
class TextMatches:
    """Moments in which words of a query are said or shown, best first, by row."""

    weight: float
    found: dict[int, FoundText]


@dataclass(frozen=True, slots=True, eq=False)
class PreparedQuery:
    """A query whose parts are vectors: the rest is arithmetic on the vectors in `snapshot`.

    `allowed` marks the moments that it may find (None: all); `moments` is how many it is compared with.
    `texts` are moments in which its words are said, and in which they are shown, with a weight.
    """

    query: Query
    weights: Weights
    snapshot: Snapshot
    plan: QueryPlan
    allowed: Allowed | None
    moments: int
    texts: tuple[TextMatches, ...] = ()

    @property
    def best_scores(self) -> BestScores | None:
        """How high the best score is where nothing fits; None if that was not measured."""
        best = self.snapshot.calibration.of_kind(self.plan.kind).best
        if best is None:
            return None
        together, seen, heard = best
        if self.plan.vision.active and self.plan.audio.active:
            return together
        return seen if self.plan.vision.active else heard

    @property
    def text(self) -> str:
        """The text of a query that is a single text; else ""."""
        [first, *others] = self.query.parts
        return first.value if first.kind == "text" and not others else ""

    @property
    def only_texts(self) -> bool:
        """Whether it finds only moments in which its words are said or shown."""
        return (self.query.words_only or self.query.exact) and bool(self.texts)

    @property
    def uses_words(self) -> bool:
        """Whether words count: of captions, or said, or shown."""
        return self.uses_captions or bool(self.texts)

    @property
    def uses_captions(self) -> bool:
        """Whether the words of captions count."""
        query = self.query
        return (
            query.caption_weight > 0
            and bool(query.words)
            and self.snapshot.gallery.captions is not None
        )
