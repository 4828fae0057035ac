"""Limits of caption decoding, for options and for beam search."""

from typing import Annotated

from trichord.types.rules import Range

SHORTEST = 3
"""Tokens of the shortest caption: start, one word, end."""
STEEPEST = 10.0
"""Beyond this length penalty the scores of all captions round to the same number."""
WIDEST = 256
"""Most beams; each has a score for every token."""

Beams = Annotated[int, Range(1, WIDEST)]
LengthPenalty = Annotated[float, Range(-STEEPEST, STEEPEST)]
Longest = Annotated[int | None, Range(SHORTEST)]
