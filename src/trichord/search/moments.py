"""How a file is cut into moments."""

import math

SECONDS = 10.0
"""Length of a moment: that of AudioSet's clips, which sound towers are trained on."""
SHORTEST = 1.0
"""A tail shorter than this (seconds), or than half a moment, joins the moment before it."""


def moments(
    duration: float, seconds: float = SECONDS, hop: float | None = None
) -> list[tuple[float, float]]:
    """Start and end of each moment of a file, in seconds.

    Windows begin every `hop` seconds (default: `seconds`, so that they neither overlap nor leave
    gaps) until one reaches the end. The last is cut there; were it to become shorter than
    `SHORTEST`, the one before it lasts to the end instead. A file shorter than a window is one
    moment, and so is a picture: (0, 0).

    Args:
        duration: Of the file; 0 for a picture.
        seconds: Of a moment.
        hop: Between starts, at most `seconds`.
    """
    step = seconds if hop is None else hop
    if not (0 < step <= seconds < math.inf and 0 <= duration < math.inf):
        raise ValueError(f"No moments of {seconds} s every {step} s in {duration} s.")
    found = [(0.0, min(seconds, duration))]
    while found[-1][1] < duration:
        start = len(found) * step
        if duration - start < min(SHORTEST, seconds / 2):
            found[-1] = (found[-1][0], duration)
        else:
            found.append((start, min(start + seconds, duration)))
    return found
