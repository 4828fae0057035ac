"""What a typed search says to look for, and what to stay away from: `dog -leash -"red car"`."""

import re

MINUSES = "-\N{MINUS SIGN}\N{EN DASH}"
"""The typewriter's minus, the typographic one, and what keyboards of phones make of two."""
_AVOIDED = re.compile(rf'(?:^|(?<=\s))[{MINUSES}](?:["“”„]([^"“”„]+)["“”]|([^{MINUSES}\s"“”„]\S*))')
"""A minus where a word begins, and a phrase in quotes or the word right behind it."""


def parted(text: str) -> tuple[str, tuple[str, ...]]:
    """What is wanted, and each thing that is not.

    A minus counts only where a word begins and only with something right behind it: "black-and-white"
    and "dog - cat" are texts like any other, and come back as they are.

    Returns:
        The text without what is to be avoided ("" where nothing is left), and that, in order.
    """
    avoided = tuple((phrase or word).strip() for phrase, word in _AVOIDED.findall(text))
    if not any(avoided):
        return text, ()
    return " ".join(_AVOIDED.sub(" ", text).split()), tuple(one for one in avoided if one)
