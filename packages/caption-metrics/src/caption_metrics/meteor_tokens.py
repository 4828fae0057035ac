"""The words METEOR 1.5 sees: its own normalisation of a caption (option `-norm`), English.

pycocoevalcap joins the tokens of a caption with blanks and lets METEOR tokenize the line again, so that
"well-known" becomes two words and "'s" is split from its apostrophe. The rules are those of the Moses
tokenizer with METEOR's changes (Denkowski & Lavie 2011): punctuation stands alone, quotes and
dashes have one form, hyphens within words are dropped, and so are the dots of "U.S.".
"""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest

from caption_metrics.lexicon import DotRule

_LATIN = "A-Za-z\u0160\u017d\u0161\u017e\u0178\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e"
_ALPHA = _LATIN + "\u0400-\u04ff\u0500-\u0527\ua640-\ua66e\ua67e-\ua697\u1d00-\u1d7f"
_WORD_CHARS = "0-9" + _ALPHA
_LETTER = re.compile(f"[{_ALPHA}]")
_BLANKS = re.compile(r"[ \t\n\r\f]+")
# In this order: each step works on what the step before has left.
_STEPS = tuple(
    (re.compile(pattern), into)
    for pattern, into in (
        (rf"([^{_WORD_CHARS} \t\n\x0b\f\r.'`,\-\u2018\u2019])", r" \1 "),
        (r"(\.{2,})", r" \1 "),
        (r"([^0-9]),([^0-9])", r"\1 , \2"),
        (r"([0-9]),([^0-9])", r"\1 , \2"),
        (r"([^0-9]),([0-9])", r"\1 , \2"),
        (r"[`\u2018\u2019]", "'"),
        (r"[\u201c\u201d]|''", ' " '),
        (r"\u2013", "-"),
        (r"--", "-"),
        (rf"([{_WORD_CHARS}.])-([{_WORD_CHARS}])", r"\1 \2"),
        (rf"([^{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
        (rf"([^{_ALPHA}0-9])'([{_ALPHA}])", r"\1 ' \2"),
        (rf"([{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
        (rf"([{_ALPHA}])'([{_ALPHA}])", r"\1 '\2"),
        (r"([0-9])'(s)", r"\1 '\2"),
    )
)


def normalize(line: str, prefixes: Mapping[str, DotRule]) -> tuple[str, ...]:
    """The lower-case words METEOR makes of a line.

    Args:
        line: A caption, tokenized or not.
        prefixes: Words that keep a dot behind them: always, or before a number only.
    """
    line = f" {line} "
    for pattern, into in _STEPS:
        line = pattern.sub(into, line)
    words = [word for word in _BLANKS.split(line) if word]
    return tuple(" ".join(_split_dots(words, prefixes)).lower().split())


def _split_dots(words: list[str], prefixes: Mapping[str, DotRule]) -> Iterator[str]:
    """Each word, with its last dot apart unless it belongs to the word."""
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        before = word[:-1]
        if len(word) < 2 or not word.endswith(".") or before.endswith("."):
            yield word
        elif "." in before and _LETTER.search(before):
            yield word.replace(".", "")
        elif _keeps_dot(prefixes.get(before), following):
            yield word
        else:
            yield f"{before} ."


def _keeps_dot(rule: DotRule | None, following: str) -> bool:
    if rule == "always" or (following[:1].isascii() and following[:1].islower()):
        return True
    return rule == "before a number" and "0" <= following[:1] <= "9"
