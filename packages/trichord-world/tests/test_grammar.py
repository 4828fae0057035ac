import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from trichord_world.difficulty import DEFAULT
from trichord_world.grammar import (
    COMPOSED,
    CROWD,
    KINDS,
    Grammar,
    facts_heard,
    facts_seen,
    say,
)  # fmt: skip
from trichord_world.law import PHRASES, scenes, stream
from trichord_world.wordings import HEARD, SEEN, WORDINGS

SCENES = scenes("val", 100, 3)


def told(scene, grammar, seed=0):
    return grammar.captions(scene, np.random.default_rng(seed))


def facts_in(text):
    """What a reader makes of a caption who knows the wordings: the longest one first."""
    wordings = [
        (wording, name, value)
        for name, values in WORDINGS.items()
        for value, forms in values.items()
        for wording in forms
    ] + [(f'"{phrase}"', "phrase", phrase) for phrase in PHRASES]
    found, left = {}, text.lower()
    for wording, name, value in sorted(wordings, key=lambda row: -len(row[0])):
        pattern = rf"(?<!\w){re.escape(wording)}(?!\w)"
        if re.search(pattern, left):
            assert found.get(name, value) == value, f"{text!r} says two things of {name}"
            found[name] = value
            left = re.sub(pattern, "#", left)
    return found


@pytest.mark.parametrize("detail", ["full", "brief"])
def test_a_caption_says_its_facts_and_nothing_else(detail):
    for number, scene in enumerate(SCENES):
        for sentences in told(scene, Grammar(detail=detail), number).values():
            for sentence in sentences:
                assert facts_in(sentence.text) == sentence.facts, sentence.text


def test_no_wording_stands_for_two_values():
    forms = [form for values in WORDINGS.values() for row in values.values() for form in row]
    assert len(forms) == len(set(forms))


def test_facts_are_true_and_of_their_kind():
    for scene in SCENES:
        seen, heard = facts_seen(scene), facts_heard(scene)
        captions = told(scene, Grammar())
        assert all(one.facts.items() <= heard.items() for one in captions["audio"])
        assert all(one.facts.items() <= seen.items() for one in captions["visual"])
        for kind in ("audio_visual", "composed"):
            assert all(one.facts.items() <= (seen | heard).items() for one in captions[kind])
            if not scene.silent and not scene.dark:
                assert all(one.facts.keys() & set(SEEN) for one in captions[kind])
                assert all(one.facts.keys() & set(HEARD) for one in captions[kind])


def test_clips_have_three_to_five_crowd_captions_of_each_kind_and_three_composed_ones():
    rows = [told(s, Grammar(), i) for i, s in enumerate(SCENES) if not s.silent and not s.dark]
    for kind in ("audio", "visual", "audio_visual"):
        assert {len(row[kind]) for row in rows} == set(CROWD)
    assert {len(row["composed"]) for row in rows} == {COMPOSED}


def test_a_dark_clip_is_only_heard_and_a_silent_one_only_seen():
    whole = next(s for s in SCENES if not s.dark and not s.silent and s.phrase)
    dark = told(replace(whole, dark=True), Grammar())
    silent = told(replace(whole, silent=True), Grammar())
    assert dark["visual"] == silent["audio"] == ()
    assert dark["audio"]
    assert silent["visual"]
    for kind in ("audio_visual", "composed"):
        assert dark[kind]
        assert silent[kind]
        assert all(one.facts.keys() <= set(HEARD) for one in dark[kind])
        assert all(one.facts.keys() <= set(SEEN) for one in silent[kind])


def test_speech_alone_is_said_without_any_noise():
    random = np.random.default_rng(0)
    assert say({"phrase": "turn left"}, random) in {
        'A person says "turn left".',
        'A speaker says "turn left".',
    }
    assert say({"phrase": "turn left", "gender": "female"}, random) in {
        'A woman says "turn left".',
        'A lady says "turn left".',
    }


def test_which_facts_are_left_out_does_not_depend_on_their_values():
    spoken = [s for s in SCENES if s.phrase and not s.dark]
    for detail in ("full", "brief"):
        for number, (one, other) in enumerate(pairwise(spoken)):
            left, right = (told(s, Grammar(detail=detail), number) for s in (one, other))
            for kind in KINDS:
                assert [c.facts.keys() for c in left[kind]] == [c.facts.keys() for c in right[kind]]


def test_saying_nothing_of_speech_leaves_the_other_facts_as_they_were():
    for number, scene in enumerate(s for s in SCENES if s.phrase):
        speaking = told(scene, Grammar(), number)["audio"]
        wordless = told(replace(scene, phrase=None, voice=None), Grammar(), number)["audio"]
        assert [c.facts.keys() - {"phrase", "gender"} for c in speaking] == [
            c.facts.keys() for c in wordless
        ]


def test_without_omission_everything_is_said_and_with_all_of_it_the_noun():
    scene = next(s for s in SCENES if s.phrase and not s.dark)
    everything, least = told(scene, Grammar(omission=0.0)), told(scene, Grammar(omission=1.0))
    assert all(one.facts == facts_heard(scene) for one in everything["audio"])
    assert all(one.facts == facts_seen(scene) for one in everything["visual"])
    assert all(one.facts.keys() <= {"heard", "pitch", "tempo"} for one in least["audio"])
    colours = [
        one.facts.get("colour") for s in SCENES for one in told(s, Grammar(omission=1.0))["visual"]
    ]
    assert set(colours) == {None}


def test_nouns_are_left_out_a_third_as_often_as_the_rest():
    visual = [
        one.facts
        for i, s in enumerate(SCENES)
        for one in told(s, Grammar(omission=0.6), i)["visual"]
    ]
    assert np.mean(["colour" not in facts for facts in visual]) == pytest.approx(0.6, abs=0.05)
    assert np.mean(["thing" not in facts for facts in visual]) == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize("detail", ["full", "brief"])
def test_unsaid_is_how_often_a_spoken_phrase_is_left_out(detail):
    grammar = Grammar(omission=0.6, detail=detail)
    spoken = [s for s in scenes("train", 600, 1) if s.phrase]
    rows = [told(s, grammar, i) for i, s in enumerate(spoken)]
    assert grammar.unsaid("visual") == 1.0
    for kind in ("audio", "audio_visual", "composed"):
        left_out = np.mean(["phrase" not in one.facts for row in rows for one in row[kind]])
        assert left_out == pytest.approx(grammar.unsaid(kind), abs=0.03)


def test_full_composed_captions_merge_what_the_crowd_said():
    for number, scene in enumerate(SCENES):
        captions = told(scene, Grammar(detail="full"), number)
        merged = {}
        for one in (*captions["audio"], *captions["visual"]):
            merged |= one.facts
        assert all(one.facts == merged for one in captions["composed"])


def test_brief_composed_captions_keep_both_nouns_and_a_tenth_of_the_rest():
    whole = [s for s in SCENES if not s.dark and not s.silent]
    rows = [
        c.facts
        for i, s in enumerate(whole)
        for c in told(s, Grammar(omission=0.0, detail="brief"), i)["composed"]
    ]
    assert all({"thing", "heard"} <= facts.keys() for facts in rows)
    assert np.mean(["colour" in facts for facts in rows]) == pytest.approx(0.1, abs=0.03)


def test_the_crowds_captions_do_not_depend_on_the_detail_of_the_composed_ones():
    for scene in SCENES[:20]:
        full, brief = (told(scene, Grammar(detail=detail)) for detail in ("full", "brief"))
        for kind in ("audio", "visual", "audio_visual"):
            assert [one.facts for one in full[kind]] == [one.facts for one in brief[kind]]


def test_half_of_the_wordings_of_a_sound_share_no_word_with_any_thing_seen():
    seen = {w for forms in WORDINGS["thing"].values() for form in forms for w in form.split()}
    for forms in WORDINGS["heard"].values():
        assert sum(not seen & set(form.split()) for form in forms) >= len(forms) / 2


def test_tempo_and_speed_share_no_wording_and_no_telling_word():
    words = {
        name: {w for forms in WORDINGS[name].values() for form in forms for w in form.split()}
        for name in ("speed", "tempo")
    }
    assert words["speed"] & words["tempo"] <= {"at", "a"}


def test_the_same_stream_gives_the_same_captions():
    one, again = (Grammar().captions(SCENES[0], stream(0, "val", 0, "captions")) for _ in "ab")
    assert one == again


def test_articles_agree_with_what_follows():
    texts = [
        c.text for i, s in enumerate(SCENES) for row in told(s, Grammar(), i).values() for c in row
    ]
    assert not any(re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text) for text in texts)
    assert all(re.fullmatch(r"[A-Z][^.\n]*\.", text) and "  " not in text for text in texts)


def test_an_omission_that_is_no_probability_is_refused():
    assert Grammar().omission == DEFAULT.omission
    with pytest.raises(ValueError, match="omission"):
        Grammar(omission=1.5)


def test_nouns_may_be_sure_while_other_facts_are_rare():
    made = [scene for scene in scenes("test", 80, 3) if not (scene.silent or scene.dark)]
    grammar = Grammar(omission=0.75, noun_omission=0.0)
    said = [grammar.captions(scene, stream(3, "test", i, "tags")) for i, scene in enumerate(made)]
    seen = [sentence.facts for of in said for sentence in of["visual"]]
    assert all("thing" in facts for facts in seen)
    assert np.mean(["colour" in facts for facts in seen]) == pytest.approx(0.25, abs=0.07)


def test_the_usual_wording_has_the_share_that_it_is_given():
    random = np.random.default_rng(0)
    texts = [say({"heard": "bell"}, random, 0.9) for _ in range(1000)]
    usual = np.mean(["bell ringing" in text.lower() for text in texts])
    assert usual == pytest.approx(0.9, abs=0.03)
    assert any("metallic ringing" in text.lower() for text in texts)


@pytest.mark.parametrize("name", ["omission", "noun_omission", "usual"])
def test_what_is_no_probability_is_refused(name):
    with pytest.raises(ValueError, match=name):
        Grammar(**{name: 1.5})
