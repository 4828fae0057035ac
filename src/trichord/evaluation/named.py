"""Published test protocols by name: which clips, asked by which captions, and what about silent ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

import numpy as np

from trichord.corpora.manifest import select
from trichord.evaluation.gallery import ClipVectors
from trichord.evaluation.retrieval import Task, tasks_named
from trichord.types import CaptionKind, Clip, Split, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedProtocol:
    """What a published number was measured on.

    Of `listed` clips in the split, `clips` are left when silent ones are out; otherwise the two are
    the same. Each has `captions` captions of one `kind`; others are not asked. The first of `tasks` is
    the one that is published. `silent` is the rule for silent clips if nothing else is chosen, and
    cannot be chosen otherwise where it is "out".
    """

    listed: int
    clips: int
    captions: int
    kind: CaptionKind = "audio_visual"
    tasks: tuple[str, ...] = ("clip<-audio_visual", "visual<-audio_visual", "audio<-audio_visual")
    silent: Literal["masked", "borrowed", "out"] = "borrowed"
    source: str
    split: Split = "test"

    def asked(self) -> tuple[Task, ...]:
        """The tasks that it reports."""
        return tasks_named(self.tasks)

    @property
    def fuses(self) -> bool:
        """Whether its number is about fused clips."""
        return self.tasks[0].startswith("clip<-")


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
    chosen = [
        replace(clip, captions=tuple(c for c in clip.captions if c.kind == wanted.kind))
        for clip in select(clips, wanted.split)
    ]
    if len(chosen) not in (wanted.listed, wanted.clips):
        raise _refusal(name, f"{wanted.listed} {wanted.split} clips", str(len(chosen)))
    if odd := [clip for clip in chosen if len(clip.captions) != wanted.captions]:
        raise _refusal(
            name,
            f"{wanted.captions} {wanted.kind} captions a clip",
            f"another number in {len(odd)} clips, such as {len(odd[0].captions)} in {odd[0].id!r}",
        )
    return chosen


def require_gallery(name: str, vectors: ClipVectors) -> None:
    """Refuse a gallery that is not as large as published, because files are silent or broken.

    Raises:
        UserError: The counts differ.
    """
    wanted = protocol_named(name)
    gallery = wanted.asked()[0].gallery
    found = int(np.count_nonzero(vectors.present(gallery)))
    if found != wanted.clips:
        having = {"vision": "a picture", "audio": "sound", "clip": "picture or sound"}[gallery]
        if wanted.silent == "out":
            having = "sound"
        raise _refusal(name, f"{wanted.clips} clips with {having}", str(found))


def _refusal(name: str, wanted: str, found: str) -> UserError:
    return UserError(
        f"--protocol {name} is of {wanted}, the manifest has {found}: complete it ('trichord doctor' "
        "tells what is missing), or measure what is there without --protocol."
    )
