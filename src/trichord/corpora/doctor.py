"""Examines a corpus before any work on it: files, captions, copies, leaks, cost of extraction."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trichord.corpora import folder
from trichord.corpora.diagnosis import Copies, Coverage, Diagnosis, FileReport, OptionCost, Work
from trichord.corpora.footage import scan
from trichord.corpora.manifest import read_manifest
from trichord.corpora.prepared import Tally, is_missing
from trichord.media.decoder import Decoder
from trichord.media.plan import FramePlan
from trichord.media.probe import STATUSES, USABLE, Probe
from trichord.media.signature import file_signature
from trichord.types import SPLITS, CaptionKind, Clip, Source, UserError
from trichord.types.files import exists

_MANIFEST_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds that frozen towers take to read one frame, one chunk of sound, one caption.

    The default was measured with the shapes of CLIP ViT-B/32 and CLAP HTSAT-tiny (and its log-mel).
    """

    frame: float = 0.06
    chunk: float = 1.5
    caption: float = 0.06
    of: str = "ViT-B/32 and HTSAT-tiny on 2 CPU threads"


TRANSCRIBED = 18.5
"""Seconds of processor time a minute of speech, by pocketsphinx: `studies/transcripts.py`."""
READ, READ_PICTURE = 13.0, 0.3
"""Seconds of processor time for the text on the screen by rapidocr, a minute of video in which every frame
that is looked at has changed, and a picture: `studies/screen_text.py`."""
MACHINE = "one core of an AMD EPYC"
"""Where both were measured."""


def examine_path(
    path: Path,
    decoder: Decoder,
    *,
    captions: Path | None = None,
    columns: Sequence[str] = (),
    cost: Cost | None = None,
) -> Diagnosis:
    """Examine a manifest, a folder of media, or a single media file.

    `captions` and `columns` are those of `folder.clips`.

    Raises:
        UserError: there is nothing at `path`, or it holds no clips, or a line of it is wrong.
    """
    if path.is_dir():
        found = scan(path.resolve())
        prepared = folder.clips(path, captions, found.files, columns)
        notes = (*prepared.lines(), *found.lines())
        return examine(prepared.clips, decoder, cost=cost, notes=notes)
    if path.suffix.lower() in _MANIFEST_SUFFIXES:
        clips = read_manifest(path)
        return examine(clips, decoder, cost=cost, notes=_missing_texts(clips))
    if not exists(path):
        raise UserError(f"{path}: no such file; name a manifest, a folder or a media file")
    return examine([Clip(id=path.name, path=str(path.resolve()))], decoder, cost=cost)


def _missing_texts(clips: Iterable[Clip]) -> tuple[str, ...]:
    """Captions that only say that there is none: readers leave them out, other programs may not."""
    tally = Tally()
    for clip in clips:
        for caption in clip.captions:
            if is_missing(caption.text):
                tally.add(
                    "captions are nan, N/A, null or None; remove them from the manifest", clip.id
                )
    return tuple(tally.prepared([]).lines())


def examine(
    clips: Sequence[Clip],
    decoder: Decoder,
    *,
    frames: FramePlan | None = None,
    chunk_seconds: float = 10.0,
    cost: Cost | None = None,
    notes: tuple[str, ...] = (),
) -> Diagnosis:
    """Probe the files of clips and summarise them.

    `frames` and `chunk_seconds` are those of the extraction: by default SLAVA's 10 s chunks and one
    frame a second, at most 64.
    """
    of_file: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        of_file[clip.path].append(clip)
    probes = {str(probe.path): probe for probe in decoder.probe_all(list(of_file))}
    files = tuple(_file(probes[path], len(own)) for path, own in of_file.items())
    usable = [file for file in files if file.status in USABLE]
    spans = [
        (file, clip, _span(clip, file.seconds or 0.0))
        for file in usable
        for clip in of_file[file.path]
    ]
    inside = [(file, span) for file, _, span in spans if span]
    copies = _copies(usable, of_file)
    frames, cost = frames or FramePlan(), cost or Cost()
    looked_at = sum(len(frames.times(*span)) for file, span in inside if file.picture)
    heard = sum(
        max(1, math.ceil((end - start) / chunk_seconds))
        for file, (start, end) in inside
        if file.sound
    )
    captions = sum(len(clip.captions) for clip in clips)
    moving = [file for file in usable if file.seconds]
    moving_clips = sum(file.clips for file in moving)
    return Diagnosis(
        files=files,
        statuses={s: n for s in STATUSES if (n := sum(f.status == s for f in files))},
        clips=len(clips),
        splits={
            split or "none": count
            for split in (*SPLITS, None)
            if (count := sum(clip.split == split for clip in clips))
        },
        coverage=_coverage(clips),
        uncaptioned=sum(not clip.captions for clip in clips),
        copies=tuple(group for group in copies if len(group.files) > 1),
        leaks=tuple(group for group in copies if len(group.splits) > 1),
        shared_texts=_shared_texts(clips),
        outside=tuple(clip.id for _, clip, span in spans if span is None),
        silent_share=(
            sum(file.clips for file in moving if not file.sound) / moving_clips
            if moving_clips
            else None
        ),
        hours=sum(end - start for _, (start, end) in inside) / 3600,
        work=Work(
            frames=looked_at,
            chunks=heard,
            captions=captions,
            seconds=looked_at * cost.frame + heard * cost.chunk + captions * cost.caption,
            basis=cost.of,
        ),
        options=_option_costs(usable),
        notes=notes,
    )


def _option_costs(files: Sequence[FileReport]) -> tuple[OptionCost, ...]:
    """What reading the text on the screen and recognising speech would cost at most."""
    sound = sum(file.seconds or 0.0 for file in files if file.sound) / 60
    video = sum(file.seconds or 0.0 for file in files if file.picture) / 60
    pictures = sum(file.picture and not file.seconds for file in files)
    return (
        OptionCost(
            option="--transcribe",
            media=f"{sound:.1f} minutes of sound",
            seconds=sound * TRANSCRIBED,
            basis=f"pocketsphinx on {MACHINE}; sound without speech costs little",
        ),
        OptionCost(
            option="--ocr",
            media=f"{video:.1f} minutes of video, {pictures} pictures",
            seconds=video * READ + pictures * READ_PICTURE,
            basis=f"rapidocr on {MACHINE}; frames that do not change cost little",
        ),
    )


def _file(probe: Probe, clips: int) -> FileReport:
    usable = probe.status in USABLE
    return FileReport(
        path=str(probe.path),
        status=probe.status,
        reason=probe.reason,
        seconds=probe.duration if usable else None,
        picture=usable and probe.video is not None,
        sound=usable and probe.status not in ("no_audio", "silent") and bool(probe.audio),
        size=probe.size,
        clips=clips,
    )


def _span(clip: Clip, seconds: float) -> tuple[float, float] | None:
    """The span of a clip, cut to the file; None if it starts after the end of the file."""
    if clip.start > 0 and clip.start >= seconds:
        return None
    return clip.start, min(seconds, math.inf if clip.end is None else clip.end)


def _coverage(clips: Iterable[Clip]) -> tuple[Coverage, ...]:
    kinds: dict[tuple[CaptionKind, Source], list[str]] = defaultdict(list)
    for clip in clips:
        for caption in clip.captions:
            kinds[caption.kind, caption.source].append(clip.id)
    return tuple(
        Coverage(kind=kind, source=source, clips=len(set(ids)), captions=len(ids))
        for (kind, source), ids in sorted(kinds.items())
    )


def _copies(files: Iterable[FileReport], of_file: dict[str, list[Clip]]) -> list[Copies]:
    same: dict[str, list[str]] = defaultdict(list)
    for file in files:
        same[file_signature(file.path)].append(file.path)
    return [
        Copies(
            files=tuple(paths),
            splits=tuple(sorted({c.split for path in paths for c in of_file[path] if c.split})),
        )
        for paths in same.values()
    ]


def _shared_texts(clips: Iterable[Clip]) -> tuple[str, ...]:
    splits: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        for caption in clip.captions if clip.split else ():
            splits[caption.text.casefold()].add(clip.split or "")
    return tuple(sorted(text for text, found in splits.items() if len(found) > 1))
