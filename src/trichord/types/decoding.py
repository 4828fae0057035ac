"""How captions may be chosen while they are written; options and the search for words both read it."""

from typing import Annotated

from trichord.types.rules import Range

SHORTEST = 3
"""Tokens of the shortest caption: start, one word, end."""
STEEPEST = 10.0
"""Beyond this length penalty the scores of all captions round to the same number."""
WIDEST = 256
"""Beams that are written side by side, each with a score for every token."""

Beams = Annotated[int, Range(1, WIDEST)]
LengthPenalty = Annotated[float, Range(-STEEPEST, STEEPEST)]
Longest = Annotated[int | None, Range(SHORTEST)]
