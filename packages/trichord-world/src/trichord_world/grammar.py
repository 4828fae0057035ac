"""The grammar of the generated world: what captions assert, and in which words.

An audio caption says only what can be heard, a visual one only what can be seen. Every sentence
carries its facts, and each wording of `WORDINGS` stands for exactly one value of one attribute.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trichord.types import CAPTION_KINDS, CaptionKind
from trichord_world.difficulty import DEFAULT
from trichord_world.law import Scene, gender_of
from trichord_world.wordings import HEARD, SEEN, WORDINGS, Attribute

Kind = CaptionKind
Facts = Mapping[Attribute, str]

KINDS: tuple[Kind, ...] = CAPTION_KINDS

CROWD: tuple[int, ...] = (3, 4, 5)
"""How many captions of each crowd kind a clip may have."""
COMPOSED = 3
"""How many composed captions a clip has, as AVCaps has of GPT-4's."""
KEPT = 0.1
"""Share of the facts beside the two nouns that a brief composed caption keeps."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A caption's text and the facts it asserts, attribute → value."""

    text: str
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """How much captions leave out.

    `omission` is the probability that a caption leaves out each thing it could say; the noun of
    what is seen or heard is left out a third as often. A composed caption keeps, in `full` detail,
    every fact of the clip's own audio and visual captions; in `brief` detail the two nouns, and of
    the other facts each with probability `KEPT`. Which facts are left out never depends on values:
    that makes the ceiling exact. An omission outside 0 to 1 raises ValueError.
    """

    omission: float = DEFAULT.omission
    detail: Literal["full", "brief"] = "full"
    noun_omission: float | None = None
    """The same of the nouns alone; None: a third of `omission`."""
    usual: float | None = None
    """Share of a value's first wording, the others being equally rare; None: all are equally common."""

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        for name in ("omission", "noun_omission", "usual"):
            if not 0 <= (share := getattr(self, name) or 0.0) <= 1:
                raise ValueError(f"{name} lies between 0 and 1, not {share}.")

    def unsaid(self, kind: Kind) -> float:
        """Probability that a caption of an audible clip leaves out a phrase that is spoken."""
        if kind == "visual":
            return 1.0
        if kind != "composed":
            return self.omission
        by_all = float(np.mean([self.omission**count for count in CROWD]))
        return by_all if self.detail == "full" else 1 - KEPT * (1 - by_all)

    def captions(
        self, scene: Scene, generator: np.random.Generator
    ) -> dict[Kind, tuple[Sentence, ...]]:
        """The captions of a clip, by kind; none of a kind that has nothing to speak of."""
        audio = [self.heard(scene, generator) for _ in range(generator.choice(CROWD))]
        visual = [self._seen(scene, generator) for _ in range(generator.choice(CROWD))]
        both = [
            self._seen(scene, generator) | self.heard(scene, generator)
            for _ in range(generator.choice(CROWD))
        ]
        merged: dict[Attribute, str] = {
            name: value for facts in (*visual, *audio) for name, value in facts.items()
        }
        composed = [self._composed(scene, merged, generator) for _ in range(COMPOSED)]
        told: dict[Kind, list[dict[Attribute, str]]] = {
            "audio": audio,
            "visual": visual,
            "audio_visual": both,
            "composed": composed,
        }
        return {
            kind: tuple(
                Sentence(say(facts, generator, self.usual), facts) for facts in rows if facts
            )
            for kind, rows in told.items()
        }

    def heard(self, scene: Scene, generator: np.random.Generator) -> dict[Attribute, str]:
        """What one audio caption of a clip asserts; nothing of a silent one."""
        said: set[str] = {name for name in HEARD if self._kept(name, generator)}
        if "phrase" not in said:
            said.discard("gender")
        # Drawn without looking whether anybody speaks, so that silence about speech is `unsaid`.
        if said <= {"phrase", "gender"}:
            said.add("heard")
        return {name: value for name, value in facts_heard(scene).items() if name in said}

    def _seen(self, scene: Scene, generator: np.random.Generator) -> dict[Attribute, str]:
        said = {name for name in SEEN if self._kept(name, generator)} or {"thing"}
        return {name: value for name, value in facts_seen(scene).items() if name in said}

    def _kept(self, name: Attribute, generator: np.random.Generator) -> bool:
        share = self.omission
        if name in ("thing", "heard"):
            share = self.omission / 3 if self.noun_omission is None else self.noun_omission
        return bool(generator.random() >= share)

    def _composed(
        self, scene: Scene, merged: dict[Attribute, str], generator: np.random.Generator
    ) -> dict[Attribute, str]:
        if self.detail == "full":
            return merged
        known = facts_seen(scene) | facts_heard(scene)
        kept = {name for name in (*SEEN, *HEARD) if generator.random() < KEPT}
        if "phrase" not in kept:
            kept.discard("gender")
        return {
            name: value
            for name, value in known.items()
            if name in ("thing", "heard") or (name in kept and name in merged)
        }


def facts_seen(scene: Scene) -> dict[Attribute, str]:
    """All that can be seen in a clip; nothing of a dark one."""
    if scene.dark:
        return {}
    return {name: getattr(scene, name) for name in SEEN}


def facts_heard(scene: Scene) -> dict[Attribute, str]:
    """All that can be heard in a clip; nothing of a silent one, no phrase where nobody speaks."""
    if scene.silent:
        return {}
    facts: dict[Attribute, str] = {
        "heard": scene.heard,
        "pitch": scene.pitch,
        "tempo": scene.tempo,
    }
    if scene.phrase is not None and scene.voice is not None:
        facts |= {"phrase": scene.phrase, "gender": gender_of(scene.voice)}
    return facts


class _Words:
    """The wordings drawn for one sentence's facts; an empty string for what it leaves out."""

    def __init__(
        self, facts: Facts, generator: np.random.Generator, usual: float | None = None
    ) -> None:
        self.facts = facts
        self.generator = generator
        self.usual = usual

    def of(self, name: Attribute, otherwise: tuple[str, ...] = ("",)) -> str:
        value = self.facts.get(name)
        if value is None:
            return self.one_of(otherwise)
        wordings = WORDINGS[name][value]
        # The share is drawn only where it matters, so that the default's stream of numbers stays.
        if self.usual is None:
            return self.one_of(wordings)
        return wordings[0] if self.generator.random() < self.usual else self.one_of(wordings[1:])

    def one_of(self, choices: tuple[str, ...]) -> str:
        return choices[int(self.generator.integers(len(choices)))]


def say(facts: Facts, generator: np.random.Generator, usual: float | None = None) -> str:
    """A sentence that asserts exactly these facts, and is drawn knowing nothing else.

    `usual` is the share of each value's first wording, as in `Grammar`.
    """
    words = _Words(facts, generator, usual)
    seen = any(name in facts for name in SEEN)
    heard = any(name in facts for name in HEARD)
    spoken_only = heard and not facts.keys() - {"phrase", "gender"}
    clause = _both if seen and heard else _sight if seen else _speech if spoken_only else _sound
    text = clause(words)
    return text[0].upper() + text[1:] + "."


def _both(words: _Words) -> str:
    sight, sound, speech = _sight(words), _noise(words), _speech(words)
    template = words.one_of(
        (
            "{sight} while {sound} is heard {tempo}",
            "{sight}, accompanied by {sound} {tempo}",
            "{sight}, with {sound} {tempo}",
        )
    )
    text = _join(template.format(sight=sight, sound=sound, tempo=words.of("tempo")))
    return f"{text}, and {speech}" if speech else text


def _sight(words: _Words) -> str:
    noun = words.of("thing", ("object", "thing"))
    phrase = _with_article(_join(words.of("size"), words.of("colour"), noun))
    motion = words.of("motion", ("moving",) if "speed" in words.facts else ("",))
    action, place = _join(motion, words.of("speed")), words.of("background")
    copula = "is" if action or place else "can be seen"
    return words.one_of(
        (
            _join(phrase, copula, action, place),
            _join("there is", phrase, action, place),
            _join("we see", phrase, action, place),
            _join(f"{place},", phrase, "is" if action else "can be seen", action)
            if place
            else _join(phrase, copula, action),
        )
    )


def _sound(words: _Words) -> str:
    noise, tempo, speech = _noise(words), words.of("tempo"), _speech(words)
    text = words.one_of(
        (
            _join(noise, "is heard", tempo),
            _join("we can hear", noise, tempo),
            _join("there is", noise, tempo),
            _join(noise, tempo),
        )
    )
    if not speech:
        return text
    return words.one_of((f"{text} while {speech}", f"{text}, and {speech}", f"{speech}; {text}"))


def _noise(words: _Words) -> str:
    """What sounds, without its tempo; the kind of sound is uncountable and takes no article."""
    kind = words.of("heard")
    if kind:
        return _join(words.of("pitch"), kind)
    return _with_article(_join(words.of("pitch"), words.one_of(("sound", "noise"))))


def _speech(words: _Words) -> str:
    phrase = words.facts.get("phrase")
    if phrase is None:
        return ""
    speaker = _with_article(words.of("gender", ("person", "speaker")))
    return f'{speaker} says "{phrase}"'


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _join(*parts: str) -> str:
    return " ".join(" ".join(parts).split())
