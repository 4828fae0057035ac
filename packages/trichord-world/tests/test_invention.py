import numpy as np
import pytest

from trichord_world.grammar import Grammar
from trichord_world.invention import invention, named_in, unseen, untrue
from trichord_world.law import Scene, scenes


def scene(**changes):
    known = {
        "id": "a", "thing": "bell", "colour": "red", "size": "small", "motion": "swing",
        "speed": "slow", "background": "room", "heard": "bell", "pitch": "high", "tempo": "slow",
        "phrase": None, "voice": None, "silent": False, "dark": False,
        "sight_seed": 1, "sound_seed": 2,
    }  # fmt: skip
    return Scene(**known | changes)


@pytest.mark.parametrize(
    ("caption", "sounds"),
    [
        ("A red bell is swinging in a room.", []),
        ("a siren lamp and a rain cloud, a tin whistle, a guitar string", []),
        ("Shrill bell ringing is heard.", [{"bell"}]),
        ("telephone ringing and Engine humming", [{"telephone"}, {"car"}]),
        ("a drum ringing", [{"bell", "telephone"}]),  # a wording that the grammar does not have
        ("metallic ringing", [{"bell"}]),  # one sound, not two
        ("something high - pitched", []),
    ],
)
def test_sounds_are_named_by_the_words_of_the_grammar(caption, sounds):
    assert sorted(map(sorted, named_in(caption).sounds)) == sorted(map(sorted, sounds))


def test_speech_is_named_by_its_verb_or_its_phrase():
    named = named_in('a man says " good morning "')
    assert (named.speech, named.phrases) == (True, frozenset({"good morning"}))
    assert named_in("thank you very much").speech
    assert not named_in("a bell is swinging").anything
    assert named_in("a noise is heard").anything


@pytest.mark.parametrize(
    ("caption", "changes", "false", "invisible"),
    [
        ("a red bell", {}, False, False),
        ("bell ringing", {}, False, False),
        ("bell ringing", {"heard": "drum"}, True, False),  # seen, but it is another that sounds
        ("drum beating", {"heard": "drum"}, False, True),  # true, but no picture shows it
        ("drum beating", {}, True, True),
        ("bell ringing", {"silent": True}, True, False),
        ("a noise is heard", {"silent": True}, True, False),
        ("bell ringing", {"dark": True}, False, True),
        ('a man says "good morning"', {}, True, True),
        ('a man says "good morning"', {"phrase": "good morning", "voice": "en"}, False, True),
        ('a man says "good morning"', {"phrase": "turn left", "voice": "en"}, True, True),
        ("someone says", {"phrase": "turn left", "voice": "en"}, False, True),
    ],
)
def test_a_sound_may_be_untrue_and_it_may_be_out_of_sight(caption, changes, false, invisible):
    named, truth = named_in(caption), scene(**changes)
    assert (untrue(named, truth), unseen(named, truth)) == (false, invisible)


def test_shares_are_of_the_captions_that_were_written():
    truth = [scene(id=name) for name in "abcd"]
    found = invention({"a": "a bell", "b": "drum beating", "c": "bell ringing", "x": "?"}, truth)
    assert found is not None
    assert (found.captions, found.named) == (3, 2 / 3)
    assert (found.untrue, found.unseen, found.speech, found.untrue_speech) == (1 / 3, 1 / 3, 0, 0)
    assert "33.3% one that is not heard" in found.line()
    assert invention({}, truth) is None


def test_the_worlds_own_captions_name_no_untrue_sound_and_visual_ones_none_at_all():
    random = np.random.default_rng(0)
    grammar = Grammar()
    for truth in scenes("test", 60, seed=3):
        for kind, sentences in grammar.captions(truth, random).items():
            for sentence in sentences:
                named = named_in(sentence.text)
                assert not untrue(named, truth), sentence.text
                assert kind != "visual" or not named.anything, sentence.text
                assert ("heard" not in sentence.facts) or named.sounds
