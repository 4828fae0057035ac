"""Words of a caption: as coco-caption counts them (`ptb`), or split at blanks as nlg-eval does (`blanks`).

coco-caption runs every caption through Stanford's PTBTokenizer (CoreNLP 3.4.1, lower-cased) and drops
a list of punctuation marks. `ptb` gives the same tokens without Java for what captions hold:
contractions, possessives, abbreviations, hyphens, numbers, prices, addresses, quotes, any script.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

from trichord.evaluation.captions.metrics import lexer

Tokens = tuple[str, ...]
Tokenisation = Literal["ptb", "blanks"]

# Brackets are on coco-caption's list in capitals only, and it compares lower-cased tokens: "-lrb-"
# stays, and so do runs such as "!!" and "?!".
_DROPPED = {'"', "''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"}


def ptb(caption: str) -> Tokens:
    """The lower-case Penn Treebank tokens of a caption, without the punctuation coco-caption drops.

    Line breaks are blanks. (coco-caption replaces line feeds only; any other line break shifts the
    captions behind it by one.) Characters outside Unicode's first plane, such as emoji, are dropped,
    as Stanford's tokeniser drops them. A token that Stanford's gives with a no-break space inside
    ("3 1/2") is two here, as it is for coco-caption's BLEU and CIDEr.
    """
    return tuple(token for token in lexer.tokens(caption) if token not in _DROPPED)


def blanks(caption: str) -> Tokens:
    """The caption's lower-case words as they stand between blanks, punctuation attached.

    nlg-eval leaves case alone, which comes to the same where captions are lower-case; it also counts
    an empty word for ROUGE-L between two blanks, which this does not.
    """
    return tuple(caption.lower().split())


TOKENISATIONS: Mapping[Tokenisation, Callable[[str], Tokens]] = {"ptb": ptb, "blanks": blanks}


def ngrams(words: Tokens, longest: int) -> Counter[Tokens]:
    """How often each run of one to `longest` words occurs."""
    return Counter(
        words[start : start + length]
        for length in range(1, longest + 1)
        for start in range(len(words) - length + 1)
    )
