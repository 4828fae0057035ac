"""Terms of the loss: modalities contrasted under temperatures, and the words of captions."""

from trichord.objectives.absence import completed
from trichord.objectives.contrastive import (
    PAIRS,
    Absent,
    Contrastive,
    Loss,
    LossOptions,
    SameText,
)
from trichord.objectives.terms import Directions, info_nce, intra_nce, nce_of, word_loss
from trichord.objectives.tiled import tiled_intra_nce, tiled_nce

__all__ = [
    "PAIRS",
    "Absent",
    "Contrastive",
    "Directions",
    "Loss",
    "LossOptions",
    "SameText",
    "completed",
    "info_nce",
    "intra_nce",
    "nce_of",
    "tiled_intra_nce",
    "tiled_nce",
    "word_loss",
]
