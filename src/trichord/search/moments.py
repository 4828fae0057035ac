"""The moments of a file, by its duration and shots."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from trichord.types.rules import Range, require, require_legal

Span = tuple[float, float]
CutKind = Literal["window", "shots"]
Seconds = Annotated[float, Range(1, 3600)]
"""Length of a moment."""
Hop = Annotated[float | None, Range(0.1, 3600)]
"""Seconds between the starts of moments, at most their length."""

SECONDS = 10.0
"""Length of a moment: that of AudioSet's clips, which audio encoders are trained on."""
HOP = 5.0
"""Seconds between starts: an event at the edge of one moment is in the middle of another."""
SHORTEST = 1.0
"""A tail shorter than this (seconds), or than half a moment, is joined to the moment before it."""
SHORTEST_SHOT = 2.0
"""A shot shorter than this (seconds), or than half a moment, is joined to the next ones."""


def require_moments(seconds: float, hop: float | None) -> None:
    """Refuse impossible moments.

    Raises:
        UserError: They are impossible.
    """
    require_legal(seconds, Seconds, "--seconds")
    require_legal(hop, Hop, "--hop")
    if hop is not None:
        require(
            hop <= seconds,
            f"--hop {hop:g} is more than --seconds {seconds:g}, so that moments would leave gaps: "
            "lower it.",
        )


def moments(duration: float, seconds: float = SECONDS, hop: float | None = None) -> list[Span]:
    """Start and end of each moment of a file, in seconds.

    Windows begin every `hop` seconds (default: `seconds`: no overlap and no gaps) until one reaches the
    end. The last one is cut there; if it were shorter than `SHORTEST`, the one before it extends to the
    end instead. A file shorter than a window is one moment, and so is a picture: (0, 0).

    Args:
        duration: Length of the file; 0 for a picture.
        seconds: Length of a moment.
        hop: Seconds between starts, at most `seconds`.
    """
    step = seconds if hop is None else hop
    if not (0 < step <= seconds < math.inf and 0 <= duration < math.inf):
        raise ValueError(f"No moments of {seconds} s every {step} s in {duration} s.")
    spans = [(0.0, min(seconds, duration))]
    while spans[-1][1] < duration:
        start = len(spans) * step
        if duration - start < min(SHORTEST, seconds / 2):
            spans[-1] = (spans[-1][0], duration)
        else:
            spans.append((start, min(start + seconds, duration)))
    return spans


def moments_of_shots(
    duration: float, cuts: Sequence[float], seconds: float = SECONDS, hop: float | None = None
) -> list[Span]:
    """Start and end of each moment of a file that is cut into shots, in seconds.

    Each shot is a moment. Shots shorter than `SHORTEST_SHOT` are joined to the next (the last to the one
    before). Shots longer than `seconds` are cut into windows, like a file: no window crosses a cut between
    longer shots.

    Args:
        duration: Length of the file; 0 for a picture.
        cuts: Times between shots, in order, within the file.
        seconds: The largest length of a moment.
        hop: Seconds between starts of moments of a longer shot.
    """
    least = min(SHORTEST_SHOT, seconds / 2)
    edges = [0.0]
    edges += (cut for cut in cuts if cut - edges[-1] >= least and duration - cut >= least)
    return [
        (start + first, end if last >= end - start else start + last)
        for start, end in pairwise([*edges, duration])
        for first, last in moments(end - start, seconds, hop)
    ]
