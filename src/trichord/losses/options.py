"""What all terms of an objective have in common."""

from dataclasses import dataclass
from typing import Literal

Directions = Literal["both", "a_to_b", "b_to_a"]
Absent = Literal["masked", "zeros"]
SameText = Literal["negatives", "positives"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOptions:
    """Options of a loss; `trichord.config.InfoNCE` holds them."""

    directions: Directions = "both"
    """Ask a term's first side for its second one, the other way round, or both (see `info_nce`)."""
    absent: Absent = "masked"
    """Leave clips that lack a modality out of its terms, or keep them as zero vectors in every softmax
    (CLIP4VLA as published)."""
    same_text: SameText = "negatives"
    """What clips whose captions read the same are to one another."""
    tile: int = 2048
    """Rows and columns of scores held at once; a batch of no more rows is scored whole."""
