from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from trichord_world.ceiling import TASKS, ceiling, expected_hits, likelihood
from trichord_world.grammar import KINDS, Grammar, facts_heard, facts_seen
from trichord_world.law import LAW, PHRASES_MANY, Law, scenes, stream
from trichord_world.truth import Truth
from trichord_world.wordings import HEARD, SEEN

TINY = Law(
    own=0.7, tie=0.8, speechless=0.4, silent=0.15, dark=0.1, things=("bell", "drum", "car"),
    colours=("red", "blue"), sizes=("small", "large"), pitches=("high", "low"),
    motions=("swing",), speeds=("slow", "fast"), backgrounds=("room",),
    phrases=("turn left", "good morning"), voices=("en-us+m3", "en-us+f2"),
)  # fmt: skip
OMISSION = 0.4


def world(count, seed, grammar, law=LAW):
    rows = []
    for index, scene in enumerate(scenes("test", count, seed, law)):
        said = grammar.captions(scene, stream(seed, "test", index, "captions"))
        facts = {kind: tuple(one.facts for one in said[kind]) for kind in KINDS}
        rows.append(Truth(scene=scene, split="test", facts=facts))
    return rows


def shown(truth, side):
    return [one for one in truth if not (one.scene.dark if side == "visual" else one.scene.silent)]


def subsets(names, omission):
    """Every set of mentioned attributes and its probability."""
    for kept in product((True, False), repeat=len(names)):
        shares = [omission / 3 if n in ("thing", "heard") else omission for n in names]
        chance = np.prod([1 - o if k else o for k, o in zip(kept, shares, strict=True)])
        yield {n for n, k in zip(names, kept, strict=True) if k}, chance


def chance_of_saying(facts, true, names, omission):
    """P(a caption says exactly these facts | the whole truth of a side), by enumeration."""
    total = 0.0
    for said, chance in subsets(names, omission):
        if names == SEEN:
            mentioned = said or {"thing"}
        else:
            mentioned = said if "phrase" in said else said - {"gender"}
            if not mentioned & {"heard", "pitch", "tempo"}:
                mentioned = mentioned | {"heard"}
        if {name: value for name, value in true.items() if name in mentioned} == facts:
            total += chance
    return total


def worlds():
    """The whole joint law of TINY: (seen, heard, probability)."""
    law = TINY
    speech = [({}, law.speechless)] + [
        ({"phrase": phrase, "gender": gender}, (1 - law.speechless) / 4)
        for phrase in law.phrases
        for gender in ("male", "female")
    ]
    for thing, colour, size, speed, heard, pitch, tempo in product(
        law.things, law.colours, law.sizes, law.speeds, law.things, law.pitches, law.speeds
    ):
        chance = 1 / (3 * 2 * 2 * 2)
        if heard == thing:
            fits = (size, pitch) in {("small", "high"), ("large", "low")}
            chance *= 0.7 * (0.8 if fits else 0.2) * (0.8 if speed == tempo else 0.2)
        else:
            chance *= 0.3 / 2 / 2 / 2
        seen = {
            "thing": thing, "colour": colour, "size": size,
            "motion": "swing", "speed": speed, "background": "room",
        }  # fmt: skip
        for said, share in speech:
            yield seen, {"heard": heard, "pitch": pitch, "tempo": tempo} | said, chance * share


JOINT = list(worlds())


def brute_force(query, asked, side, perceived):
    """p(query | one clip's perceived side), summed over the entire joint law."""
    seen_query = {name: value for name, value in query.items() if name in SEEN}
    heard_query = {name: value for name, value in query.items() if name in HEARD}
    known = {"seen": {}, "heard": {}}
    matching = total = 0.0
    for seen, heard, chance in JOINT:
        if (seen if side == "visual" else heard) != perceived:
            continue
        total += chance
        if asked == "sound":
            matching += chance * (heard == heard_query)
            continue
        for part, true, facts, names in (
            ("seen", seen, seen_query, SEEN),
            ("heard", heard, heard_query, HEARD),
        ):
            key = tuple(true.items())
            if facts and key not in known[part]:
                known[part][key] = chance_of_saying(facts, true, names, OMISSION)
            chance *= known[part][key] if facts else 1.0
        matching += chance
    return matching / total


def queries_of(gallery, asked):
    if asked == "sound":
        rows = [(i, facts_heard(one.scene)) for i, one in enumerate(gallery)]
        return [(i, facts) for i, facts in rows if facts]
    return [(i, facts) for i, one in enumerate(gallery) for facts in one.facts[asked]]


def simulated(scores, answers, k, generator, times=200):
    """Share of answers in the top k when ties are broken by actual coin tosses."""
    hits = []
    for row, answer in zip(scores, answers, strict=True):
        for _ in range(times):
            order = np.lexsort((generator.random(len(row)), -np.round(row, 12)))
            hits.append(answer in order[:k])
    return np.mean(hits)


@pytest.mark.parametrize("task", [task for task in TASKS if "composed" not in task])
def test_the_ceiling_agrees_with_enumerating_a_small_world(task):
    side, asked = TASKS[task]
    grammar = Grammar(omission=OMISSION)
    truth = world(10, 5, grammar, TINY)
    gallery = shown(truth, side)
    rows = queries_of(gallery, asked)[:12]
    perceived = [(facts_seen if side == "visual" else facts_heard)(g.scene) for g in gallery]
    exact = np.array([[brute_force(q, asked, side, p) for p in perceived] for _, q in rows])
    fast = likelihood(
        gallery, [q for _, q in rows], side, law=TINY,
        unsaid=1.0 if asked == "sound" else grammar.unsaid(asked),
    )  # fmt: skip
    np.testing.assert_allclose(
        fast / fast.sum(axis=1, keepdims=True), exact / exact.sum(axis=1, keepdims=True), rtol=1e-9
    )
    answers = np.array([i for i, _ in rows])
    for k, hits in expected_hits(fast, answers, (1, 3)).items():
        tossed = simulated(
            exact / exact.max(axis=1, keepdims=True), answers, k, np.random.default_rng(0)
        )
        assert hits.mean() == pytest.approx(tossed, abs=0.03)


def test_many_phrases_leave_the_ceiling_exact():
    """Against a count in plain loops of the clips that agree with what a query says."""
    grammar, law = Grammar(omission=0.5), Law(phrases=PHRASES_MANY)
    gallery = shown(world(60, 4, grammar, law), "audio")
    heard = [facts_heard(one.scene) for one in gallery]
    hits = []
    for answer, query in queries_of(gallery, "audio"):
        scores = [
            float(query.items() <= facts.items())
            * (0.5 if "phrase" in facts and "phrase" not in query else 1.0)
            for facts in heard
        ]
        better = sum(score > scores[answer] for score in scores)
        hits.append(np.clip((5 - better) / scores.count(scores[answer]), 0, 1))
    best = ceiling(gallery, (5,), law=law, grammar=grammar)
    assert best["audio<-audio"][5] == pytest.approx(np.mean(hits))


def test_expected_hits_share_the_top_places_among_ties():
    scores = np.array([[3.0, 2.0, 2.0, 2.0, 1.0]])
    assert expected_hits(scores, np.array([0]), (1,))[1] == [1.0]
    third = expected_hits(scores, np.array([2]), (1, 2, 4))
    assert third[1] == [0.0]
    assert third[2] == pytest.approx([1 / 3])
    assert third[4] == [1.0]
    assert expected_hits(np.ones((1, 200)), np.array([7]), (10,))[10] == pytest.approx([0.05])


def test_a_rounding_error_is_a_tie():
    scores = np.array([[0.3, 0.1 + 0.2]])
    assert expected_hits(scores, np.array([0]), (1,))[1] == [0.5]


def test_visual_facts_shared_by_two_of_four_clips_are_found_half_the_time():
    one, other, *rest = scenes("test", 60, 2)
    rest = [scene for scene in rest if scene.colour != one.colour and not scene.dark][:2]
    colour = {"colour": one.colour}
    told = dict.fromkeys(KINDS, ()) | {"visual": (colour,)}
    silent = dict.fromkeys(KINDS, ())
    clips = [replace(one, dark=False), replace(other, colour=one.colour, dark=False), *rest]
    truth = [
        Truth(scene=scene, split="test", facts=told if scene.id == one.id else silent)
        for scene in clips
    ]
    assert ceiling(truth, (1, 2))["visual<-visual"] == {1: 0.5, 2: 1.0}


def test_captions_that_say_everything_find_every_distinct_scene():
    grammar = Grammar(omission=0.0)
    distinct = {}
    for one in world(120, 0, grammar):
        if not one.scene.dark and not one.scene.silent:
            distinct.setdefault(tuple(facts_heard(one.scene).items()), one)
    best = ceiling(list(distinct.values()), (1,), grammar=grammar)
    for task in ("visual<-visual", "audio<-audio", "visual<-composed", "audio<-composed"):
        assert best[task] == {1: 1.0}
    assert best["visual<-sound"][1] < 0.6  # what the law leaves to chance stays so


def test_clips_without_the_gallerys_modality_are_neither_sought_nor_found():
    truth = world(100, 1, Grammar())
    audible = [one for one in truth if not one.scene.silent]
    visible = [one for one in truth if not one.scene.dark]
    best, heard, seen = ceiling(truth), ceiling(audible), ceiling(visible)
    assert len(audible) < 100 > len(visible)
    for task, (side, _) in TASKS.items():
        assert best[task] == (seen if side == "visual" else heard)[task]


@pytest.fixture(scope="module")
def twelve_worlds():
    return [world(60, seed, Grammar(omission=0.5)) for seed in range(12)]


def test_no_other_scoring_does_better(twelve_worlds):
    """Noise on the score, and one who believes in a law that ties nothing.

    Beyond noise: 3.5 standard errors, for there are 27 comparisons.
    """
    grammar, generator = Grammar(omission=0.5), np.random.default_rng(0)
    untied = Law(own=0.5, tie=1 / 3)
    gains = {(task, name): [] for task in TASKS for name in ("little", "much", "untied")}
    for truth in twelve_worlds:
        for task, (side, asked) in TASKS.items():
            gallery = shown(truth, side)
            rows = queries_of(gallery, asked)
            queries, answers = [q for _, q in rows], np.array([i for i, _ in rows])
            unsaid = 1.0 if asked == "sound" else grammar.unsaid(asked)
            best = likelihood(gallery, queries, side, law=LAW, unsaid=unsaid)
            floor, noise = best.max(axis=1, keepdims=True) / 1000, generator.normal(size=best.shape)
            others = {
                "little": (best + floor) * np.exp(noise),
                "much": (best + floor) * np.exp(3 * noise),
                "untied": likelihood(gallery, queries, side, law=untied, unsaid=unsaid),
            }
            hits = expected_hits(best, answers, (5,))[5].mean()
            for name, scores in others.items():
                gains[task, name].append(expected_hits(scores, answers, (5,))[5].mean() - hits)
    for gain in gains.values():
        assert np.mean(gain) <= 3.5 * np.std(gain) / np.sqrt(len(gain))
    for task in ("visual<-audio", "audio<-visual", "visual<-sound"):
        assert np.mean(gains[task, "untied"]) < -0.02
        assert np.mean(gains[task, "much"]) < -0.1


def test_knowing_how_often_speech_goes_unsaid_helps(twelve_worlds):
    grammar = Grammar(omission=0.5)
    gain = []
    for truth in twelve_worlds:
        gallery = shown(truth, "audio")
        rows = queries_of(gallery, "audio")
        answers = np.array([i for i, _ in rows])
        hits = [
            expected_hits(
                likelihood(gallery, [q for _, q in rows], "audio", law=LAW, unsaid=unsaid),
                answers, (5,),
            )[5].mean()
            for unsaid in (grammar.unsaid("audio"), 1.0)
        ]  # fmt: skip
        gain.append(hits[0] - hits[1])
    assert np.mean(gain) > 2 * np.std(gain) / np.sqrt(len(gain))


def test_a_task_without_queries_has_no_ceiling():
    silent = Law(silent=1.0, dark=0.0)
    best = ceiling(world(5, 0, Grammar(), silent), (1,), law=silent)
    assert np.isnan(best["audio<-audio"][1])
    assert np.isnan(best["visual<-sound"][1])
    assert best["visual<-visual"][1] > 0


def test_two_hundred_clips_leave_every_task_room_and_none_at_chance():
    best = ceiling(world(200, 0, Grammar(omission=0.5)), grammar=Grammar(omission=0.5))
    assert list(best) == list(TASKS)
    for task in list(TASKS)[:7]:
        assert 0.1 < best[task][1] < 0.8
        assert 0.5 < best[task][10] < 0.99
