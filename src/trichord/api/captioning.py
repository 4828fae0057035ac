"""Captions from Python: media files to moments with what a run says of them."""

from pathlib import Path
from typing import TYPE_CHECKING

from trichord.search.moments import require_moments

if TYPE_CHECKING:  # importing `trichord` must stay quick
    from trichord.models.decoding import Decoding
    from trichord.search.cutting import Cut


def weights_of(run: str) -> tuple[float, float]:
    """Visual and audio weight for checking a run's captions: the learned ones, or equal ones."""
    from trichord.checkpoint import Run

    weighting = Run(Path(run)).weighting if Path(run).is_dir() else None
    return weighting if weighting and min(weighting) > 0 else (1.0, 1.0)


def cut_of(seconds: float | None, hop: float | None) -> "Cut | None":
    """How files are cut into moments for captioning.

    Args:
        seconds: Length of a moment; None: each file is one.
        hop: Seconds between their starts; None: as long as they are.

    Raises:
        UserError: A length is impossible.
    """
    from trichord.search.cutting import Cut

    if seconds is None:
        return None
    require_moments(seconds, hop)
    return Cut(seconds, seconds if hop is None else hop)


def decoding_of(beams: int, length_penalty: float, longest: int | None) -> "Decoding":
    """The options of beam search, checked.

    Args:
        beams: See `Decoding`.
        length_penalty: See there.
        longest: See there.

    Raises:
        UserError: A value is impossible.
    """
    from trichord.models.decoding import Decoding

    return Decoding(beams=beams, length_penalty=length_penalty, longest=longest)
