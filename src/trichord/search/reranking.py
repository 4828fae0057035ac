"""Reranking of the best moments by a fusion that reads text and moment together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from trichord.media.decoded import Decoded
from trichord.media.decoder import Decoder
from trichord.models.embedder import Embedder
from trichord.models.fusion import Fusion
from trichord.search.calibration import DECIMALS
from trichord.search.query import Weights
from trichord.search.reading import MOMENTS_AT_ONCE, batches, decode_moments
from trichord.types import Hit, Modality, UserError
from trichord.types.tensors import Features, Padded


@dataclass(frozen=True, slots=True, eq=False)
class Reranker:
    """A model whose fusion reads a text and a moment as one sequence (CLIP4VLA's local-to-local)."""

    model: Embedder
    fusion: Fusion
    decoder: Decoder

    @classmethod
    def of(cls, model: Embedder, decoder: Decoder) -> "Reranker | None":
        """The reranker of a model; None if its fusion does not rerank."""
        fusion = model.fusion
        return None if fusion is None or not model.reranks else cls(model, fusion, decoder)

    def reorder(
        self, hits: Sequence[Hit], text: str, weights: Weights, token: float | None
    ) -> list[Hit]:
        """The hits in the order of the fusion's scores; equal scores keep their order.

        The files are decoded again. A moment keeps its place if it can no longer be read, or if its
        score is not a number.

        Args:
            hits: Best first.
            text: The query.
            weights: Visual and audio weight; 0 hides the modality from the fusion.
            token: Audio type token, from verbal (0) to nonverbal (1); None: that of the model.

        Raises:
            UserError: The text and a moment together are too long for the fusion.
        """
        scores = self._scores(hits, text, weights, () if token is None else (token,))
        reranked = [
            (score, replace(hit, reranked=score))
            for hit, score in zip(hits, scores, strict=True)
            if score is not None
        ]
        best = iter(sorted(reranked, key=lambda pair: -pair[0]))
        return [
            hit if score is None else next(best)[1] for hit, score in zip(hits, scores, strict=True)
        ]

    def _scores(
        self, hits: Sequence[Hit], text: str, weights: Weights, tokens: tuple[float, ...]
    ) -> list[float | None]:
        modalities: dict[Modality, float] = {"vision": weights[0], "audio": weights[1]}
        plan = self.model.plan_of([name for name, weight in modalities.items() if weight])
        tower = self.model.text
        with torch.inference_mode():
            ids = Padded.stack(list(tower.prepare([text])[:, None])).to(self.model.device)
            features = tower(tower.trunk_features(ids))
        scores: list[float | None] = []
        moments = decode_moments([hit.moment for hit in hits], self.decoder, plan)
        for decoded in batches(moments, MOMENTS_AT_ONCE):
            scores += self._score(features, decoded, weights, tokens)
        return scores

    def _score(
        self,
        text: Features,
        decoded: Sequence[Decoded],
        weights: Weights,
        tokens: tuple[float, ...],
    ) -> list[float | None]:
        vision, [audio] = self.model.read_media(decoded, tokens)
        try:
            with torch.inference_mode():
                similarity = self.fusion(
                    text, vision, audio, visual_weight=weights[0], audio_weight=weights[1]
                )[0]
        except ValueError as error:
            raise UserError(
                "The run's fusion cannot read this text and a moment together; shorten the text or "
                f"search with --rerank 0: {error}"
            ) from error
        valid = (vision.present | audio.present) & similarity.isfinite()
        return [
            float(np.round(score, DECIMALS)) if is_valid else None
            for score, is_valid in zip(similarity.tolist(), valid.tolist(), strict=True)
        ]
