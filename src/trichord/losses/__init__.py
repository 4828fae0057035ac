"""Losses: InfoNCE between modalities and within one, the words of captions, and the objective of both."""

from trichord.losses.caption_loss import caption_loss
from trichord.losses.info_nce import info_nce, info_nce_of_logits, intra_nce
from trichord.losses.missing import pad_missing
from trichord.losses.objective import PAIRS, Loss, Objective
from trichord.losses.options import Absent, Directions, LossOptions, SameText

__all__ = [
    "PAIRS",
    "Absent",
    "Directions",
    "Loss",
    "LossOptions",
    "Objective",
    "SameText",
    "caption_loss",
    "info_nce",
    "info_nce_of_logits",
    "intra_nce",
    "pad_missing",
]
