"""The English stemmer METEOR matches by: Snowball's "English" (Porter2) as it was when METEOR 1.5 came out.

Today's `snowballstemmer` has exceptions that METEOR's stemmer does not know, so the algorithm of that
time is written out here (https://snowballstem.org/algorithms/english/stemmer.html).
"""

import re
from functools import lru_cache

_WHOLE = {
    "skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie",
    "idly": "idl", "gently": "gentl", "ugly": "ugli", "early": "earli", "only": "onli",
    "singly": "singl",
}  # fmt: skip
_KEEP = {"sky", "news", "howe", "atlas", "cosmos", "bias", "andes"}
_KEEP_AFTER_PLURAL = {
    "inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed",
}  # fmt: skip
_PAST_START = re.compile(r"gener|commun|arsen")
_REGION = re.compile(r"[aeiouy][^aeiouy]")
_VOWEL = re.compile(r"[aeiouy]")
_SHORT_END = re.compile(r"(?:[^aeiouy][aeiouy][^aeiouywxY]|^[aeiouy][^aeiouy])$")
_DOUBLE = re.compile(r"(?:bb|dd|ff|gg|mm|nn|pp|rr|tt)$")
_STEP_2 = {
    "ization": "ize", "ational": "ate", "fulness": "ful", "ousness": "ous", "iveness": "ive",
    "tional": "tion", "biliti": "ble", "lessli": "less", "entli": "ent", "ation": "ate",
    "alism": "al", "aliti": "al", "ousli": "ous", "iviti": "ive", "fulli": "ful", "enci": "ence",
    "anci": "ance", "abli": "able", "izer": "ize", "ator": "ate", "alli": "al", "bli": "ble",
    "ogi": "og", "li": "",
}  # fmt: skip
_STEP_3 = {
    "ational": "ate", "tional": "tion", "alize": "al", "icate": "ic", "iciti": "ic", "ative": "",
    "ical": "ic", "ness": "", "ful": "",
}  # fmt: skip
_STEP_4 = (
    "ement", "ance", "ence", "able", "ible", "ment", "ant", "ent", "ism", "ate", "iti", "ous", "ive",
    "ize", "ion", "al", "er", "ic",
)  # fmt: skip


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """The stem of a lower-case word."""
    if word in _WHOLE:
        return _WHOLE[word]
    if word in _KEEP or len(word) <= 2:
        return word
    word = re.sub(r"([aeiouy])y", r"\1Y", re.sub(r"^y", "Y", word.removeprefix("'")))
    first, second = _regions(word)
    word = _plural(_possessive(word))
    if word in _KEEP_AFTER_PLURAL:
        return word.lower()
    word = _final_y(_past(word, first))
    word = _step_3(_step_2(word, first), first, second)
    return _final_letters(_step_4(word, second), first, second).lower()


def _regions(word: str) -> tuple[int, int]:
    """Where R1 and R2 begin: after the first vowel and consonant, and after the next such pair."""
    start = _PAST_START.match(word) or _REGION.search(word)
    first = start.end() if start else len(word)
    following = _REGION.search(word, first)
    return first, following.end() if following else len(word)


def _possessive(word: str) -> str:
    return re.sub(r"'(?:s'?)?$", "", word)


def _plural(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith(("us", "ss")) or not word.endswith("s"):
        return word
    return word[:-1] if _VOWEL.search(word[:-2]) else word


def _past(word: str, first: int) -> str:
    for suffix in ("eedly", "eed"):
        if word.endswith(suffix):
            rest = word.removesuffix(suffix)
            return rest + "ee" if len(rest) >= first else word
    for suffix in ("ingly", "edly", "ing", "ed"):
        if word.endswith(suffix):
            rest = word.removesuffix(suffix)
            return _restore_ending(rest, first) if _VOWEL.search(rest) else word
    return word


def _restore_ending(rest: str, first: int) -> str:
    """The word before -ed or -ing, with its lost e and without its doubled consonant."""
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if _DOUBLE.search(rest):
        return rest[:-1]
    short = first >= len(rest) and _SHORT_END.search(rest)
    return rest + "e" if short else rest


def _final_y(word: str) -> str:
    return re.sub(r"(?<=.[^aeiouy])[yY]$", "i", word)


def _longest(word: str, suffixes: dict[str, str] | tuple[str, ...]) -> str | None:
    return max((suffix for suffix in suffixes if word.endswith(suffix)), key=len, default=None)


def _step_2(word: str, first: int) -> str:
    suffix = _longest(word, _STEP_2)
    if suffix is None or len(word) - len(suffix) < first:
        return word
    rest = word.removesuffix(suffix)
    if (suffix == "ogi" and not rest.endswith("l")) or (
        suffix == "li" and not rest.endswith(tuple("cdeghkmnrt"))
    ):
        return word
    return rest + _STEP_2[suffix]


def _step_3(word: str, first: int, second: int) -> str:
    suffix = _longest(word, _STEP_3)
    if suffix is None:
        return word
    rest = word.removesuffix(suffix)
    if len(rest) < (second if suffix == "ative" else first):
        return word
    return rest + _STEP_3[suffix]


def _step_4(word: str, second: int) -> str:
    suffix = _longest(word, _STEP_4)
    if suffix is None or len(word) - len(suffix) < second:
        return word
    rest = word.removesuffix(suffix)
    return word if suffix == "ion" and not rest.endswith(("s", "t")) else rest


def _final_letters(word: str, first: int, second: int) -> str:
    before = len(word) - 1
    if word.endswith("e"):
        long = before >= first and not _SHORT_END.search(word[:-1])
        return word[:-1] if before >= second or long else word
    if word.endswith("ll") and before >= second:
        return word[:-1]
    return word
