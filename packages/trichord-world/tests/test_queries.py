import re
from dataclasses import replace

import pytest

from trichord_world.grammar import KINDS, Grammar, facts_heard
from trichord_world.law import PHRASES_MANY, Law, scenes
from trichord_world.queries import AUDIO_QUERIES, audio_queries, audio_query_ceiling
from trichord_world.truth import Truth
from trichord_world.wordings import WORDINGS

LAW = Law(phrases=PHRASES_MANY)
TRUTH = [
    Truth(scene=scene, split="test", facts=dict.fromkeys(KINDS, ()))
    for scene in scenes("test", 80, 1, LAW)
]
SCENES = {one.scene.id: one.scene for one in TRUTH}
EVENT = ("heard", "pitch", "tempo")


def facts_in(text):
    """What a reader makes of a query who knows the wordings: the quoted phrase, then the rest."""
    found, left = {}, text.lower()
    for phrase in re.findall(r'"([^"]*)"', left):
        found["phrase"] = phrase
        left = left.replace(f'"{phrase}"', "#")
    wordings = [
        (wording, name, value)
        for name in (*EVENT, "gender")
        for value, forms in WORDINGS[name].items()
        for wording in forms
    ]
    for wording, name, value in sorted(wordings, key=lambda row: -len(row[0])):
        pattern = rf"(?<!\w){re.escape(wording)}(?!\w)"
        if re.search(pattern, left):
            assert found.setdefault(name, value) == value, text
            left = re.sub(pattern, "#", left)
    return found


def test_each_kind_asks_the_clips_that_have_what_it_is_about():
    asked = audio_queries(TRUTH, 0)
    audible = [i for i, scene in SCENES.items() if not scene.silent]
    speaking = [i for i in audible if SCENES[i].phrase]
    assert tuple(asked) == AUDIO_QUERIES == ("speech", "event", "mixed")
    assert [i for i, _ in asked["event"]] == audible
    assert [i for i, _ in asked["speech"]] == [i for i, _ in asked["mixed"]] == speaking
    assert 0 < len(speaking) < len(audible) < len(SCENES)


@pytest.mark.parametrize("omission", [0.0, 0.5, 1.0])
def test_a_query_asserts_what_is_true_and_of_its_kind(omission):
    for kind, rows in audio_queries(TRUTH, 0, grammar=Grammar(omission=omission)).items():
        for clip, text in rows:
            facts = facts_in(text)
            assert facts.items() <= facts_heard(SCENES[clip]).items(), text
            assert ("phrase" in facts) == (kind != "event"), text
            assert bool(facts.keys() & set(EVENT)) == (kind != "speech"), text
            assert "gender" not in facts or kind != "event", text


def test_without_omission_a_query_says_all_of_its_kind():
    asked = audio_queries(TRUTH, 0, grammar=Grammar(omission=0.0))
    for kind, names in (
        ("speech", {"phrase", "gender"}),
        ("event", set(EVENT)),
        ("mixed", {"phrase", "gender", *EVENT}),
    ):
        assert all(facts_in(text).keys() == names for _, text in asked[kind])


def test_speech_alone_is_one_plain_sentence():
    for clip, text in audio_queries(TRUTH, 0)["speech"]:
        assert re.fullmatch(
            rf'A (man|gentleman|woman|lady|person|speaker) says "{SCENES[clip].phrase}"\.', text
        )


def test_queries_are_a_function_of_the_seed_and_their_own_clip():
    asked = audio_queries(TRUTH, 3)
    assert audio_queries(TRUTH, 3) == asked
    assert audio_queries(TRUTH, 4) != asked
    for kind, rows in audio_queries(TRUTH[40:], 3).items():
        assert rows == [row for row in asked[kind] if row[0] >= "test_00040"]


@pytest.mark.parametrize("omission", [0.0, 0.5])
def test_the_ceiling_is_what_counting_the_clips_that_agree_gives(omission):
    grammar = Grammar(omission=omission)
    best = audio_query_ceiling(TRUTH, 0, (1, 5), law=LAW, grammar=grammar)
    heard = [facts_heard(scene) for scene in SCENES.values()]
    for kind, rows in audio_queries(TRUTH, 0, grammar=grammar).items():
        asserted = [facts_in(text) for _, text in rows]
        agreeing = [sum(said.items() <= facts.items() for facts in heard) for said in asserted]
        for k in (1, 5):
            expected = sum(min(1, k / count) for count in agreeing) / len(rows)
            assert best[kind][k] == pytest.approx(expected)


def test_a_kind_without_queries_has_no_ceiling():
    wordless = [replace(one, scene=replace(one.scene, phrase=None, voice=None)) for one in TRUTH]
    best = audio_query_ceiling(wordless, 0, (1,), law=LAW)
    assert best["speech"][1] != best["speech"][1]
    assert best["mixed"][1] != best["mixed"][1]
    assert best["event"][1] > 0
