"""Captions of a generated world that speak of sounds which are not there, or cannot be seen.

The world's truth is known, and its grammar gives each sound words of its own: what a caption says is
heard can be held against what was.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trichord.evaluation.captions.invention import Invention
from trichord_world.law import PHRASES, PHRASES_MANY, Scene
from trichord_world.wordings import WORDINGS

_WORD = re.compile(r"[a-z]+")
_SPEAKING = re.compile(r"\b(?:says?|saying|speaks?|speaking)\b")
_HEARING = re.compile(r"\b(?:sounds?|noises?|heard|hear)\b")


@dataclass(frozen=True, slots=True)
class Named:
    """What a caption says is heard.

    `sounds` has for each sound the things that its words may stand for; `noise` says whether anything
    is said to be heard, whatever it is, `speech` whether anybody speaks, `phrases` which words.
    """

    sounds: tuple[frozenset[str], ...]
    noise: bool
    speech: bool
    phrases: frozenset[str]

    @property
    def anything(self) -> bool:
        """Whether any sound is named."""
        return self.noise or self.speech or bool(self.sounds)


def named_in(caption: str) -> Named:
    """The sounds that a caption names, by the words of the world's grammar.

    A wording of the grammar stands for one thing. Of what is left, a word that only wordings of
    sounds have stands for any of the things that it occurs with.
    """
    text = f" {' '.join(_WORD.findall(caption.lower()))} "
    sounds: list[frozenset[str]] = []
    for wording, thing in _WORDINGS.items():
        if f" {wording} " in text:
            sounds.append(frozenset({thing}))
            text = text.replace(f" {wording} ", "  ")
    sounds += [_WORDS[word] for word in text.split() if word in _WORDS]
    phrases = frozenset(phrase for phrase in _PHRASES if f" {phrase} " in text)
    noise, speech = bool(_HEARING.search(text)), bool(phrases or _SPEAKING.search(text))
    return Named(tuple(sounds), noise, speech, phrases)


def untrue(named: Named, scene: Scene) -> bool:
    """Whether a caption names a sound or speech that the clip does not have."""
    if scene.silent:
        return named.anything
    return untrue_speech(named, scene) or any(scene.heard not in of for of in named.sounds)


def untrue_speech(named: Named, scene: Scene) -> bool:
    """Whether a caption speaks of speech where there is none, or quotes another phrase."""
    return named.speech and (scene.phrase is None or bool(named.phrases - {_spelt(scene.phrase)}))


def unseen(named: Named, scene: Scene) -> bool:
    """Whether a caption names speech, or a sound of another thing than the visible one."""
    seen = None if scene.dark else scene.thing
    return named.speech or any(seen not in of for of in named.sounds)


def invention(captions: Mapping[str, str], scenes: Sequence[Scene]) -> Invention | None:
    """How often captions name sounds, untrue ones, and ones that cannot be seen.

    Args:
        captions: By clip.
        scenes: The truth of clips; those without a caption do not count.

    Returns:
        None without captions.
    """
    told = [(named_in(captions[scene.id]), scene) for scene in scenes if captions.get(scene.id, "")]
    if not told:
        return None

    def share(marks: Sequence[bool]) -> float:
        return sum(marks) / len(told)

    return Invention(
        captions=len(told),
        named=share([named.anything for named, _ in told]),
        untrue=share([untrue(named, scene) for named, scene in told]),
        unseen=share([unseen(named, scene) for named, scene in told]),
        speech=share([named.speech for named, _ in told]),
        untrue_speech=share([untrue_speech(named, scene) for named, scene in told]),
    )


def _spelt(wording: str) -> str:
    return " ".join(_WORD.findall(wording.lower()))


def _words() -> dict[str, frozenset[str]]:
    """Words that only wordings of sounds have, and the things they occur with."""
    elsewhere = {
        word
        for attribute, values in WORDINGS.items()
        if attribute != "heard"
        for wordings in values.values()
        for wording in wordings
        for word in _WORD.findall(wording)
    }
    found: dict[str, set[str]] = defaultdict(set)
    for thing, wordings in WORDINGS["heard"].items():
        for wording in wordings:
            for word in _WORD.findall(wording):
                if word not in elsewhere:
                    found[word].add(thing)
    return {word: frozenset(things) for word, things in found.items()}


_WORDINGS = {
    _spelt(wording): thing for thing, wordings in WORDINGS["heard"].items() for wording in wordings
}
_WORDS = _words()
_PHRASES = tuple(_spelt(phrase) for phrase in (*PHRASES, *PHRASES_MANY))
