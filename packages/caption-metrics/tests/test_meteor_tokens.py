"""What `meteor-1.5.jar` makes of lines under `-norm`, as observed."""

import pytest

from caption_metrics.meteor_tokens import normalize

PREFIXES = {"Mr": "always", "No": "before a number"}
LINES = {
    "a well-known dog 's bowl": "a well known dog ' s bowl",
    "ca n't it 's": "ca n 't it ' s",
    "it's John's": "it 's john 's",
    "1990's and 3.5 1,000 a,b": "1990 's and 3.5 1,000 a , b",
    "the U.S. army and Mr. Fox. No. 5 No. Six": "the us army and mr. fox . no. 5 no . six",
    "stop... now. then go.": "stop ... now. then go .",
    "“hi” ‘you’ — –5": "\" hi \" ' you ' — - 5",
    "caf\u00e9 50% (x) 犬": "caf\u00e9 50 % ( x ) 犬",
    "": "",
}


@pytest.mark.parametrize("line", LINES)
def test_normalization(line):
    assert normalize(line, PREFIXES) == tuple(LINES[line].split())
