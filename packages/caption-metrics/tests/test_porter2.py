"""Stems as Snowball's English stemmer of METEOR's time gives them (its vocabulary, 2002-2010)."""

import pytest

from caption_metrics.porter2 import stem

STEMS = {
    "consigned": "consign", "consistency": "consist", "consolingly": "consol", "knightly": "knight",
    "knives": "knive", "skies": "sky", "dying": "die", "news": "news", "ties": "tie", "cries": "cri",
    "gas": "gas", "this": "this", "gaps": "gap", "kiwis": "kiwi", "abilities": "abil", "happy": "happi",
    "by": "by", "say": "say", "enjoy": "enjoy", "youth": "youth", "hopping": "hop", "hoping": "hope",
    "luxuriated": "luxuri", "agreed": "agre", "feed": "feed", "inning": "inning", "generously": "generous",
    "communion": "communion", "rational": "ration", "relational": "relat", "controll": "control",
    "dog's": "dog", "barks": "bark", "barking": "bark", "barked": "bark", "evening": "even",
    "singing": "sing", "sing": "sing", "running": "run", "sky": "sky", "o'clock": "o'clock", "a": "a",
    "": "", "犬": "犬", "being": "be", "exceeded": "exceed", "apologize": "apolog", "fully": "fulli",
}  # fmt: skip


@pytest.mark.parametrize("word", STEMS)
def test_stem(word):
    assert stem(word) == STEMS[word]
