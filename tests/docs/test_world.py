"""The figures of the page on the generated world are those that its law gives."""

import re
from dataclasses import replace
from pathlib import Path

from trichord_world.ceiling import ceiling
from trichord_world.grammar import Grammar
from trichord_world.law import LAW, PHRASES_MANY, Law, scenes, stream
from trichord_world.queries import audio_query_ceiling
from trichord_world.truth import Truth

PAGE = (Path(__file__).parents[2] / "docs" / "world.md").read_text(encoding="utf-8")
KS = (1, 5, 10)


def truth(grammar: Grammar, law: Law = LAW) -> list[Truth]:
    """The test split of seed 0, as `trichord world` annotates it."""
    return [
        Truth(
            scene=scene,
            split="test",
            facts={
                kind: tuple(one.facts for one in said)
                for kind, said in grammar.captions(scene, stream(0, "test", i, "captions")).items()
            },
        )
        for i, scene in enumerate(scenes("test", 200, 0, law))
    ]


def rows(heading: str) -> dict[str, list[str]]:
    """The cells of the first table below a heading, by the first one of a row."""
    below = PAGE.split(f"\n{heading}\n", 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert lines
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines[0].splitlines()]
    return {first.replace("`", ""): rest for first, *rest in cells[2:]}


def test_the_ceilings_of_seed_0_are_those_of_the_page():
    grammar = Grammar(detail="full")
    for task, best in ceiling(truth(grammar), KS, grammar=grammar).items():
        name = f"{task}, full" if "composed" in task else task
        shown, *_ = rows("### What it comes to")[name]
        assert shown == " / ".join(f"{best[k]:.2f}" for k in KS)


def test_the_ceilings_of_queries_for_sounds_lie_within_the_ranges_of_the_page():
    grammar, law = Grammar(omission=0.5), replace(LAW, phrases=PHRASES_MANY)
    found = audio_query_ceiling(truth(grammar, law), 0, KS, law=law, grammar=grammar)
    for kind, best in found.items():
        shown = rows("### How well they can be answered")[kind][0].split(" / ")
        for k, one in zip(KS, shown, strict=True):
            lowest, *highest = (float(end) for end in one.split("–"))
            assert lowest <= round(best[k], 2) <= (highest or [lowest])[0]
