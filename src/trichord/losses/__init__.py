"""Losses: InfoNCE between and within modalities, the caption loss, and the objective that combines them."""

from trichord.losses.caption_loss import caption_loss
from trichord.losses.info_nce import info_nce, info_nce_of_logits, intra_nce
from trichord.losses.missing import pad_missing
from trichord.losses.objective import PAIRS, Loss, Objective
from trichord.losses.tiled_logsumexp import Directions

__all__ = [
    "PAIRS",
    "Directions",
    "Loss",
    "Objective",
    "caption_loss",
    "info_nce",
    "info_nce_of_logits",
    "intra_nce",
    "pad_missing",
]
