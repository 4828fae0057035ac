"""Tokens of a caption: as coco-caption counts them (`ptb`), or split at whitespace as nlg-eval does.

coco-caption runs every caption through Stanford's PTBTokenizer (CoreNLP 3.4.1, lower case) and drops
a list of punctuation marks. `ptb` gives the same tokens without Java for what captions hold:
contractions, possessives, abbreviations, hyphens, numbers, prices, addresses, quotes, any script.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

from caption_metrics.ptb import tokenize

Tokens = tuple[str, ...]
Tokenizer = Literal["ptb", "whitespace"]

# coco-caption lists brackets in capitals only ("-LRB-") but compares lower-case tokens, so "-lrb-" stays,
# and so do runs of marks such as "!!" and "?!".
_DROPPED = {'"', "''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"}


def ptb(caption: str) -> Tokens:
    """The lower-case Penn Treebank tokens of a caption, without the punctuation coco-caption drops.

    Line breaks count as blanks. (coco-caption replaces line feeds only; any other line break shifts the
    captions behind it by one.) Characters outside Unicode's first plane, such as emoji, are dropped,
    as Stanford's tokenizer drops them. A token that Stanford's gives with a no-break space inside
    ("3 1/2") is two tokens here, as it is for coco-caption's BLEU and CIDEr.
    """
    return tuple(token for token in tokenize(caption) if token not in _DROPPED)


def whitespace(caption: str) -> Tokens:
    """The lower-case words of a caption between blanks, with their punctuation.

    nlg-eval does not change case, which comes to the same where captions are in lower case. It also
    counts an empty word for ROUGE-L between two blanks; this does not.
    """
    return tuple(caption.lower().split())


TOKENIZERS: Mapping[Tokenizer, Callable[[str], Tokens]] = {"ptb": ptb, "whitespace": whitespace}


def ngrams(tokens: Tokens, order: int) -> Counter[Tokens]:
    """How often each n-gram of 1 to `order` tokens occurs."""
    return Counter(
        tokens[start : start + length]
        for length in range(1, order + 1)
        for start in range(len(tokens) - length + 1)
    )
