"""Finding moments: exact search over a collection's sight and sound vectors."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from trichord.media.decoder import Decoder
from trichord.models.embedder import Embedder
from trichord.search.backdrop import calibrate_for
from trichord.search.collection import Collection
from trichord.search.query import Query
from trichord.search.query_vectors import embed_query
from trichord.search.reading import Cut
from trichord.search.reranking import Reranker
from trichord.search.table import Vector, Vectors
from trichord.search.yardstick import DECIMALS, Scale, blend
from trichord.types import Hit, UserError

Column = Float[np.ndarray, " moment"]

RERANK = 50
"""Moments that a fusion looks at again where nothing else is said."""


@dataclass(frozen=True, slots=True)
class _Side:
    """One modality of a search: the query towards it, its weight, and the moments' vectors."""

    query: Vector | None
    weight: float
    vectors: Vectors
    present: Bool[np.ndarray, " moment"]
    scale: Scale

    @property
    def asked(self) -> bool:
        return self.query is not None and self.weight > 0

    def standard(self) -> Column:
        """Standardised cosines; 0 where moment or query lacks the modality."""
        if self.query is None:
            return np.zeros(len(self.present))
        cosines = (self.vectors @ self.query).astype(np.float64)
        return self.scale.standardise(cosines[None], self.present[None])[0] * self.present

    def weights(self) -> Column:
        """The weight, 0 where the moment lacks the modality."""
        return self.present * (self.weight if self.asked else 0.0)


class SearchEngine:
    """A collection in memory, ready for queries.

    Every moment is scored: vectors are compared exactly, none is skipped by an approximate index.

    Attributes:
        gallery: The moments, heard at the sound token of the last search; another one is read anew.
        calibration: Scales of scores at that sound token.
    """

    def __init__(
        self,
        collection: Collection,
        model: Embedder,
        decoder: Decoder,
        sound_token: float | None = None,
    ) -> None:
        """Load the vectors.

        Args:
            collection: What to search in.
            model: That made it.
            decoder: Reads the files of queries, and moments again that a fusion looks at.
            sound_token: At which to load them, where the first search is known to ask for it.

        Raises:
            UserError: The collection was made by other weights, or has no sound tokens.
        """
        collection.require(model.fingerprint)
        self.collection = collection
        self.model = model
        self.decoder = decoder
        self.cut = Cut(collection.description.seconds, collection.description.hop)
        self._hold(collection.sound_token(sound_token))

    def _hold(self, token: float | None) -> None:
        """Load the moments as heard at a sound token, and the scales of their scores."""
        self.gallery = self.collection.table.gallery(token)
        usual = token == self.collection.sound_token(None)
        # None while the first indexing is under way: what is there can be searched all the same.
        kept = self.collection.description.calibration if usual else None
        self.calibration = kept or calibrate_for(self.model, self.gallery)
        self._token = token

    def search(self, query: Query, k: int = 10, rerank: int = RERANK) -> list[Hit]:
        """The best `k` moments, best first; fewer where the collection has fewer to offer.

        A score is a weighted sum of standardised cosines in units of its own spread under no match
        (see `yardstick`), so a moment without sound competes by its sight alone, and the other way
        round. Where all the weight lies on a modality, moments without it are not found. Equal
        scores are ordered by file and time.

        Where the model's fusion reads text and moment together, it then reorders the best `rerank`
        moments of a text; all others follow as they were.

        Raises:
            UserError: `k` is less than 1 or `rerank` less than 0; the query's file cannot be used;
                the query says nothing of the modality that has all the weight; or it asks for a
                sound token where the collection has none.
        """
        if k < 1:
            raise UserError(f"The number of hits asked for is {k}: ask for at least 1.")
        if rerank < 0:
            raise UserError(f"--rerank is {rerank}: give a number of moments, or 0 for none.")
        token = self.collection.sound_token(query.sound_token)
        if token != self._token:
            self._hold(token)
        reranker = Reranker.of(self.model, self.decoder)
        if reranker is None or query.kind != "text":
            return self._ranked(query, k)
        hits = self._ranked(query, max(k, rerank))
        return [*reranker.reorder(hits[:rerank], query, token), *hits[rerank:]][:k]

    def _ranked(self, query: Query, k: int) -> list[Hit]:
        """The best moments by their vectors."""
        sight, sound, agreement = self._sides(query)
        if not (sight.asked or sound.asked):
            side = "sight" if query.sight else "sound"
            raise UserError(
                f"A search by {query.kind} ({query.given}) says nothing of {side}, which has all "
                "the weight here: change --sight and --sound, or search by something else."
            )
        weights = sight.weights(), sound.weights()
        rows = np.flatnonzero(weights[0] + weights[1])
        seen, heard = blend(
            sight.standard()[rows],
            sound.standard()[rows],
            (weights[0][rows], weights[1][rows]),
            agreement,
        )
        seen, heard = seen.round(DECIMALS), heard.round(DECIMALS)
        # Stable, and rows come by file and time: so do ties.
        best = np.argsort(-(seen + heard), kind="stable")[:k]
        return [self._hit(int(rows[i]), float(seen[i]), float(heard[i])) for i in best]

    def _sides(self, query: Query) -> tuple[_Side, _Side, float]:
        asked = embed_query(query, self.model, self.decoder, self.cut, self._token)
        stick = self.calibration.of_kind(asked.kind)
        gallery = self.gallery
        return (
            _Side(asked.sight, query.sight, gallery.vision, gallery.has_vision, stick.sight),
            _Side(asked.sound, query.sound, gallery.audio, gallery.has_audio, stick.sound),
            stick.agreement,
        )

    def _hit(self, row: int, sight: float, sound: float) -> Hit:
        return Hit(
            moment=self.gallery.moments[row],
            score=sight + sound,
            sight=sight if self.gallery.has_vision[row] else None,
            sound=sound if self.gallery.has_audio[row] else None,
        )
