"""Queries for sounds, told apart by what they ask for: what is said, what else sounds, or both."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from trichord_world.ceiling import expected_hits, likelihood
from trichord_world.grammar import Facts, Grammar, facts_heard, say
from trichord_world.law import LAW, Law, Scene
from trichord_world.truth import Truth
from trichord_world.wordings import Attribute

AudioQuery = Literal["speech", "event", "mixed"]
AUDIO_QUERIES: tuple[AudioQuery, ...] = get_args(AudioQuery)


def audio_queries(
    truth: Sequence[Truth], seed: int, *, grammar: Grammar | None = None
) -> dict[AudioQuery, list[tuple[str, str]]]:
    """One query of each kind a clip, as (clip id, text): for Figure 4 of CLIP4VLA.

    `speech` asserts the phrase and maybe the speaker's gender, `event` what else an audio caption
    may assert, `mixed` both. Silent clips have no queries, those without speech only `event`. As
    in captions, the grammar leaves out what it may by its omission, whatever the values; with an
    omission of 0 every query says all of its kind. A clip's queries are the same whatever the
    other clips.
    """
    return {
        kind: [(scene.id, say(facts, random)) for scene, facts, random in asked]
        for kind, asked in _asked(truth, seed, grammar or Grammar()).items()
    }


def audio_query_ceiling(
    truth: Sequence[Truth],
    seed: int,
    ks: Sequence[int] = (1, 5, 10),
    *,
    law: Law = LAW,
    grammar: Grammar | None = None,
) -> dict[AudioQuery, dict[int, float]]:
    """Best attainable R@k of those queries, each kind among all clips with sound; as `ceiling`."""
    gallery = [one for one in truth if not one.scene.silent]
    places = {one.scene.id: place for place, one in enumerate(gallery)}
    best: dict[AudioQuery, dict[int, float]] = {}
    for kind, asked in _asked(truth, seed, grammar or Grammar()).items():
        # Whether a query of this kind tells the phrase does not hang on there being one.
        scores = likelihood(gallery, [facts for _, facts, _ in asked], "audio", law=law, unsaid=1.0)
        answers = np.array([places[scene.id] for scene, _, _ in asked], dtype=np.intp)
        hits = expected_hits(scores, answers, ks)
        best[kind] = {k: float(h.mean()) if len(h) else float("nan") for k, h in hits.items()}
    return best


def _asked(
    truth: Sequence[Truth], seed: int, grammar: Grammar
) -> dict[AudioQuery, list[tuple[Scene, Facts, np.random.Generator]]]:
    """Of each kind and clip what is asserted, and the random numbers that choose the words."""
    asked: dict[AudioQuery, list[tuple[Scene, Facts, np.random.Generator]]] = {
        kind: [] for kind in AUDIO_QUERIES
    }
    for kind, queries in asked.items():
        for scene in (one.scene for one in truth):
            name = int.from_bytes(f"{kind} {scene.id}".encode(), "big")
            random = np.random.default_rng([seed, name])
            facts = _facts(kind, scene, grammar, random)
            if facts:
                queries.append((scene, facts, random))
    return asked


def _facts(kind: AudioQuery, scene: Scene, grammar: Grammar, random: np.random.Generator) -> Facts:
    """What a query of the kind asserts; nothing where the clip lacks what it is about."""
    known = facts_heard(scene)
    event = grammar.heard(replace(scene, phrase=None, voice=None), random)
    speech: dict[Attribute, str] = {"phrase": known["phrase"]} if "phrase" in known else {}
    if speech and random.random() >= grammar.omission:
        speech["gender"] = known["gender"]
    if kind == "event":
        return event
    if kind == "speech":
        return speech
    return event | speech if speech else {}
