"""Looking again at the best moments, together with the text: for fusions that cannot be indexed."""

from collections.abc import Sequence
from dataclasses import replace

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


class Reranker:
    """A model whose fusion reads a text and a moment as one sequence (CLIP4VLA's local-to-local)."""

    def __init__(self, model: Embedder, fusion: Fusion, decoder: Decoder) -> None:
        self.model = model
        self.fusion = fusion
        self.decoder = decoder

    @classmethod
    def of(cls, model: Embedder, decoder: Decoder) -> "Reranker | None":
        """The reranker of a model; None where its vectors say all that it knows."""
        fusion = model.fusion
        return None if fusion is None or not model.reranks else cls(model, fusion, decoder)

    def reorder(
        self, hits: Sequence[Hit], text: str, weights: Weights, token: float | None
    ) -> list[Hit]:
        """The same hits in the order of the fusion's scores, equal scores as they were.

        Their files are decoded again. A moment that cannot be read any more keeps its place, and so
        does one whose score is no number.

        Args:
            hits: Best first.
            text: What is searched for.
            weights: Of sight and of sound; 0 hides it from the fusion.
            token: Where to listen between verbal (0) and nonverbal (1); None: as the model does.

        Raises:
            UserError: The text and a moment together are longer than the fusion has room for.
        """
        scores = self._scores(hits, text, weights, () if token is None else (token,))
        read = [
            (score, replace(hit, reranked=score))
            for hit, score in zip(hits, scores, strict=True)
            if score is not None
        ]
        best = iter(sorted(read, key=lambda one: -one[0]))
        return [
            hit if score is None else next(best)[1] for hit, score in zip(hits, scores, strict=True)
        ]

    def _scores(
        self, hits: Sequence[Hit], asked: str, weights: Weights, tokens: tuple[float, ...]
    ) -> list[float | None]:
        wanted: dict[Modality, float] = {"vision": weights[0], "audio": weights[1]}
        plan = self.model.plan_of([name for name, weight in wanted.items() if weight])
        text = self._text(asked)
        scores: list[float | None] = []
        moments = decode_moments([hit.moment for hit in hits], self.decoder, plan)
        for decoded in batches(moments, MOMENTS_AT_ONCE):
            scores += self._score(text, decoded, weights, tokens)
        return scores

    def _text(self, text: str) -> Features:
        tower = self.model.text
        with torch.inference_mode():
            ids = Padded.stack(list(tower.prepare([text])[:, None])).to(self.model.device)
            return tower(tower.trunk_features(ids))

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
                like = self.fusion(
                    text, vision, audio, visual_weight=weights[0], audio_weight=weights[1]
                )[0]
        except ValueError as error:
            raise UserError(
                "The run's fusion cannot read this text and a moment together; shorten the text or "
                f"search with --rerank 0: {error}"
            ) from error
        read = (vision.present | audio.present) & like.isfinite()
        return [
            float(np.round(score, DECIMALS)) if there else None
            for score, there in zip(like.tolist(), read.tolist(), strict=True)
        ]
