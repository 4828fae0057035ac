"""Embeddings of made-up clips, and losses worked out beside ours."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from trichord.config import InfoNCE
from trichord.losses.objective import PAIRS, Objective
from trichord.types.tensors import Embeddings, Features


def features(rows, present=None):
    pooled = F.normalize(torch.as_tensor(rows, dtype=torch.float32), dim=-1)
    mask = torch.ones(len(pooled), 1, dtype=torch.bool)
    if present is not None:
        mask[:, 0] = torch.tensor(present)
    return Features(pooled, pooled[:, None], mask)


def contrastive(terms=PAIRS, temperature=0.07, learned=True, shared=False, **options):
    config = InfoNCE(temperature=temperature, learned=learned, shared=shared, **options)
    return Objective(config, terms)


def units(seed, rows=5, dim=6):
    return F.normalize(
        torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=-1
    )


def share_of_the_first(first, others):
    """-log of what one logit has of the softmax over it and others."""
    logits = np.array([first, *others])
    top = logits.max()
    return float(np.log(np.exp(logits - top).sum()) + top - first)


SCALE = 1 / 0.07
ALL_TERMS = ("av", "at", "vt", "aa", "mt", "tt", "vv", "ct")


def everything(missing=None, rows=5):
    """Embeddings with every side; `missing` says which rows of which lack theirs."""
    missing = missing or {}
    sides = {
        side: features(units(seed, rows), [i not in missing.get(side, ()) for i in range(rows)])
        for seed, side in enumerate(("text", "audio", "vision", "masked"))
    }
    return Embeddings(**sides, similarity=units(9, rows, rows))


def wanted(*terms, rows=5):
    return {term: torch.ones(rows, dtype=torch.bool) for term in terms}


def softmax_loss(logits):
    """Mean loss of the diagonal against each row, in double precision."""
    logits = np.asarray(logits, dtype=np.float64)
    return np.mean(
        [
            share_of_the_first(row[i], [value for j, value in enumerate(row) if j != i])
            for i, row in enumerate(logits)
        ]
    )


def zeroed(features):
    """As an encoder gives it: zero where the row is absent."""
    return replace(features, pooled=features.pooled * features.present[:, None])
