"""Published test protocols by name: which clips with which captions, and what about silent ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Literal

import numpy as np

from trichord.corpora.manifest import select
from trichord.evaluation.gallery import ClipVectors
from trichord.evaluation.retrieval import TASKS, Task, tasks_named
from trichord.types import CAPTION_KINDS, CaptionKind, Clip, Split, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedProtocol:
    """What a published number was measured on.

    Attributes:
        listed: Clips in the split.
        clips: Those left when silent ones are out; as many as `listed` where they stay, or where only the
            others were counted.
        captions: Of each clip; None: as many as there are.
        kind: Of the captions, others are not read; None: the kinds that the tasks ask for.
        tasks: The first is the one that is published; none where captions are written, and measured.
        silent: The rule for silent clips if nothing else is chosen, and the only one where it is "out".
        source: Where the counts come from.
        split: The one that is measured.
        others: Clips in other splits, where the manifest has any of these.
    """

    listed: int
    clips: int
    captions: int | None
    kind: CaptionKind | None = "audio_visual"
    tasks: tuple[str, ...] = ("clip<-audio_visual", "visual<-audio_visual", "audio<-audio_visual")
    silent: Literal["masked", "borrowed", "out"] = "borrowed"
    source: str
    split: Split = "test"
    others: Mapping[Split, int] = field(default_factory=dict[Split, int])

    @property
    def writes(self) -> bool:
        """Whether it is of captions that a run writes, not of retrieval."""
        return not self.tasks

    @property
    def kinds(self) -> tuple[CaptionKind, ...]:
        """The kinds of captions that it reads."""
        asked = {task.query for task in self.asked()}
        return tuple(k for k in CAPTION_KINDS if k == self.kind or (not self.kind and k in asked))

    def asked(self) -> tuple[Task, ...]:
        """The tasks that it reports."""
        return tasks_named(self.tasks)

    @property
    def fuses(self) -> bool:
        """Whether its number is about fused clips."""
        return not self.writes and self.tasks[0].startswith("clip<-")


_MSRVTT = NamedProtocol(
    listed=1000,
    clips=1000,
    captions=1,
    source="CLIP4VLA, Table 1: the JSFUSION test list; its log counts 1,000 clips",
)
_VATEX = NamedProtocol(
    listed=1500,
    clips=1500,
    captions=10,
    source="CLIP4VLA, Table 1: half of the official validation clips, ten English captions each",
)
_AUDIOCAPS = NamedProtocol(
    listed=967,
    clips=967,
    captions=5,
    kind="audio",
    tasks=("audio<-audio",),
    silent="masked",
    source="CLIP4VLA, Table 2, modality A: the test clips that could still be fetched",
    others={"train": 49_712, "val": 495},
)
_MSRVTT_CAPTIONS = NamedProtocol(
    listed=2990,
    clips=2617,
    captions=20,
    tasks=(),
    silent="out",
    source="CLIP4VLA, Table 3: the official splits by number of video, silent clips left out",
    others={"train": 5867, "val": 448},
)
PROTOCOLS: Mapping[str, NamedProtocol] = {
    "msrvtt-1ka-1000": _MSRVTT,
    "msrvtt-1ka-884": replace(
        _MSRVTT, clips=884, silent="out", source="CLIP4VLA, its ablations: silent clips left out"
    ),
    "vatex-1500": _VATEX,
    "vatex-1421": replace(
        _VATEX, clips=1421, silent="out", source="CLIP4VLA, its ablations: silent clips left out"
    ),
    "audiocaps-a": _AUDIOCAPS,
    "audiocaps-av": replace(
        _AUDIOCAPS,
        tasks=("clip<-audio", "visual<-audio", "audio<-audio"),
        source="CLIP4VLA, Table 2, modality AV: the same clips, picture and sound fused",
    ),
    "avcaps-200": NamedProtocol(
        listed=200,
        clips=200,
        captions=None,
        kind=None,
        tasks=tuple(task.name for task in TASKS if task.number),
        silent="masked",
        source="SLAVA, Table II: the test clips of AVCaps",
    ),
    "msrvtt-captions-2617": _MSRVTT_CAPTIONS,
    "vatex-captions-5698": replace(
        _MSRVTT_CAPTIONS,
        listed=5698,
        clips=5698,
        captions=10,
        source="CLIP4VLA, Table 4: silent clips left out",
        others={"train": 24_667, "val": 2845},
    ),
    "audiocaps-captions-967": replace(
        _AUDIOCAPS,
        tasks=(),
        silent="out",
        source="CLIP4VLA, its captioning scripts; no table of the paper has this number",
    ),
}


def protocol_named(name: str) -> NamedProtocol:
    """A published protocol.

    Raises:
        UserError: There is none of that name.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    close = get_close_matches(name, PROTOCOLS, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(PROTOCOLS)}."
    raise UserError(f"--protocol: there is no '{name}': {hint}")


def clips_of(name: str, clips: Sequence[Clip]) -> list[Clip]:
    """Of a manifest's clips those that the protocol measures, with the captions that it asks.

    Raises:
        UserError: Clips or captions are not as many as published.
    """
    wanted = protocol_named(name)
    for split, count in wanted.others.items():
        if (found := sum(clip.split == split for clip in clips)) not in (0, count):
            raise _refusal(name, count, f"{split} clips", found)
    chosen = [
        replace(clip, captions=tuple(c for c in clip.captions if c.kind in wanted.kinds))
        for clip in select(clips, wanted.split)
    ]
    if len(chosen) not in (wanted.listed, wanted.clips):
        raise _refusal(name, wanted.listed, f"{wanted.split} clips", len(chosen))
    if wanted.captions is None:
        return chosen
    if odd := [clip for clip in chosen if len(clip.captions) != wanted.captions]:
        example = f"such as {len(odd[0].captions)} in {odd[0].id!r}"
        raise _refusal(
            name,
            wanted.captions,
            f"{wanted.kind} captions a clip",
            f"another number in {len(odd)} clips, {example}",
        )
    return chosen


def require_gallery(name: str, vectors: ClipVectors) -> None:
    """Refuse a gallery that is not as large as published, because files are silent or broken.

    Raises:
        UserError: The counts differ.
    """
    wanted = protocol_named(name)
    gallery = wanted.asked()[0].gallery
    having = {"vision": "a picture", "audio": "sound", "clip": "picture or sound"}[gallery]
    if wanted.silent == "out":
        having = "sound"
    require_clips(name, int(np.count_nonzero(vectors.present(gallery))), having)


def require_clips(name: str, found: int, having: str = "sound") -> None:
    """Refuse another number of clips that have what is measured.

    Raises:
        UserError: The counts differ.
    """
    wanted = protocol_named(name)
    if found != wanted.clips:
        raise _refusal(name, wanted.clips, f"clips with {having}", found)


def _refusal(name: str, wanted: int, what: str, found: int | str) -> UserError:
    remedy = "complete it ('trichord doctor' tells what is missing)"
    if isinstance(found, int) and found > wanted:
        remedy = "leave out what was left out there ('trichord doctor' names silent clips)"
    return UserError(
        f"--protocol {name} is of {wanted} {what}, the manifest has {found}: {remedy}, or measure what is "
        "there without --protocol."
    )
