"""How the clips of a world are annotated: as AVCaps, HowTo100M or AudioSet is published."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trichord_world.format import SECONDS
from trichord_world.grammar import KINDS, Facts, Grammar, Kind, Sentence, facts_heard
from trichord_world.law import Scene, WorldSplit, stream
from trichord_world.wordings import WORDINGS, Heard

LayoutName = Literal["avcaps", "howto100m", "audioset"]

CAPTION_KEYS: Mapping[Kind, str] = {
    "audio": "audio_captions",
    "visual": "visual_captions",
    "audio_visual": "audio_visual_captions",
    "composed": "GPT_AV_captions",
}
"""The keys of AVCaps' caption files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """The text of each annotation file, and for each clip the facts that its captions assert."""

    files: Mapping[str, str]
    facts: Sequence[Mapping[Kind, tuple[Facts, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A published layout: the splits that come in it, how their files are called and written.

    `files` may hold `{split}`. `annotated` takes a split, its scenes, the grammar and the seed.
    """

    splits: tuple[WorldSplit, ...]
    files: tuple[str, ...]
    annotated: Callable[[WorldSplit, Sequence[Scene], Grammar, int], Annotations]

    def files_of(self, split: WorldSplit) -> list[str]:
        """The names of a split's annotation files."""
        return [name.format(split=split) for name in self.files]


def label_of(thing: str) -> str:
    """The display name of a thing's class of sound: "Bell ringing"."""
    return WORDINGS["heard"][thing][0].capitalize()


def _captioned(
    split: WorldSplit, scenes: Sequence[Scene], grammar: Grammar, seed: int
) -> Annotations:
    """As AVCaps: captions of each kind by clip."""
    told = [
        grammar.captions(scene, stream(seed, split, index, "captions"))
        for index, scene in enumerate(scenes)
    ]
    texts = {
        scene.id: {CAPTION_KEYS[kind]: [one.text for one in said[kind]] for kind in KINDS}
        for scene, said in zip(scenes, told, strict=True)
    }
    (captions,) = LAYOUTS["avcaps"].files_of(split)
    return Annotations(files={captions: _json(texts)}, facts=[_facts(said) for said in told])


def _facts(said: Mapping[Kind, Sequence[Sentence]]) -> dict[Kind, tuple[Facts, ...]]:
    return {kind: tuple(one.facts for one in sentences) for kind, sentences in said.items()}


def _narrated(
    split: WorldSplit, scenes: Sequence[Scene], _grammar: Grammar, _seed: int
) -> Annotations:
    """As HowTo100M: what a perfect recogniser of speech hears.

    It stays on screen for the whole clip, as subtitles do. Cut to the spoken seconds, narrated clips
    would be shorter than labelled ones, and their length alone would tell the two apart.
    """
    narrations = {
        scene.id: {"start": [0.0], "end": [SECONDS], "text": [scene.phrase]} for scene in scenes
    }
    (captions,) = LAYOUTS["howto100m"].files_of(split)
    return Annotations(
        files={captions: _json(narrations)}, facts=[_told_of(scene, "phrase") for scene in scenes]
    )


def _labelled(
    split: WorldSplit, scenes: Sequence[Scene], _grammar: Grammar, _seed: int
) -> Annotations:
    """As AudioSet: one label a clip, that of the thing that sounds, whatever is said above it."""
    things = WORDINGS["heard"]
    rows = [f'{one.id}, 0.000, {SECONDS:.3f}, "{_identifier(one.heard)}"' for one in scenes]
    names = [f'{i},{_identifier(thing)},"{label_of(thing)}"' for i, thing in enumerate(things)]
    segments, labels = LAYOUTS["audioset"].files_of(split)
    return Annotations(
        files={
            segments: _lines("# YTID, start_seconds, end_seconds, positive_labels", *rows),
            labels: _lines("index,mid,display_name", *names),
        },
        facts=[_told_of(scene, "heard") for scene in scenes],
    )


def _identifier(thing: str) -> str:
    return f"/w/{thing}"


def _told_of(scene: Scene, name: Heard) -> dict[Kind, tuple[Facts, ...]]:
    """The facts of a clip whose only caption asserts one thing that is heard."""
    facts: Facts = {name: facts_heard(scene)[name]}
    return {kind: (facts,) if kind == "audio" else () for kind in KINDS}


def _json(value: Mapping[str, Any]) -> str:
    return _lines(json.dumps(value, indent=1))


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


LAYOUTS: Mapping[LayoutName, Layout] = {
    "avcaps": Layout(
        splits=("train", "val", "test", "pretrain"),
        files=("{split}_captions.json",),
        annotated=_captioned,
    ),
    "howto100m": Layout(splits=("narrated",), files=("raw_caption.json",), annotated=_narrated),
    "audioset": Layout(
        splits=("labelled",),
        files=("balanced_train_segments.csv", "class_labels_indices.csv"),
        annotated=_labelled,
    ),
}
