"""Scores of fusions that look at a text and a clip together: every pair is read once, when asked for."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from trichord.evaluation.gallery import ClipVectors, Weights
from trichord.evaluation.scores import ScoreMatrix
from trichord.features.source import Source, portions
from trichord.models.embedder import Embedder
from trichord.models.fusion import Fusion
from trichord.types import CaptionKind
from trichord.types.tensors import Features

TEXTS_AT_ONCE = 64
"""Captions whose tokens are held while they go past all clips."""

After = Callable[[int], object]
"""Told how many pairs, or clips, are done, after every portion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Clips that were embedded together, from number `start` on, with their steps, on the CPU."""

    start: int
    count: int
    vision: Features | None
    audio: Features | None

    def of(self, clips: Int[ndarray, " clip"]) -> "Shelf":
        """Those of the clips that stand here; only these numbers count from then on."""
        here = clips[(clips >= self.start) & (clips < self.start + self.count)] - self.start
        rows = torch.from_numpy(here)
        return replace(
            self, count=len(here), vision=_rows(self.vision, rows), audio=_rows(self.audio, rows)
        )


class Pairs:
    """A fusion that re-ranks, with what it needs of clips; texts are read anew for each task.

    What it gave is held as float32 until the task has its ranks: 4 bytes a pair.
    """

    def __init__(
        self,
        model: Embedder,
        source: Source,
        shelves: Sequence[Shelf],
        weights: Weights,
        after_pairs: After | None = None,
    ) -> None:
        """Put together what scores pairs.

        Args:
            model: With a fusion.
            source: The clips' captions.
            shelves: All clips of the source, in its order.
            weights: 0 hides a modality; weights between make no difference.
            after_pairs: Told how many pairs have been scored, after every portion.

        Raises:
            ValueError: The model has no fusion.
        """
        if model.fusion is None:
            raise ValueError("The model has no fusion to score pairs with.")
        self.weights = weights
        self._fusion: Fusion = model.fusion
        self._model = model
        self._source = source
        self._shelves = shelves
        self._after_pairs = after_pairs

    def scores(
        self,
        vectors: ClipVectors,
        kind: CaptionKind,
        captions: Int[ndarray, " caption"],
        clips: Int[ndarray, " clip"],
    ) -> ScoreMatrix:
        """See `Fused`; `clips` in ascending order."""
        numbers = self._source.captions.numbers[kind][captions]
        values = np.empty((len(numbers), len(clips)), np.float32)
        shelves = [shelf for one in self._shelves if (shelf := one.of(clips)).count]
        with measuring(self._model):
            for rows in portions(len(numbers), TEXTS_AT_ONCE):
                values[rows] = self._against(numbers[rows], shelves)
        return ScoreMatrix(values)

    def _against(
        self, captions: Int[ndarray, " caption"], shelves: Sequence[Shelf]
    ) -> Float[ndarray, "caption clip"]:
        """A few captions against all clips."""
        tower, device = self._model.text, self._model.device
        inputs = self._source.texts(captions, "vision").to(device)
        text = tower(inputs if "text" in self._source.precomputed else tower.trunk_features(inputs))
        blocks: list[Float[ndarray, "caption some"]] = []
        for shelf in shelves:
            scores = self._fusion(
                text,
                _moved(shelf.vision, device),
                _moved(shelf.audio, device),
                visual_weight=self.weights.visual_weight,
                audio_weight=self.weights.audio_weight,
            )
            blocks.append(scores.float().cpu().numpy())
            if self._after_pairs:
                self._after_pairs(scores.numel())
        return np.concatenate(blocks, axis=1)


@contextmanager
def measuring(model: Embedder) -> Generator[None]:
    """Without dropout and gradients; the model's mode is then what it was."""
    was_training = model.training
    model.eval()
    try:
        # Not inference_mode: a source may keep what it decodes here, and training use it later.
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def on_cpu(features: Features | None) -> Features | None:
    """The same where memory is plenty."""
    return _moved(features, torch.device("cpu"))


def _moved(features: Features | None, device: torch.device) -> Features | None:
    if features is None:
        return None
    return Features(features.pooled.to(device), features.steps.to(device), features.mask.to(device))


def _rows(features: Features | None, rows: Int[torch.Tensor, " row"]) -> Features | None:
    if features is None:
        return None
    return Features(features.pooled[rows], features.steps[rows], features.mask[rows])
