"""Words as they are indexed and compared: lower case, without accents, stemmed by their language."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

ALGORITHMS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek",
    "en": "english", "es": "spanish", "et": "estonian", "eu": "basque", "fi": "finnish",
    "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian",
    "id": "indonesian", "it": "italian", "lt": "lithuanian", "nb": "norwegian", "ne": "nepali",
    "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil", "tr": "turkish",
    "yi": "yiddish",
}  # fmt: skip
"""Snowball's stemmers by the first two letters of a language; words of others are not stemmed."""
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)
"""Letters of scripts that put no spaces between words (Thai, Khmer, Japanese, Chinese, ...)."""


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; each letter of a script without spaces is a word."""
    return [word for word, _, _ in placed_words(text)]


def placed_words(text: str) -> list[tuple[str, int, int]]:
    """The same, each with its span in the text."""
    found: list[tuple[str, int, int]] = []
    for match in _WORD.finditer(text):
        start, end, word = *match.span(), match.group()
        if _UNSPACED.search(word):
            found += [(plain(one), start + i, start + i + 1) for i, one in enumerate(word)]
        else:
            found.append((plain(word), start, end))
    return [one for one in found if one[0]]


def plain(word: str) -> str:
    """A word in lower case without accents, in the form that is compared where a search is exact."""
    letters = unicodedata.normalize("NFKD", word.casefold().replace("\u2019", "'"))
    return "".join(one for one in letters if not unicodedata.combining(one) and not one.isspace())


def stems_of(words: Sequence[str], language: str) -> list[str]:
    """Plain words as they are indexed.

    They are stemmed without their accents, and as English ones if their language is unknown, queries and
    indexed words alike: the wrong stemmer may stem too little, but never differently.
    """
    algorithm = ALGORITHMS.get(language[:2].lower() or "en")
    if algorithm is None:
        return list(words)
    from snowballstemmer import stemmer

    own: Any = stemmer(algorithm)  # a new one each time: it is not safe between threads
    return [own.stemWord(word) or word for word in words]
