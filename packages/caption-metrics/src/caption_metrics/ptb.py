"""Penn Treebank tokens as Stanford's PTBTokenizer (CoreNLP 3.4.1) cuts them, for text of captions.

At each position every rule is tried and the longest match wins; of two as long, the earlier rule. A rule
may look ahead: what it looks at counts for its length but is not part of the token. The rules were
found by running the tokenizer on all letter strings up to four letters before a dot, an apostrophe
or a digit, on all characters of Unicode's first plane, and on random text like captions. Of 22,000
published captions none is cut differently. Of random fragments joined without blanks 1 in 130 is, such
as "x-rayFeb., façade", and so are telephone numbers with a bracket.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that keep the dot behind them: always, if they start with a capital, and before a number.
_ABBREVIATIONS = _words("""
    al cf co ct dr ft ga jr ky lt md mo mr ms mt ph rd rt sq sr st va vs vt wm adj adm adv ala apr aug
    ave bhd cie col cos cpl dak dec det drs ens esq est etc ext feb fla fri gen gov hon inc ind jan jos
    jul jun kan ltd maj mar mfg mme mon mrs mtg neb nev nov oct pfc plc pte pty pvt rep rev sen sep seq
    sfc sgt spc ste sys tel thu tue wed wis wyo alex ariz assn assoc asst attys atty bancorp bldg blvd
    brig bros calif capt cmdr colo comdr conn corp dept elec govs insp intl invt kans lieut messrs mich
    minn mlle mont msgr natl okla penn ppte ppty pres prof profs ptes ptys reps sens sept supt supts
    tenn thurs treas tues univ wisc ed.d ph.d
""")
_ABBREVIATIONS_IN_CAPITALS = _words("wash la pa del az ark miss ore ill tex mass")
_ABBREVIATIONS_OF_NUMBERS = _words("ca no nos op pp art fig figs prop")
_CONTRACTIONS = _words("cannot gonna gotta wanna lemme gimme")

# The class of a character: é any letter beyond ASCII, § any symbol, \x00 what the tokenizer drops.
_LETTER, _SYMBOL, _DROP = "é", "§", "\x00"
_L, _A, _APOS, _QUOTE = "[A-Za-zé]", "[A-Za-z0-9é]", "['’]", "['’`]"
_WORD = rf"{_L}{_A}*(?:[.!?]{_L}{_A}*)*"
_AUXILIARY = "(?:[msdMSD]|[rR][eE]|[vV][eE]|[lL][lL])"
_ACRONYM = r"[A-Za-z](?:\.[A-Za-z])+"
_NUMBER = r"[-+]?(?:[0-9]+(?:[.:,][0-9]+)*|(?:[.:,][0-9]+)+)"
_SLASHED = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_RULES = tuple(
    re.compile(pattern)
    for pattern in (
        r"</?[A-Za-z!?][^<>]*>",
        rf"({_WORD}){_APOS}{_AUXILIARY}",
        rf"({_A}*{_L}?[^\W_nN0-9])[nN]{_QUOTE}[tT]",
        rf"[nN]{_QUOTE}[tT]",
        rf"'{_AUXILIARY}(?!{_L})|’{_AUXILIARY}",
        rf"[dlnoA-HJ-XZ]{_QUOTE}{_L}{{2,}}",
        rf"{_L}+[aeiouyAEIOUY]{_QUOTE}[aeiouA-Z]{_L}*",
        rf"{_APOS}[nN]{_APOS}?|[lLdDjJ]{_APOS}|[oO][lL]{_APOS}|{_APOS}[eE][mM]|{_APOS}[2-9]0s",
        rf"{_APOS}[tT][iI][lL][lL]?|{_APOS}[cC]ause|[eE]{_APOS}er",
        rf"[pP]ro-|[aA]nti-|[cC]ap{_APOS}n|[cC]{_APOS}est",
        rf"([yY]{_APOS})[A-Za-z]",
        rf"({_APOS}[tT])(?:is|was)",
        rf"('){_L}{{2}}",
        r"('[0-9]{2})\s",
        r"''",
        r"https?://[^\s\"<>|(){}]+[^\s\"<>|.!?(){},-]",
        r"(?:www\.(?:[^\s\"<>|.!?(){},]+\.)+[a-zA-Z]{2,4}"
        r"|(?:[^\s\"`'<>|.!?(){},-_$]+\.)+(?:com|net|org|edu))"
        r"(?:/[^\s\"<>|()]+[^\s\"<>|.!?(){},-])?",
        r"[a-zA-Z0-9][^\s\"<>|()]*@(?:[^\s\"<>|().]+\.)*[^\s\"<>|(){}.]+",
        r"@[a-zA-Z_][a-zA-Z_0-9]*",
        rf"#{_L}(?:{_A}|_)*{_A}|#{_L}",
        rf"{_ACRONYM}\.(?!{_L})",
        rf"[A-Za-z]\.(?!{_L})",
        rf"((?:{_WORD}|{_A}+(?:[-_]{_A}+)+)\.)[,:;]",
        _WORD,
        r"[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+",
        r"[cC](?:\+\+|#)|[fF]#",
        rf"{_A}(?:{_A}|[.,])*(?:-(?:{_ACRONYM}\.|{_A}+))+",
        rf"{_SLASHED}(?:\\?/{_SLASHED}){{1,2}}",
        rf"{_A}+(?:[-_]{_A}+)*",
        _NUMBER,
        r"[A-Z]*\$",
        r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]](?![A-Za-z0-9])",
        r"[-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\)",
        r"[?!]+|\.{3,5}|\.(?: \.){2,4}|-{2,4}(?!-)|-+|\*+|_+|#+|<<|>>",
        r"&(?:amp|lt|gt|nbsp|quot|[mn]dash);|&#[0-9]+;",
        r"\S",
    )
)
_PLAIN_WORD = re.compile(r"([A-Za-z]+)[,;]?(?=\s|$)")
_BRACKETS = str.maketrans({
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
})  # fmt: skip
_REWRITTEN = {
    "¢": "cents", "£": "#", "¤": "$", "€": "$", "\x80": "$", "₠": "$", "¼": "1/4", "½": "1/2",
    "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "&amp;": "&", "&lt;": "<", "&gt;": ">", "&nbsp;": "",
    "&quot;": "''", "&mdash;": "--", "&ndash;": "--", "\xad": "-", "---": "--", "----": "--",
}  # fmt: skip
_QUOTES = dict.fromkeys("“”«»‹›\x93\x94–—―\x96\x97…\x85", '"')  # all are dropped in the end
_JOINING = {"\xad": _LETTER, "‐": "-", "‑": "-", "֊": "-"}
_APOSTROPHES = {"’": "’", "\x92": "’", "‘": "`", "‛": "`", "\x91": "`"}
_SYMBOLS = (
    (0xA1, 0xBF), (0xD7, 0xD7), (0xF7, 0xF7), (0x37E, 0x37E), (0x387, 0x387), (0x589, 0x589),
    (0x600, 0x60C), (0x61B, 0x61F), (0x66A, 0x66D), (0x964, 0x965), (0xE3F, 0xE3F), (0x2016, 0x2017),
    (0x201E, 0x2023), (0x2030, 0x2038), (0x203B, 0x2042), (0x2070, 0x208E), (0x20A0, 0x20AC),
    (0x2100, 0x214F), (0x2153, 0x215E), (0x2190, 0x2BFF), (0x3001, 0x3002), (0x3012, 0x3012),
    (0x30FB, 0x30FB), (0xFF01, 0xFFE6),
)  # fmt: skip
_QUOTE_MARKS = frozenset(_QUOTES) | frozenset(_APOSTROPHES)


def tokenize(caption: str) -> Iterator[str]:
    """The lower-case tokens of a caption, punctuation included; "(" is written "-lrb-"."""
    caption = caption.replace("&apos;", "'")
    classes = caption if caption.isascii() else "".join(map(_class_of, caption))
    at = 0
    while at < len(classes):
        if classes[at].isspace() or classes[at] == _DROP:
            at += 1
            continue
        end = _end(classes, at)
        yield from _output(caption[at:end])
        at = end


def _end(classes: str, at: int) -> int:
    """Where the token that starts here ends."""
    plain = _PLAIN_WORD.match(classes, at)
    if plain:
        return plain.end(1)
    longest, end = -1, at + 1
    for rule in _RULES:
        found = rule.match(classes, at)
        if found and found.end() > longest:
            longest, end = found.end(), found.end(rule.groups)
    return end + _keeps_dot(classes, at, end)


def _keeps_dot(classes: str, at: int, end: int) -> bool:
    """Whether the dot behind a token is part of it."""
    if not classes.startswith(".", end) or re.match(_L, classes[end + 1 : end + 2]):
        return False
    word, lower = classes[at:end], classes[at:end].lower()
    if lower in _ABBREVIATIONS or (lower in _ABBREVIATIONS_IN_CAPITALS and word[0].isupper()):
        return True
    return (
        lower in _ABBREVIATIONS_OF_NUMBERS and classes[end + 1 : end + 3].lstrip()[:1].isdecimal()
    )


def _output(piece: str) -> Iterator[str]:
    """A token as the tokenizer writes it; two tokens where one word holds two."""
    token = piece.lower().replace("’", "'").replace("\x92", "'")
    if token in _REWRITTEN:
        yield from _REWRITTEN[token].split()
        return
    if token in _CONTRACTIONS:
        yield from (token[:3], token[3:])
    elif not token.strip(". "):
        yield "."
    elif len(token) == 1:
        yield "'" if token in _QUOTE_MARKS else token.translate(_BRACKETS)
    else:
        token = token.replace("\xad", "").replace("&amp;", "&")
        yield from token.replace("(", "-lrb-").replace(")", "-rrb-").split()


@lru_cache(maxsize=10_000)
def _class_of(letter: str) -> str:
    """The class of a character, as the rules see it."""
    known = _QUOTES.get(letter) or _JOINING.get(letter) or _APOSTROPHES.get(letter)
    if known or letter.isascii():
        return known or letter
    category = unicodedata.category(letter)
    if letter.isspace() or ord(letter) > 0xFFFF:
        return " " if letter.isspace() else _DROP
    if category[0] == "L" or category in ("Mn", "Mc"):
        return _LETTER
    if category == "Nd":
        return "0"
    return _SYMBOL if any(low <= ord(letter) <= high for low, high in _SYMBOLS) else _DROP
