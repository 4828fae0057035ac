"""The statistics of new heads, from the training clips before the first step."""

import numpy as np
import torch
from torch import Tensor

from trichord.encoders.heads import FeatureNorm
from trichord.features.source import Source, portions
from trichord.models.embedder import Embedder

CLIPS = 2_000
"""Clips that are enough: the deviation of a feature is then known to some 2 %."""
AT_ONCE = 64


def fit_feature_norms(model: Embedder, source: Source) -> None:
    """Set mean and deviation of every head that normalises its features.

    Args:
        model: With new heads, some of which may have a `FeatureNorm`.
        source: The training clips; the first 2,000 of them are read.
    """
    norms = {
        name: norm
        for name, encoder in model.encoders().items()
        for norm in encoder.head.modules()
        if isinstance(norm, FeatureNorm)
    }
    if not norms:
        return
    found: dict[str, list[Tensor]] = {name: [] for name in norms}
    with torch.no_grad():
        for rows in portions(min(CLIPS, len(source.clips)), AT_ONCE):
            captions = np.flatnonzero(np.isin(source.captions.owners, rows))
            batch = model.apply_trunks(source.batch(rows, None).to(model.device))
            texts = source.texts(captions, "vision").to(model.device) if len(captions) else None
            if texts is not None and "text" not in source.precomputed:
                texts = model.text.trunk_features(texts)
            for name, part in (("audio", batch.audio), ("vision", batch.vision), ("text", texts)):
                if name in norms and part is not None:
                    found[name].append(part.values[part.mask].float())
        for name, norm in norms.items():
            if found[name] and len(features := torch.cat(found[name])):
                norm.fit(features)
