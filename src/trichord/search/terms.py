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
"""Snowball's stemmers by language; words of others are not stemmed."""
SHORT = {
    "ara": "ar", "arm": "hy", "baq": "eu", "cat": "ca", "ces": "cs", "chi": "zh", "cze": "cs",
    "dan": "da", "deu": "de", "dut": "nl", "ell": "el", "eng": "en", "est": "et", "eus": "eu",
    "fin": "fi", "fra": "fr", "fre": "fr", "ger": "de", "gle": "ga", "gre": "el", "hin": "hi",
    "hun": "hu", "hye": "hy", "ind": "id", "ita": "it", "jpn": "ja", "kor": "ko", "lit": "lt",
    "nep": "ne", "nld": "nl", "nob": "nb", "nor": "no", "pol": "pl", "por": "pt", "ron": "ro",
    "rum": "ro", "rus": "ru", "spa": "es", "srp": "sr", "swe": "sv", "tam": "ta", "tur": "tr",
    "ukr": "uk", "und": "", "yid": "yi", "zho": "zh",
}  # fmt: skip
"""Codes of two letters (ISO 639-1) by those of three (639-2), which tracks of containers have."""
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
    algorithm = ALGORITHMS.get(code_of(language) or "en")
    if algorithm is None:
        return list(words)
    from snowballstemmer import stemmer

    own: Any = stemmer(algorithm)  # a new one each time: it is not safe between threads
    return [own.stemWord(word) or word for word in words]


def code_of(language: str) -> str:
    """A language without its country, in two letters where there are such: 'en' for 'en-GB' and 'eng'."""
    code = re.split("[-_]", language.lower())[0]
    return SHORT.get(code, code)
