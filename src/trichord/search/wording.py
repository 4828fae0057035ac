"""The words to search for and the words to avoid in a typed text: `dog -leash -"red car"`."""

import re

MINUSES = "-\N{MINUS SIGN}\N{EN DASH}"
"""The ASCII minus, the typographic one, and the dash that phones write for two."""
_NEGATIVE = re.compile(
    rf'(?:^|(?<=\s))[{MINUSES}](?:["“”„]([^"“”„]+)["“”]|([^{MINUSES}\s"“”„]\S*))'
)
"""A minus where a word begins, and the quoted phrase or the word right after it."""


def split_negatives(text: str) -> tuple[str, tuple[str, ...]]:
    """Split a text into the words to search for and the phrases to avoid.

    A minus counts only where a word begins, and only with something right after it: "black-and-white" and
    "dog - cat" are returned unchanged.

    Returns:
        The text without the phrases to avoid ("" if nothing is left), and these phrases in order.
    """
    negatives = tuple((phrase or word).strip() for phrase, word in _NEGATIVE.findall(text))
    if not any(negatives):
        return text, ()
    return " ".join(_NEGATIVE.sub(" ", text).split()), tuple(filter(None, negatives))
